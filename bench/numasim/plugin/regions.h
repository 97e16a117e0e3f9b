// Regions: what the measured process keeps at which virtual addresses.
//
// Declared by the guest while the process runs; where two declarations overlap, the later one
// holds. What nobody declared is heap: memory that the allocator got from the kernel. Not
// synchronised.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

namespace numasim {

enum class Region : uint8_t {
  kHeap,
  kLibraryData,  // the allocator's own .data, .bss and constants
  kStack,        // threads' stacks, and thread-local variables at their ends
  kProgram,      // data of the program and of other libraries
  kShared,       // program data that it shares across nodes
  kAllocatorCode,
  kSharedCode,  // code whose every access is to what the program shares across nodes
  kClientCode,  // another program that is there to make work
  kCount,
};

inline constexpr const char* kRegionNames[] = {"heap",        "library-data", "stack",
                                               "program",     "shared",       "allocator-code",
                                               "shared-code", "client-code"};
static_assert(std::size(kRegionNames) == static_cast<size_t>(Region::kCount));

class Regions {
 public:
  Regions() { Forget(); }

  // Everything is heap again.
  void Forget() {
    declared_.clear();
    ForgetFound();
  }

  void Declare(Region region, uint64_t begin, uint64_t end) {
    declared_.push_back({begin, end, region});
    ForgetFound();
  }

  Region At(uint64_t address) {
    const uint64_t granule = address / kGranule;
    Found& found = found_[granule % found_.size()];
    if (found.granule == granule) return found.region;
    bool whole = true;
    const Region region = Find(address, &whole);
    if (whole) found = {granule, region};
    return region;
  }

 private:
  static constexpr uint64_t kGranule = 64;  // bytes for which an answer is remembered

  struct Declared {
    uint64_t begin, end;
    Region region;
  };
  struct Found {
    uint64_t granule;
    Region region;
  };

  // Sets *whole to false when an end of a declaration falls into the granule.
  Region Find(uint64_t address, bool* whole) const {
    const uint64_t begin = address / kGranule * kGranule, end = begin + kGranule;
    for (auto i = declared_.rbegin(); i != declared_.rend(); ++i) {
      if (i->begin >= end || i->end <= begin) continue;
      if (i->begin > begin || i->end < end) *whole = false;
      if (address >= i->begin && address < i->end) return i->region;
    }
    return Region::kHeap;
  }
  void ForgetFound() { found_.fill({~uint64_t{0}, Region::kHeap}); }

  std::vector<Declared> declared_;
  std::array<Found, 1 << 16> found_;
};

}  // namespace numasim
