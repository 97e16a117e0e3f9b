// placement.use_memory_only = "never": a node without CPUs is refused, and nothing lies there.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "src/api/numaheap.h"
#include "tests/guest/kernel_nodes.h"
#include "tests/guest/page_census.h"

namespace numaheap {
namespace {

std::vector<KernelNode> MemoryOnlyNodes() {
  std::vector<KernelNode> nodes = KernelNodes();
  std::erase_if(nodes, [](const KernelNode& node) { return !node.cpus.empty(); });
  return nodes;
}

TEST(MemoryOnlyTest, IsRefused) {
  ASSERT_FALSE(MemoryOnlyNodes().empty());
  for (const KernelNode& node : MemoryOnlyNodes()) {
    errno = 0;
    EXPECT_EQ(numaheap_malloc_onnode(1000, node.id), nullptr) << node.id;
    EXPECT_EQ(errno, EINVAL) << node.id;
    EXPECT_EQ(numaheap_set_thread_node(node.id), EINVAL) << node.id;
  }
}

TEST(MemoryOnlyTest, IsNotInterleavedOver) {
  constexpr size_t kBytes = 16 << 20;
  auto* block = static_cast<char*>(numaheap_malloc_interleaved(kBytes));
  ASSERT_NE(block, nullptr);
  memset(block, 1, kBytes);
  PageCensus census;
  census.Count(block, kBytes, 0);
  for (const KernelNode& node : KernelNodes()) {
    std::printf("node %d, %zu CPUs: %lu pages\n", node.id, node.cpus.size(), census.on(node.id));
    EXPECT_EQ(census.on(node.id) > 0, !node.cpus.empty()) << node.id;
  }
  free(block);
}

}  // namespace
}  // namespace numaheap
