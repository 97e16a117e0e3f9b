// The caller chooses: memory of a given node lies there, and there is none of a node that is
// absent.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "src/api/numaheap.h"
#include "tests/api/cpu.h"
#include "tests/guest/block_sizes.h"
#include "tests/guest/kernel_nodes.h"
#include "tests/guest/page_census.h"

namespace numaheap {
namespace {

TEST(ChoiceTest, OnNodeLiesThere) {
  constexpr size_t kBytes = 8 << 20;
  for (const KernelNode& node : KernelNodes()) {
    BlockSizes sizes(static_cast<uint32_t>(node.id));
    std::vector<void*> blocks;
    PageCensus census;
    for (size_t sum = 0; sum < kBytes;) {
      const size_t size = sizes.Next();
      void* block = numaheap_malloc_onnode(size, node.id);
      ASSERT_NE(block, nullptr) << node.id;
      memset(block, 1, size);
      numaheap_owner_t owner;
      ASSERT_EQ(numaheap_owner(block, &owner), 0);
      EXPECT_EQ(owner.node, node.id);
      census.Count(block, size, node.id);
      blocks.push_back(block);
      sum += size;
    }
    std::printf("asked for node %d: %lu pages, %.2f%% there\n", node.id, census.pages(),
                census.percent_at_home());
    EXPECT_EQ(census.at_home(), census.pages()) << node.id;
    for (void* block : blocks) free(block);
  }
}

// The thread's own choice: where it runs does not matter.
TEST(ChoiceTest, ThreadNodeIsHonoured) {
  constexpr size_t kBytes = 8 << 20;
  const std::vector<KernelNode> with_cpus = NodesWithCpus();
  for (const KernelNode& node : KernelNodes()) {
    const KernelNode& elsewhere = with_cpus[with_cpus[0].id == node.id];
    std::thread([&] {
      const PinnedTo here(elsewhere.cpus[0]);
      ASSERT_EQ(numaheap_set_thread_node(node.id), 0);
      EXPECT_EQ(numaheap_thread_node(), node.id);
      BlockSizes sizes(static_cast<uint32_t>(node.id));
      std::vector<std::pair<void*, size_t>> blocks;
      for (size_t sum = 0; sum < kBytes; sum += blocks.back().second) {
        const size_t size = sizes.Next();
        blocks.emplace_back(malloc(size), size);
        memset(blocks.back().first, 1, size);
      }
      ASSERT_EQ(numaheap_set_thread_node(-1), 0);
      PageCensus census;
      for (const auto& [block, size] : blocks) census.Count(block, size, node.id);
      std::printf("a thread on node %d that chose node %d: %lu pages, %.2f%% there\n", elsewhere.id,
                  node.id, census.pages(), census.percent_at_home());
      EXPECT_EQ(census.at_home(), census.pages()) << node.id;
      for (const auto& [block, size] : blocks) free(block);

      void* block = malloc(100);
      numaheap_owner_t owner;
      ASSERT_EQ(numaheap_owner(block, &owner), 0);
      EXPECT_EQ(owner.node, elsewhere.id) << "the choice was taken back";
      free(block);
    }).join();
  }
}

// Those that are beyond the machine's, and those between that a machine may lack.
TEST(ChoiceTest, AbsentNodesAreRefused) {
  std::vector<int> absent = {-1, -2, 63, 1023, 1024, 100'000, INT_MAX, INT_MIN};
  const std::vector<KernelNode> nodes = KernelNodes();
  for (int id = 0; id <= nodes.back().id + 1; ++id) {
    const auto is_it = [id](const KernelNode& node) { return node.id == id; };
    if (std::none_of(nodes.begin(), nodes.end(), is_it)) absent.push_back(id);
  }
  for (int id : absent) {
    if (id != -1) {
      EXPECT_EQ(numaheap_set_thread_node(id), EINVAL) << id;
    }
    for (size_t size : {size_t{100}, size_t{1} << 20}) {
      errno = 0;
      EXPECT_EQ(numaheap_malloc_onnode(size, id), nullptr) << id;
      EXPECT_EQ(errno, EINVAL) << id;
    }
  }
}

}  // namespace
}  // namespace numaheap
