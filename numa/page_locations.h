// The page-location audit: on which nodes the pages of an address range lie now.
//
// For tests, tools and diagnosis, not for the heap's own decisions. Needs the C library alone,
// allocates nothing, keeps no state; thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "numa/node_mask.h"
#include "numa/placement.h"

namespace numaheap {

// A result, in bytes. About 8 KiB.
struct PageLocations {
  enum class Source : uint8_t {
    kMovePages,  // asked for every page
    kNumaMaps,   // summed from /proc/self/numa_maps
  };
  Source source = Source::kMovePages;
  uint64_t node_bytes[kMaxNodes] = {};
  uint64_t absent_bytes = 0;   // pages without memory; kNumaMaps can't tell and says 0
  uint64_t unknown_bytes = 0;  // pages the kernel would not tell of
};

// Fills *out for the pages that [start, start + bytes) touches; both ends are rounded outward.
//
// Asks move_pages through `calls`, one status a page: 1 GiB takes tens of milliseconds, so leave
// out what is only reserved. Where that is forbidden or missing (EPERM, ENOSYS), reads numa_maps,
// which counts by mapping: one that begins in the range counts as a whole, one that begins before
// it not at all. Returns 0 or an errno value, *out then being incomplete; errno itself stays as it
// was.
int LocatePages(const PlacementCalls& calls, const void* start, size_t bytes, PageLocations* out);

// Adds the mappings of numa_maps text, read from the descriptor `file` to its end, that begin in
// [start, end). Returns 0 or an errno value: EBADMSG after a line that AddNumaMapsLine refuses, the
// others being added; E2BIG for a line longer than 32 KiB.
int AddNumaMaps(int file, uintptr_t start, uintptr_t end, PageLocations* out);

// Adds one line of numa_maps (numa(7)) without its newline to *out if its mapping begins in
// [start, end). Returns false for a line that does not begin with an address, or that counts pages
// on a node beyond kMaxNodes or overflows; what it counted before that stays counted.
bool AddNumaMapsLine(std::string_view line, uintptr_t start, uintptr_t end, PageLocations* out);

}  // namespace numaheap
