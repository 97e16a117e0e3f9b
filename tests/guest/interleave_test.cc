// The pages of the interleaved heap are even over the nodes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "src/api/numaheap.h"
#include "tests/guest/block_sizes.h"
#include "tests/guest/kernel_nodes.h"
#include "tests/guest/page_census.h"

namespace numaheap {
namespace {

// With huge pages it is those that are dealt out, 2 MiB at a time: one more or less must not
// matter.
size_t EnoughBytes() {
  return KernelNodes().size() * (size_t{64} << 20);
}

void ExpectEven(const PageCensus& census) {
  const std::vector<KernelNode> nodes = KernelNodes();
  uint64_t sum = 0;
  for (const KernelNode& node : nodes) sum += census.on(node.id);
  const double even = static_cast<double>(sum) / static_cast<double>(nodes.size());
  for (const KernelNode& node : nodes) {
    const auto pages = static_cast<double>(census.on(node.id));
    std::printf("  node %d: %.0f pages, %+.2f%% of an even share\n", node.id, pages,
                100 * (pages - even) / even);
    EXPECT_LE(std::abs(pages - even), 0.05 * even) << node.id;
  }
}

TEST(InterleaveTest, ABufferPool) {
  const size_t bytes = EnoughBytes();
  auto* pool = static_cast<char*>(numaheap_malloc_interleaved(bytes));
  ASSERT_NE(pool, nullptr);
  memset(pool, 1, bytes);
  PageCensus census;
  census.Count(pool, bytes, 0);
  std::printf("one block of %zu MiB:\n", bytes >> 20);
  ExpectEven(census);
  free(pool);
  numaheap_release_memory();
}

TEST(InterleaveTest, ManyBlocks) {
  const size_t bytes = EnoughBytes();
  BlockSizes sizes(7);
  std::vector<char*> blocks;
  char *lowest = nullptr, *highest = nullptr;
  for (size_t sum = 0; sum < bytes;) {
    const size_t size = sizes.Next();
    auto* block = static_cast<char*>(numaheap_malloc_interleaved(size));
    ASSERT_NE(block, nullptr);
    memset(block, 1, size);
    if (lowest == nullptr || block < lowest) lowest = block;
    highest = std::max(highest, block + size);
    blocks.push_back(block);
    sum += size;
  }
  // The heap is one stretch of addresses.
  PageCensus census;
  census.Count(lowest, static_cast<size_t>(highest - lowest), 0);
  std::printf("%zu blocks:\n", blocks.size());
  ExpectEven(census);
  for (char* block : blocks) free(block);
}

}  // namespace
}  // namespace numaheap
