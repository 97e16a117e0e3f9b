// Placement: where the kernel is asked to put the pages of an address range.
//
// The calls live behind a table of functions because libnuma is loaded only when there is more than
// one node; the table is constant once filled. Every function is thread-safe, allocates nothing,
// keeps errno out of its contract and returns 0 or an errno value.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/base/ids.h"

namespace numaheap {

enum class Policy : uint8_t {
  kPreferred,   // MPOL_PREFERRED: this node first, others when it is full
  kBind,        // MPOL_BIND: this node or nothing
  kInterleave,  // MPOL_INTERLEAVE: page by page over all given nodes
};

struct PlacementCalls {
  // mbind(2) through libnuma for [start, start + bytes). Pages that are there already and lie
  // elsewhere are moved if that can be done (MPOL_MF_MOVE).
  // `nodes` is a list of `count` kernel node ids.
  int (*bind_range)(void* start, size_t bytes, Policy policy, const NodeId* nodes, int count);
  // Bytes that a node can give now, as /sys/devices/system/node/nodeN/meminfo tells, without what
  // the kernel keeps back; UINT64_MAX if unknown.
  uint64_t (*free_bytes)(NodeId node);
  // move_pages(2) as a query: status[i] = node of addresses[i], or a negative errno value.
  int (*page_nodes)(const void* const* addresses, size_t count, int* status);
};

}  // namespace numaheap
