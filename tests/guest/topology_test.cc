// numaheap has a heap for every node that the kernel has memory on, and every CPU is counted there.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "tests/api/snapshot.h"
#include "tests/guest/kernel_nodes.h"

namespace numaheap {
namespace {

TEST(TopologyTest, AHeapPerNodeWithMemory) {
  const Snapshot snapshot;
  size_t with_memory = 0;
  for (const KernelNode& node : KernelNodes()) {
    std::string distances;
    for (int distance : node.distances) distances += ' ' + std::to_string(distance);
    std::printf("node %d: %zu CPUs, %lu MiB, %lu MiB free, distances%s\n", node.id,
                node.cpus.size(), node.total_bytes >> 20, node.free_bytes >> 20, distances.c_str());
    if (node.total_bytes == 0) continue;
    ++with_memory;
    const numaheap_node_snapshot_t* heap = snapshot.Find(node.id);
    ASSERT_NE(heap, nullptr) << node.id;
    EXPECT_EQ(heap->cpus, node.cpus.size()) << node.id;
  }
  EXPECT_EQ(snapshot.all().node_count, with_memory);
  EXPECT_GT(with_memory, 1u);
}

TEST(TopologyTest, Modes) {
  const Snapshot snapshot;
  EXPECT_EQ(snapshot.all().placement_mode, NUMAHEAP_PLACEMENT_PREFERRED);
  EXPECT_EQ(snapshot.all().cache_mode, NUMAHEAP_CACHE_RSEQ);
  EXPECT_EQ(snapshot.all().reservation_halvings, 0u);
}

}  // namespace
}  // namespace numaheap
