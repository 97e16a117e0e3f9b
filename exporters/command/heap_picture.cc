#include "exporters/command/heap_picture.h"

#include <algorithm>
#include <bit>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace numaheap::command {
namespace {

// What the spans of one cell have of each kind.
struct Shares {
  double bytes[kKindCount] = {};
  double live[kKindCount] = {};

  void Add(const SpanRecord& span, uint64_t part) {
    const auto kind = static_cast<size_t>(KindOf(span));
    const double share = static_cast<double>(part) / static_cast<double>(span.bytes);
    bytes[kind] += static_cast<double>(part);
    live[kind] +=
        share * static_cast<double>(span.live_objects) * static_cast<double>(span.object_size);
  }

  Cell Largest() const {
    const auto kind = static_cast<size_t>(std::max_element(bytes, bytes + kKindCount) - bytes);
    Cell cell;
    cell.kind = static_cast<Kind>(kind);
    if (cell.kind < Kind::kLarge) cell.live = std::min(1.0, live[kind] / bytes[kind]);
    return cell;
  }
};

}  // namespace

Kind KindOf(const SpanRecord& span) {
  switch (span.state) {
    case NUMAHEAP_SPAN_SMALL: {
      constexpr uint64_t kLimits[] = {64, 256, 1024, 4096, 16384, 65536};
      return static_cast<Kind>(
          std::lower_bound(std::begin(kLimits), std::end(kLimits), span.object_size) - kLimits);
    }
    case NUMAHEAP_SPAN_LARGE:
      return Kind::kLarge;
    case NUMAHEAP_SPAN_IDLE:
    case NUMAHEAP_SPAN_PARTLY_RELEASED:
      return Kind::kIdle;
    case NUMAHEAP_SPAN_RELEASED:
      return Kind::kReleased;
    case NUMAHEAP_SPAN_RESERVED:
      return Kind::kReserved;
    default:
      return Kind::kUnknown;
  }
}

Totals TotalsOf(const HeapRecord& heap) {
  Totals totals;
  for (const SpanRecord& span : heap.spans) {
    const Kind kind = KindOf(span);
    const auto i = static_cast<size_t>(kind);
    totals.bytes[i] += span.bytes;
    if (kind == Kind::kReserved) continue;
    totals.live[i] += span.live_objects * span.object_size;
    totals.committed += span.bytes;
    if (kind < Kind::kLarge) {
      totals.small += span.bytes;
      totals.live_small += span.live_objects * span.object_size;
    } else if (kind == Kind::kIdle) {
      totals.bytes[i] -= span.released_bytes;
      totals.bytes[static_cast<size_t>(Kind::kReleased)] += span.released_bytes;
    }
  }
  totals.reserved = heap.reserved_bytes;
  return totals;
}

HeapPicture PictureOf(const HeapRecord& heap, size_t most) {
  HeapPicture picture;
  const uint64_t committed = TotalsOf(heap).committed;
  if (committed == 0 || most == 0) return picture;
  picture.start = heap.spans.front().start;
  picture.cell_bytes =
      std::bit_ceil(std::max<uint64_t>(heap.page_bytes, (committed + most - 1) / most));
  std::vector<Shares> shares((committed + picture.cell_bytes - 1) / picture.cell_bytes);
  const auto add = [&](const SpanRecord& span) {
    const uint64_t end = span.start - picture.start + span.bytes;
    for (uint64_t at = span.start - picture.start; at < end;) {
      const uint64_t behind = std::min(end, (at / picture.cell_bytes + 1) * picture.cell_bytes);
      shares[at / picture.cell_bytes].Add(span, behind - at);
      at = behind;
    }
  };
  for (const SpanRecord& span : heap.spans) {
    if (span.state != NUMAHEAP_SPAN_RESERVED && span.state != NUMAHEAP_SPAN_PARTLY_RELEASED) {
      add(span);
    }
  }
  for (const FreeRun& run : heap.runs) {
    SpanRecord span;
    span.start = run.start;
    span.bytes = run.bytes;
    span.state = run.released ? NUMAHEAP_SPAN_RELEASED : NUMAHEAP_SPAN_IDLE;
    add(span);
  }
  for (const Shares& share : shares) picture.cells.push_back(share.Largest());
  return picture;
}

std::string NodeName(int node) {
  return node < 0 ? "interleaved" : absl::StrCat(node);
}

std::string BytesText(uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1000 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.*f %s", unit > 0 && value < 100 ? 1 : 0, value, kUnits[unit]);
}

std::string TotalsText(const Totals& totals) {
  std::string text = absl::StrCat("in use ", BytesText(totals.in_use()));
  if (totals.small > 0) {
    absl::StrAppendFormat(
        &text, " (small %s, %.0f%% alive; large %s)", BytesText(totals.small),
        100.0 * static_cast<double>(totals.live_small) / static_cast<double>(totals.small),
        BytesText(totals.Of(Kind::kLarge)));
  }
  absl::StrAppend(&text, ", idle ", BytesText(totals.Of(Kind::kIdle)), ", released ",
                  BytesText(totals.Of(Kind::kReleased)));
  if (const uint64_t unknown = totals.Of(Kind::kUnknown); unknown > 0) {
    absl::StrAppend(&text, ", unknown ", BytesText(unknown));
  }
  return absl::StrCat(text, "; committed ", BytesText(totals.committed), " of ",
                      BytesText(totals.reserved));
}

}  // namespace numaheap::command
