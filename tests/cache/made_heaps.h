// MadeHeaps: the heaps of a made-up topology, small enough to be filled, on a FakeKernel.
#pragma once

#include <algorithm>
#include <vector>

#include "numa/topology.h"
#include "src/base/check.h"
#include "src/cache/cpu_cache.h"
#include "src/heap/node_heaps.h"
#include "src/os/address_space.h"
#include "tests/os/fake_kernel.h"

namespace numaheap {

class MadeHeaps {
 public:
  // CPU i belongs to node_of_cpu[i]; nodes are numbered from 0. `range_bytes`: of each node, a
  // power of two.
  explicit MadeHeaps(const std::vector<int>& node_of_cpu, size_t range_bytes = 64 << 20)
      : cpus(node_of_cpu.size()) {
    int count = 1;
    for (size_t i = 0; i < cpus.size(); ++i) {
      cpus[i] = {.online = true, .node = {node_of_cpu[i]}};
      count = std::max(count, node_of_cpu[i] + 1);
    }
    nodes.assign(count, {.present = true, .allowed = true, .has_cpus = true});
    distances.assign(count * count, 20);
    for (int i = 0; i < count; ++i) distances[i * count + i] = 10;
    topology = {.node_limit = count,
                .cpu_limit = static_cast<int>(cpus.size()),
                .synthetic = true,
                .nodes = nodes.data(),
                .cpus = cpus.data(),
                .distances = distances.data()};
    const int ranges = count + 1;
    kernel.FailAbove(FakeKernel::kReserve, ranges * range_bytes + kHugePageSize);
    CHECK(space.Open(kernel, ranges, nullptr) && space.range_bytes() == range_bytes);
    CHECK(heaps.OpenFirst({0}, CpuCache::RecordBytes(topology.cpu_limit) + (4 << 20)));
  }
  // For tests of what is missing: those nodes that can be had.
  bool OpenAll() { return heaps.OpenAll(topology); }
  ~MadeHeaps() { space.Close(kernel); }

  NodeHeap& operator[](int node) { return *heaps.heap({node}); }

  std::vector<NodeInfo> nodes;
  std::vector<CpuInfo> cpus;
  std::vector<uint16_t> distances;
  Topology topology;

  FakeKernel kernel;
  AddressSpace space;
  NodeHeaps heaps{kernel, space};
};

}  // namespace numaheap
