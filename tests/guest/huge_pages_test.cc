// With transparent huge pages on: they lie on the range's node, and the number of mappings does not
// grow with the heap.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "src/api/numaheap.h"
#include "tests/guest/block_sizes.h"
#include "tests/guest/kernel_nodes.h"
#include "tests/guest/page_census.h"

namespace numaheap {
namespace {

constexpr size_t kMiB = 1 << 20;

// The heaps' addresses begin behind 16 TiB and end far before anything else is mapped.
constexpr uintptr_t kHeapsBegin = uintptr_t{1} << 44;
constexpr uintptr_t kHeapsEnd = uintptr_t{1} << 46;

bool IsHeapAddress(uintptr_t address) {
  return kHeapsBegin <= address && address < kHeapsEnd;
}

size_t CountMappings() {
  size_t count = 0;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    count += IsHeapAddress(std::stoul(line, nullptr, 16));
  }
  return count;
}

// KiB in huge pages of the mapping that `ptr` lies in.
size_t HugeKib(const void* ptr) {
  const auto address = reinterpret_cast<uintptr_t>(ptr);
  std::ifstream smaps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    uintptr_t start, end;
    size_t kib;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &start, &end) == 2) {
      inside = start <= address && address < end;
    } else if (inside && std::sscanf(line.c_str(), "AnonHugePages: %zu kB", &kib) == 1) {
      return kib;
    }
  }
  return 0;
}

TEST(HugePagesTest, LieOnTheirNode) {
  constexpr size_t kBytes = 48 * kMiB;
  for (const KernelNode& node : KernelNodes()) {
    char* block = static_cast<char*>(numaheap_malloc_onnode(kBytes, node.id));
    ASSERT_NE(block, nullptr) << node.id;
    ASSERT_TRUE(IsHeapAddress(reinterpret_cast<uintptr_t>(block)));
    memset(block, 1, kBytes);
    PageCensus census;
    census.Count(block, kBytes, node.id);
    const size_t huge = HugeKib(block) >> 10;
    std::printf("node %d: %zu of %zu MiB in huge pages, %.2f%% of the pages on the node\n", node.id,
                huge, kBytes / kMiB, census.percent_at_home());
    EXPECT_EQ(census.at_home(), census.pages()) << node.id;
    EXPECT_GE(huge, kBytes / kMiB * 9 / 10) << node.id;
    free(block);
  }
  numaheap_release_memory();
}

// Blocks of all sizes come and go, and what is idle is given back again and again.
TEST(HugePagesTest, MappingsStayFew) {
  const std::vector<KernelNode> nodes = KernelNodes();
  const size_t limit = 16 + 6 * nodes.size();
  const size_t before = CountMappings();
  size_t most = before;
  BlockSizes sizes(3);
  std::vector<void*> blocks(20'000, nullptr);
  for (size_t n = 0; n < 100'000; ++n) {
    void*& block = blocks[n * 7919 % blocks.size()];
    free(block);
    const size_t size = sizes.Next();
    block = numaheap_malloc_onnode(size, nodes[n % nodes.size()].id);
    ASSERT_NE(block, nullptr);
    memset(block, 1, size < 4096 ? size : 4096);
    if (n % 5000 == 0) {
      if (n % 10'000 == 0) numaheap_release_memory();
      most = std::max(most, CountMappings());
    }
  }
  std::printf("%zu nodes: %zu mappings of heaps at the start, %zu at most; %zu are allowed\n",
              nodes.size(), before, most, limit);
  EXPECT_LE(most, limit);
  for (void* block : blocks) free(block);
}

}  // namespace
}  // namespace numaheap
