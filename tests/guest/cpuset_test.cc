// In a cpuset: the ranges of nodes that the process may not use stay unused, and all else works.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "src/api/numaheap.h"
#include "tests/api/cpu.h"
#include "tests/api/snapshot.h"
#include "tests/guest/block_sizes.h"
#include "tests/guest/kernel_nodes.h"
#include "tests/guest/page_census.h"

namespace numaheap {
namespace {

std::vector<int> AllowedNodes() {
  std::ifstream group("/proc/self/cgroup");
  std::string path;  // "0::/path"
  std::getline(group, path);
  return ReadIdList("/sys/fs/cgroup" + path.substr(3) + "/cpuset.mems.effective");
}

bool IsAllowed(int node) {
  const std::vector<int> allowed = AllowedNodes();
  return std::find(allowed.begin(), allowed.end(), node) != allowed.end();
}

TEST(CpusetTest, IsThere) {
  EXPECT_FALSE(AllowedNodes().empty());
  EXPECT_LT(AllowedNodes().size(), KernelNodes().size());
}

// Threads on all CPUs that may be used, those of forbidden nodes among them.
TEST(CpusetTest, ForbiddenRangesStayUnused) {
  constexpr size_t kBytes = 4 << 20;
  const Snapshot before;
  for (int cpu : UsableCpus()) {
    std::thread([cpu] {
      const PinnedTo here(cpu);
      const std::vector<int> allowed = AllowedNodes();
      BlockSizes sizes(static_cast<uint32_t>(cpu));
      std::vector<void*> blocks;
      uint64_t of_forbidden = 0;
      PageCensus census;
      for (size_t sum = 0; sum < kBytes;) {
        const size_t size = sizes.Next();
        void* block = malloc(size);
        ASSERT_NE(block, nullptr);
        memset(block, 1, size);
        numaheap_owner_t owner;
        ASSERT_EQ(numaheap_owner(block, &owner), 0);
        of_forbidden += !std::count(allowed.begin(), allowed.end(), owner.node);
        census.Count(block, size, owner.node);
        blocks.push_back(block);
        sum += size;
      }
      std::printf(
          "CPU %d of node %d: %zu blocks, %lu of forbidden nodes' ranges; pages on their "
          "owner's node %.2f%%\n",
          cpu, NodeOfCpu(cpu), blocks.size(), of_forbidden, census.percent_at_home());
      EXPECT_EQ(of_forbidden, 0u) << cpu;
      EXPECT_EQ(census.at_home(), census.pages()) << cpu;
      for (void* block : blocks) free(block);
    }).join();
  }
  const Snapshot after;
  for (const numaheap_node_snapshot_t& heap : before) {
    if (heap.node < 0 || IsAllowed(heap.node)) continue;
    const uint64_t committed = after.Find(heap.node)->committed_bytes;
    std::printf("range of forbidden node %d: %lu bytes committed at the start, %lu at the end\n",
                heap.node, heap.committed_bytes, committed);
    // The first heap opens where the program starts, before anything is known of nodes.
    EXPECT_EQ(committed, heap.committed_bytes) << heap.node;
  }
}

TEST(CpusetTest, ForbiddenNodesAreRefused) {
  for (const KernelNode& node : KernelNodes()) {
    errno = 0;
    void* block = numaheap_malloc_onnode(1000, node.id);
    if (IsAllowed(node.id)) {
      EXPECT_NE(block, nullptr) << node.id;
    } else {
      EXPECT_EQ(block, nullptr) << node.id;
      EXPECT_EQ(errno, EINVAL) << node.id;
      EXPECT_EQ(numaheap_set_thread_node(node.id), EINVAL) << node.id;
    }
    free(block);
  }
}

TEST(CpusetTest, InterleavedOverAllowedNodes) {
  constexpr size_t kBytes = 8 << 20;
  auto* block = static_cast<char*>(numaheap_malloc_interleaved(kBytes));
  ASSERT_NE(block, nullptr);
  memset(block, 1, kBytes);
  PageCensus census;
  census.Count(block, kBytes, 0);
  for (const KernelNode& node : KernelNodes()) {
    EXPECT_EQ(census.on(node.id) > 0, IsAllowed(node.id)) << node.id;
  }
  free(block);
}

}  // namespace
}  // namespace numaheap
