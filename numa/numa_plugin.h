// The one function of libnumaheap-numa.so: hwloc and libnuma behind a C entry, so that a process on
// a machine with one node loads neither.
//
// Called once, while the process starts, from one thread. It may allocate. What it returns lives as
// long as the process.
#pragma once

#include "numa/placement.h"
#include "numa/topology.h"

namespace numaheap {

struct NumaPlugin {
  Topology topology;
  PlacementCalls placement;
  char error[256];  // why it failed, one line without a newline; "" when it did not
};

// `synthetic`: an hwloc synthetic description ("numa:2 pu:1"), or null for the real machine.
// `cpu_limit`: highest possible CPU number of the real machine + 1.
// Returns true and fills *out, or false and fills out->error.
using NumaPluginOpen = bool (*)(const char* synthetic, int cpu_limit, NumaPlugin* out);
inline constexpr char kNumaPluginEntry[] = "numaheap_numa_open";

}  // namespace numaheap

extern "C" bool numaheap_numa_open(const char* synthetic, int cpu_limit, numaheap::NumaPlugin* out);
