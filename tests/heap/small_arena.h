// SmallArena: a MetadataArena in addresses of its own, with a kernel that refuses when it is told
// to.
#pragma once

#include <cstddef>

#include "src/heap/metadata_arena.h"
#include "tests/os/fake_kernel.h"
#include "tests/os/reservation.h"

namespace numaheap {

class SmallArena {
 public:
  explicit SmallArena(size_t bytes = 4 << 20)
      : reservation_(bytes), area_(reservation_.start(), bytes) {}

  FakeKernel& kernel() { return kernel_; }
  Area& area() { return area_; }
  MetadataArena& arena() { return arena_; }

  // From now on there is no more memory than what is committed.
  void RefuseMemory() { kernel_.FailFrom(FakeKernel::kCommit, 1); }
  void GrantMemory() { kernel_.FailNothing(); }

 private:
  FakeKernel kernel_;
  Reservation reservation_;
  Area area_;
  MetadataArena arena_{kernel_, area_};
};

}  // namespace numaheap
