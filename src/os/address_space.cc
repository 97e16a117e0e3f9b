#include "src/os/address_space.h"

#include <errno.h>

#include <algorithm>
#include <iterator>
#include <new>

#include "src/base/check.h"

namespace numaheap {
namespace {

constexpr size_t RoundUp(size_t value, size_t step) {
  return (value + step - 1) & ~(step - 1);
}

}  // namespace

bool Area::CommitUpTo(Kernel& kernel, size_t bytes, size_t step) {
  const size_t committed = committed_.load(std::memory_order_relaxed);
  if (bytes <= committed) return true;
  if (bytes > reserved_) return false;
  const size_t target = std::min(RoundUp(bytes, step), reserved_);
  if (kernel.Commit(start_ + committed, target - committed) != 0) return false;
  committed_.store(target, std::memory_order_release);
  return true;
}

NodeRange::NodeRange(char* start, size_t bytes, size_t arena_extra) {
  const size_t pages = bytes >> kPageShift;  // a little more than the heap will have
  // Span records and bitmaps take at most 1.2% (16-byte blocks everywhere).
  // In a range as small as a limit on address space can leave it, huge pages are too coarse.
  const size_t step = bytes < (size_t{48} << 20) ? 64 << 10 : kHugePageSize;
  const size_t sizes[] = {RoundUp(pages, step), RoundUp(pages / 8, step),
                          RoundUp(pages * sizeof(uint32_t), step),
                          RoundUp(bytes / 64 + arena_extra, step)};
  Area* const areas[] = {&page_classes, &released_bits, &span_indices, &arena};
  size_t used = 0;
  for (size_t size : sizes) used += size;
  if (used > bytes / 2) return;
  for (size_t i = 0; i < std::size(sizes); ++i) {
    new (areas[i]) Area(start, sizes[i]);
    start += sizes[i];
  }
  new (&heap) Area(start, bytes - used);
}

bool AddressSpace::Open(Kernel& kernel, int ranges, void* at) {
  DCHECK(base_ == nullptr);
  shift_ = kMaxShift;
  halvings_ = 0;
  while ((static_cast<size_t>(ranges) << shift_) > (size_t{1} << kMaxTotalShift)) --shift_;
  for (; shift_ >= kMinShift; --shift_, ++halvings_) {
    const size_t bytes = static_cast<size_t>(ranges) << shift_;
    int error = 0;
    void* start = at == nullptr ? nullptr : kernel.Reserve(at, bytes, &error);
    // Room for rounding up to a huge page when the kernel chooses the place.
    if (start == nullptr) start = kernel.Reserve(nullptr, bytes + kHugePageSize, &error);
    if (start == nullptr) continue;
    base_ = reinterpret_cast<char*>(RoundUp(reinterpret_cast<uintptr_t>(start), kHugePageSize));
    if (start != at) {
      const size_t before = static_cast<size_t>(base_ - static_cast<char*>(start));
      if (before > 0) kernel.Unreserve(start, before);
      if (before < kHugePageSize) kernel.Unreserve(base_ + bytes, kHugePageSize - before);
    }
    ranges_ = ranges;
    return true;
  }
  return false;
}

bool AddressSpace::Extend(Kernel& kernel, int ranges) {
  int error = 0;
  if (kernel.Reserve(RangeStart(ranges_), static_cast<size_t>(ranges) << shift_, &error) ==
      nullptr) {
    return false;
  }
  ranges_ += ranges;
  return true;
}

void AddressSpace::Close(Kernel& kernel) {
  if (base_ != nullptr) kernel.Unreserve(base_, static_cast<size_t>(ranges_) << shift_);
  base_ = nullptr;
  ranges_ = 0;
}

}  // namespace numaheap
