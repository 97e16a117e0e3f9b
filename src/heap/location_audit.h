// LocationAudit: whether the memory behind one heap lies on its node. A sample of its pages is
// looked at each second, and what lies elsewhere is moved home if that is wanted.
//
// Pages get astray when the node was full, when a cpuset took it away for a while, or when somebody
// moved them (migratepages, NUMA balancing). A round looks at kPagesPerRound pages, in runs that
// are scattered over everything that the heap has used, its records included; every run has its
// turn before one has its next. Where move_pages is forbidden, numa_maps counts all pages at once,
// at a pace that costs at most a hundredth of the time.
//
// Round() is called by one thread at a time; counts may be read by anybody.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/base/ids.h"
#include "src/os/kernel.h"
#include "src/stats/counters.h"

namespace numaheap {

class LocationAudit {
 public:
  static constexpr uint64_t kPeriodMs = 1000;
  static constexpr uint64_t kNumaMapsPeriodMs = 60'000;  // at least, and 100 times what one took
  static constexpr size_t kRunPages = 64;                // of kSmallestPage
  static constexpr size_t kPagesPerRound = 4096;  // 16 MiB: also the most that moves a second

  // A stretch of addresses that is in use from its start.
  struct Part {
    const char* start;
    size_t bytes;
  };

  // Looks at pages of the `count` parts, which should lie on `node`, if it is time. `range`: what
  // they all lie in. With `heal`, moves home what is away.
  void Round(Kernel& kernel, NodeId node, const Part* parts, int count, const Part& range,
             bool heal);

  // Pages seen, those of several rounds more than once.
  uint64_t home_pages() const { return home_.Get(); }
  uint64_t away_pages() const { return away_.Get(); }
  uint64_t healed_pages() const { return healed_.Get(); }

 private:
  void Sample(Kernel& kernel, NodeId node, const Part* parts, int count, bool heal);
  // False when the kernel will not tell of pages.
  bool LookAt(Kernel& kernel, NodeId node, const void* const* pages, size_t count, bool* heal);
  void CountMappings(Kernel& kernel, NodeId node, const Part& range);

  // Used by the caller of Round() alone.
  uint64_t next_ms_ = 0;
  uint64_t turn_ = 0;
  bool by_numa_maps_ = false;

  Counter home_, away_, healed_;
};

}  // namespace numaheap
