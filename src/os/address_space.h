// AddressSpace: one reservation, cut into a power-of-two range per node, so that the home of a
// pointer is a subtraction and a shift. The range number is the kernel's node number; one more
// range behind the last node belongs to the interleaved heap.
//
//   base                 base + (1 << shift)
//   |  range of node 0   |  range of node 1   | ... |  interleaved  |
//   | maps | arena | heap -> committed linearly, never given back, only released |
//
// Each range holds the records of its own heap in front of the pages they describe, so one mbind
// per range places both. Areas are committed from their start in large steps: a range costs about
// six mappings, however large it grows.
//
// Constructed once by the composition root. HomeOf() and the areas' bounds may be read by any
// thread; growing an area needs the owning heap's lock.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "src/base/ids.h"
#include "src/os/kernel.h"

namespace numaheap {

// A stretch of reserved addresses, committed from its start.
class Area {
 public:
  constexpr Area() = default;
  Area(char* start, size_t reserved) : start_(start), reserved_(reserved) {}

  char* start() const { return start_; }
  size_t reserved_bytes() const { return reserved_; }
  bool Reserves(const void* ptr) const {
    return reinterpret_cast<uintptr_t>(ptr) - reinterpret_cast<uintptr_t>(start_) < reserved_;
  }
  size_t committed_bytes() const { return committed_.load(std::memory_order_acquire); }

  // Somebody else has committed all of it.
  void Adopt() { committed_.store(reserved_, std::memory_order_release); }

  // Commits so that at least the first `bytes` are usable; goes forward in multiples of `step`
  // (bytes, a power of two). False when the area ends or the kernel refuses.
  bool CommitUpTo(Kernel& kernel, size_t bytes, size_t step);

 private:
  friend struct Inspection;  // src/api/inspection.h

  char* start_ = nullptr;
  size_t reserved_ = 0;
  std::atomic<size_t> committed_{0};
};

// The address range of one heap, cut into areas.
struct NodeRange {
  Area page_classes;   // a byte per page: its size class; readable as a whole
  Area released_bits;  // a bit per page: free and without memory
  Area span_indices;   // four bytes per page: where its span record lies
  Area arena;          // records of this heap
  Area heap;           // user memory

  // Cuts [start, start + bytes). `arena_extra`: bytes of records beside those of spans. Where that
  // leaves less than half for the heap, all areas are empty.
  NodeRange(char* start, size_t bytes, size_t arena_extra);
};

class AddressSpace {
 public:
  static constexpr int kMaxShift = 40;       // 1 TiB a range
  static constexpr int kMinShift = 24;       // 16 MiB: less is no heap
  static constexpr int kMaxTotalShift = 46;  // half of what x86-64 gives a process

  constexpr AddressSpace() = default;

  // Reserves `ranges` ranges, halving their size until the kernel agrees. `at`: where to try first,
  // or null. False when not even the smallest size is to be had.
  bool Open(Kernel& kernel, int ranges, void* at);

  // Adds ranges behind the present ones. False when what follows is taken.
  bool Extend(Kernel& kernel, int ranges);

  int ranges() const { return ranges_; }
  size_t range_bytes() const { return size_t{1} << shift_; }
  int halvings() const { return halvings_; }
  char* RangeStart(int range) const { return base_ + (static_cast<size_t>(range) << shift_); }

  // The number of the range that holds `ptr`, or -1.
  int HomeOf(const void* ptr) const {
    const size_t offset = reinterpret_cast<uintptr_t>(ptr) - reinterpret_cast<uintptr_t>(base_);
    const size_t range = offset >> shift_;
    return range < static_cast<size_t>(ranges_) ? static_cast<int>(range) : -1;
  }

  // Unmaps everything, for tests: no range may be in use.
  void Close(Kernel& kernel);

 private:
  char* base_ = nullptr;
  int shift_ = kMaxShift;
  int ranges_ = 0;
  int halvings_ = 0;
};

}  // namespace numaheap
