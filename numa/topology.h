// Topology: which nodes and CPUs there are, how far apart, and which caches they share.
//
// Plain immutable data. Whoever builds one (hwloc in hwloc_topology.cc, or SingleNode() below) owns
// the arrays and keeps them for the life of the process. Node and CPU ids are the kernel's and may
// be sparse: arrays have node_limit (cpu_limit) entries, absent ones are marked.
#pragma once

#include "src/base/ids.h"

namespace numaheap {

struct NodeInfo {
  bool present = false;   // the node exists and has memory
  bool allowed = false;   // when it was read: this process may allocate from it (cpuset)
  bool has_cpus = false;  // false: memory-only (an expander), never picked as a local node
  uint64_t memory_bytes = 0;
};

struct CpuInfo {
  bool online = false;        // when it was read; one that was not may turn out to be elsewhere
  NodeId node;                // nearest node that has memory, allowed or not; a present node
  uint16_t cache_domain = 0;  // index of the last-level cache within the node, dense from 0
};

struct Topology {
  int node_limit = 1;                   // highest NodeId + 1
  int cpu_limit = 1;                    // highest possible CpuId + 1
  bool synthetic = false;               // nodes come from `topology.synthetic`, memory does not
  const NodeInfo* nodes = nullptr;      // [node_limit]
  const CpuInfo* cpus = nullptr;        // [cpu_limit]
  const uint16_t* distances = nullptr;  // [node_limit * node_limit], row = from; 10 = local

  uint16_t Distance(NodeId from, NodeId to) const {
    return distances[from.value * node_limit + to.value];
  }
  int CountNodes() const {
    int count = 0;
    for (int i = 0; i < node_limit; ++i) count += nodes[i].present;
    return count;
  }
};

}  // namespace numaheap
