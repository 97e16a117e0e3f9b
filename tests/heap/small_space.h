// SmallSpace: a FakeKernel and address space of small ranges, unreserved at the end; PagedRange:
// one such range with a page heap in it.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>

#include "src/heap/metadata_arena.h"
#include "src/heap/page_heap.h"
#include "src/os/address_space.h"
#include "tests/os/fake_kernel.h"

namespace numaheap {

class SmallSpace {
 public:
  // Ranges of 2^shift bytes, at `at` if that is free: larger ones are refused.
  explicit SmallSpace(int ranges = 1, int shift = 30, void* at = nullptr) {
    kernel.FailAbove(FakeKernel::kReserve, (static_cast<size_t>(ranges) << shift) + kHugePageSize);
    EXPECT_TRUE(space.Open(kernel, ranges, at));
    EXPECT_EQ(space.range_bytes(), size_t{1} << shift);
    kernel.FailNothing();
  }
  ~SmallSpace() { space.Close(kernel); }
  SmallSpace(const SmallSpace&) = delete;
  SmallSpace& operator=(const SmallSpace&) = delete;

  FakeKernel kernel;
  AddressSpace space;
};

// `kernel` may be another one in front of the space's.
class PagedRange {
 public:
  PagedRange(SmallSpace& small, Kernel& kernel)
      : range(small.space.RangeStart(0), small.space.range_bytes(), 0),
        arena(kernel, range.arena),
        pages(kernel, range, arena) {
    EXPECT_EQ(kernel.MakeReadable(range.page_classes.start(), range.page_classes.reserved_bytes()),
              0);
  }
  explicit PagedRange(SmallSpace& small) : PagedRange(small, small.kernel) {}

  // The equation that holds at every moment, and everything else that can be checked.
  void ExpectConsistent() {
    const PageHeapStats stats = pages.stats();
    EXPECT_EQ((stats.in_use + stats.idle + stats.released).pages, stats.committed.pages);
    EXPECT_LE(stats.large, stats.in_use);
    EXPECT_EQ(stats.committed.bytes(), range.heap.committed_bytes());
    pages.CheckInvariants();
  }

  char* AddressOf(const Span* span) const { return pages.map().AddressOf(span->start); }

  // Takes all records that can be had without the kernel, so that no span can be cut.
  void UseUpRecords(FakeKernel& kernel) {
    kernel.FailFrom(FakeKernel::kCommit, 1);
    while (arena.Allocate(sizeof(Span)) != nullptr) {
    }
    while (arena.Allocate(16) != nullptr) {
    }
  }

  NodeRange range;
  MetadataArena arena;
  PageHeap pages;
};

inline bool IsZero(const void* start, size_t bytes) {
  const char* text = static_cast<const char*>(start);
  return bytes == 0 || (text[0] == 0 && std::memcmp(text, text + 1, bytes - 1) == 0);
}

}  // namespace numaheap
