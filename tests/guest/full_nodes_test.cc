// Full nodes: what does not fit on a node comes from the nearest one that has memory, and nothing
// is killed while there is any.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#include "src/api/numaheap.h"
#include "tests/api/cpu.h"
#include "tests/guest/kernel_nodes.h"
#include "tests/guest/page_census.h"

namespace numaheap {
namespace {

constexpr size_t kBlock = 1 << 20;

uint64_t FreeEverywhere() {
  uint64_t sum = 0;
  for (const KernelNode& node : KernelNodes()) sum += node.free_bytes;
  return sum;
}

uint64_t TotalEverywhere() {
  uint64_t sum = 0;
  for (const KernelNode& node : KernelNodes()) sum += node.total_bytes;
  return sum;
}

TEST(FullNodesTest, SpillToTheNearest) {
  const std::vector<KernelNode> nodes = KernelNodes();
  const KernelNode& first = nodes[0];
  const PinnedTo here(first.cpus[0]);
  // The kernel keeps 5% for itself where it has huge pages.
  const uint64_t margin = TotalEverywhere() / 8;

  std::vector<void*> blocks;
  blocks.reserve(TotalEverywhere() / kBlock);
  std::map<int, uint64_t> pages;  // by node
  std::vector<size_t> filled;     // indices into `nodes`, by their first 4 MiB
  while (FreeEverywhere() > margin) {
    void* block = malloc(kBlock);
    ASSERT_NE(block, nullptr) << "with " << (FreeEverywhere() >> 20) << " MiB free";
    memset(block, 1, kBlock);
    blocks.push_back(block);
    PageCensus census;
    census.Count(block, kBlock, first.id);
    for (const auto& [node, count] : census.by_node()) pages[node] += count;
    for (size_t i = 0; i < nodes.size(); ++i) {
      const bool known = std::find(filled.begin(), filled.end(), i) != filled.end();
      if (!known && pages[nodes[i].id] * PageCensus::kPageBytes > 4 * kBlock) filled.push_back(i);
    }
  }
  // The kernel spills page by page; the heap that hands the blocks out stays the same.
  std::printf("%zu MiB from node %d, %lu MiB left:\n", blocks.size(), first.id,
              FreeEverywhere() >> 20);
  for (size_t i : filled) {
    std::printf("  node %d, distance %d, %zu CPUs: %lu MiB\n", nodes[i].id, first.distances[i],
                nodes[i].cpus.size(), pages[nodes[i].id] * PageCensus::kPageBytes >> 20);
  }
  EXPECT_EQ(filled.size(), nodes.size()) << "not every node was used";
  for (size_t n = 1; n < filled.size(); ++n) {
    const KernelNode &nearer = nodes[filled[n - 1]], &farther = nodes[filled[n]];
    EXPECT_LE(nearer.cpus.empty(), farther.cpus.empty()) << "a memory-only node before others";
    if (nearer.cpus.empty() == farther.cpus.empty()) {
      EXPECT_LE(first.distances[filled[n - 1]], first.distances[filled[n]]);
    }
  }

  // With room again, memory is local again.
  for (void* block : blocks) free(block);
  numaheap_release_memory();
  PageCensus after;
  for (int i = 0; i < 16; ++i) {
    void* block = malloc(kBlock);
    memset(block, 1, kBlock);
    after.Count(block, kBlock, first.id);
    blocks[static_cast<size_t>(i)] = block;
  }
  EXPECT_EQ(after.at_home(), after.pages());
  for (int i = 0; i < 16; ++i) free(blocks[static_cast<size_t>(i)]);
}

}  // namespace
}  // namespace numaheap
