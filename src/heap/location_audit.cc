#include "src/heap/location_audit.h"

#include <errno.h>

#include <algorithm>
#include <bit>

namespace numaheap {
namespace {

// The `turn`-th of the numbers below 2^bits, in an order that scatters them: each comes once before
// one comes again. Steps of the golden ratio, made odd, are such an order.
uint64_t Scattered(uint64_t turn, int bits) {
  if (bits == 0) return 0;
  const uint64_t step = (UINT64_C(0x9e3779b97f4a7c15) >> (64 - bits)) | 1;
  return (turn * step) & ((uint64_t{1} << bits) - 1);
}

size_t PagesOf(size_t bytes) {
  return (bytes + kSmallestPage - 1) / kSmallestPage;
}

// The page with number `index` when those of all parts are numbered through.
const void* PageAt(const LocationAudit::Part* parts, size_t index) {
  while (index >= PagesOf(parts->bytes)) index -= PagesOf(parts++->bytes);
  return parts->start + index * kSmallestPage;
}

}  // namespace

void LocationAudit::Round(Kernel& kernel, NodeId node, const Part* parts, int count,
                          const Part& range, bool heal) {
  const uint64_t now_ms = kernel.NowMs();
  if (now_ms < next_ms_) return;
  next_ms_ = now_ms + kPeriodMs;
  if (!by_numa_maps_) Sample(kernel, node, parts, count, heal);
  if (by_numa_maps_) CountMappings(kernel, node, range);
}

void LocationAudit::Sample(Kernel& kernel, NodeId node, const Part* parts, int count, bool heal) {
  size_t total = 0;
  for (int i = 0; i < count; ++i) total += PagesOf(parts[i].bytes);
  const size_t runs = (total + kRunPages - 1) / kRunPages;
  if (runs == 0) return;
  const int bits = std::bit_width(runs - 1);
  size_t looked = std::min(runs, kPagesPerRound / kRunPages);
  while (looked > 0) {
    const uint64_t run = Scattered(turn_++, bits);
    if (run >= runs) continue;
    --looked;
    const void* pages[kRunPages];
    const size_t first = run * kRunPages;
    const size_t here = std::min(kRunPages, total - first);
    for (size_t i = 0; i < here; ++i) pages[i] = PageAt(parts, first + i);
    if (!LookAt(kernel, node, pages, here, &heal)) return;
  }
}

bool LocationAudit::LookAt(Kernel& kernel, NodeId node, const void* const* pages, size_t count,
                           bool* heal) {
  int nodes[kRunPages];
  const int error = kernel.PageNodes(pages, count, nodes);
  if (error == EPERM || error == ENOSYS) by_numa_maps_ = true;
  if (error != 0) return false;
  const void* away[kRunPages];
  size_t strays = 0;
  for (size_t i = 0; i < count; ++i) {
    if (nodes[i] >= 0 && NodeId{nodes[i]} != node) away[strays++] = pages[i];
    if (nodes[i] == node.value) home_.Add(1);
  }
  away_.Add(strays);
  if (strays == 0 || !*heal) return true;
  // What doesn't fit would only push others out; the next round asks again.
  *heal = kernel.FreeBytes(node) >= kPagesPerRound * kSmallestPage &&
          kernel.MovePages(away, strays, node, nodes) == 0;
  if (*heal) healed_.Add(static_cast<uint64_t>(std::count(nodes, nodes + strays, node.value)));
  return true;
}

void LocationAudit::CountMappings(Kernel& kernel, NodeId node, const Part& range) {
  const uint64_t start_ms = kernel.NowMs();
  uint64_t home = 0, away = 0;
  if (kernel.MappedBytes(range.start, range.bytes, node, &home, &away) == 0) {
    home_.Add(home / kSmallestPage);
    away_.Add(away / kSmallestPage);
  }
  const uint64_t now_ms = kernel.NowMs();
  next_ms_ = now_ms + std::max(kNumaMapsPeriodMs, 100 * (now_ms - start_ms));
}

}  // namespace numaheap
