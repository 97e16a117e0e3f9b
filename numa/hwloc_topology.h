// Builds a Topology with hwloc: the machine's own, or the real CPUs dealt out over a synthetic one.
//
// Single-threaded; hwloc and the functions here allocate. Failures are exceptions derived from
// std::exception, whose what() is one line; only numa_plugin.cc is called from outside.
#pragma once

#include <hwloc.h>

#include <functional>
#include <memory>
#include <vector>

#include "numa/topology.h"

namespace numaheap {

// The arrays behind a Topology.
struct TopologyArrays {
  std::vector<NodeInfo> nodes;
  std::vector<CpuInfo> cpus;
  std::vector<uint16_t> distances;  // nodes.size() squared
  bool synthetic = false;

  // Points into *this: valid while it lives and is not changed.
  Topology View() const;
};

struct HwlocDelete {
  void operator()(hwloc_topology_t topology) const { hwloc_topology_destroy(topology); }
};
using HwlocTopology = std::unique_ptr<hwloc_topology, HwlocDelete>;

// Loads what the functions below read and nothing else. `choose_source` may call one of hwloc's
// hwloc_topology_set_synthetic(), _set_xmlbuffer(), … and returns what that returned; the machine
// itself is read if it calls none. HWLOC_* variables have no effect.
HwlocTopology LoadHwloc(const std::function<int(hwloc_topology_t)>& choose_source);

// Takes a hwloc topology for that of a machine whose CPU numbers are below `cpu_limit`.
//
// A node is present when it has memory, or when no node tells how much it has. A CPU whose own node
// is absent, or that has none, goes to the nearest present node, first one with CPUs of its own;
// an offline CPU to the one hwloc expects it in, else likewise.
// Distances are 10 and 20 unless hwloc has a matrix that keeps ACPI's rules: 10 from a node to
// itself, more to all others (an all-zero or all-10 matrix is a firmware that never filled it in).
// Cache domains are those of the third-level cache: second-level ones belong to one core or a few,
// too small to share anything in. CPUs without one have domain 0.
TopologyArrays ReadMachine(hwloc_topology_t hwloc, int cpu_limit);

// Deals the real CPUs [0, cpu_limit) out over the nodes of `hwloc` that have CPUs: the online ones
// in turn, by rising number, then the offline ones. A node's CPUs take its synthetic CPUs' cache
// domains in turn. `online[cpu]` says which are; CPUs beyond its end are offline. Every node is
// present, whatever its memory.
TopologyArrays DealOut(hwloc_topology_t hwloc, int cpu_limit, const std::vector<bool>& online);

// The topology of this machine if `synthetic` is null, else DealOut over hwloc's reading of it.
TopologyArrays LoadTopology(const char* synthetic, int cpu_limit);

}  // namespace numaheap
