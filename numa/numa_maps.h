// NumaMaps: on which nodes the memory of mappings lies, as /proc/self/numa_maps (numa(7)) tells.
//
// It needs no permission, but the kernel walks all pages of the process for each reading. Needs the
// C library alone, allocates nothing, keeps no state; thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "numa/node_mask.h"

namespace numaheap {

// Bytes by node. 8 KiB.
struct NodeBytes {
  uint64_t on[kMaxNodes] = {};
};

// Adds what the process has in the mappings that begin in [start, start + bytes): one that begins
// there counts as a whole, one that begins before it not at all. Returns 0 or an errno value, *out
// then being incomplete; errno itself stays as it was.
int ReadNumaMaps(const void* start, size_t bytes, NodeBytes* out);

// The same of numa_maps text, read from the descriptor `file` to its end. EBADMSG after a line that
// AddNumaMapsLine refuses, the others being added; E2BIG for a line longer than 32 KiB.
int AddNumaMaps(int file, uintptr_t start, uintptr_t end, NodeBytes* out);

// Adds one line without its newline to *out if its mapping begins in [start, end). Returns false
// for a line that does not begin with an address, or that counts pages on a node beyond kMaxNodes
// or overflows; what it counted before that stays counted.
bool AddNumaMapsLine(std::string_view line, uintptr_t start, uintptr_t end, NodeBytes* out);

}  // namespace numaheap
