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
  // elsewhere are moved if that can be done (MPOL_MF_MOVE). The policy outlives changes of the
  // cpuset: nodes that come back count again (MPOL_F_STATIC_NODES).
  // `nodes` is a list of `count` kernel node ids, of which the process may use at least one.
  int (*bind_range)(void* start, size_t bytes, Policy policy, const NodeId* nodes, int count);
  // Bytes that a node can give now, as /sys/devices/system/node/nodeN/meminfo tells, without what
  // the kernel keeps back; UINT64_MAX if unknown.
  uint64_t (*free_bytes)(NodeId node);
  // move_pages(2) as a query: nodes[i] = node of pages[i], or a negative errno value.
  int (*page_nodes)(const void* const* pages, size_t count, int* nodes);
  // move_pages(2) to `node`; afterwards nodes[i] is as above.
  int (*move_pages)(const void* const* pages, size_t count, NodeId node, int* nodes);
  // Adds the bytes of memory in [start, start + bytes) that lie on `node` and elsewhere, by
  // numa_maps.
  int (*mapped_bytes)(const void* start, size_t bytes, NodeId node, uint64_t* there,
                      uint64_t* elsewhere);
};

}  // namespace numaheap
