// The part of checking a synthetic description that hwloc leaves out.
//
// hwloc refuses what it can't read, but builds whatever it is told (a million nodes, for minutes),
// and silently drops a list of indexes that has too few of them.
#pragma once

#include <string_view>

namespace numaheap {

// The most CPUs, and the limit of their numbers. hwloc's time grows with the square of the objects:
// 0.3 s for these, 22 s for 8,192.
inline constexpr unsigned long kMaxSyntheticCpus = 2048;

// Throws std::invalid_argument with the reason, without the description itself, when `description`
// is too large or has a list of indexes that is not one distinct index for each object. What it
// does not understand is left for hwloc to refuse.
void CheckSyntheticDescription(std::string_view description);

}  // namespace numaheap
