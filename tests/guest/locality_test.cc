// Local by default: what a thread allocates lies on the node on which it runs at that moment,
// whether it stays there, was moved there, or wanders.
//
// Runs under any allocator, and prints the same table for each: the share of the pages, of blocks
// that were filled right away, on the node of the thread that allocated them. Only numaheap is held
// to it.
#include <gtest/gtest.h>
#include <malloc.h>
#include <sched.h>

#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "src/api/numaheap.h"
#include "tests/api/cpu.h"
#include "tests/guest/block_sizes.h"
#include "tests/guest/kernel_nodes.h"
#include "tests/guest/page_census.h"

// Absent under other allocators.
#pragma weak numaheap_owner

namespace numaheap {
namespace {

constexpr size_t kBytesPerThread = 12 << 20;
constexpr double kEnough = 99.9;  // percent

bool UnderNumaheap() {
  return &numaheap_owner != nullptr;
}

int CurrentNode() {
  unsigned cpu, node;
  return getcpu(&cpu, &node) == 0 ? static_cast<int>(node) : -1;
}

struct Block {
  char* start;
  size_t size;
  int node;  // where the thread was, before and after the call
};

// What one phase has shown, over all threads.
class Phase {
 public:
  void Add(const std::vector<Block>& blocks) {
    PageCensus by_thread, by_owner;
    uint64_t from_node = 0;
    for (const Block& block : blocks) {
      by_thread.Count(block.start, block.size, block.node);
      if (!UnderNumaheap()) continue;
      numaheap_owner_t owner;
      ASSERT_EQ(numaheap_owner(block.start, &owner), 0);
      from_node += owner.node == block.node;
      by_owner.Count(block.start, block.size, owner.node);
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    by_thread_.Add(by_thread);
    by_owner_.Add(by_owner);
    blocks_ += blocks.size();
    from_node_ += from_node;
  }

  void Check(const char* name) {
    std::printf("%-28s %7lu pages, on the thread's node %6.2f%%", name, by_thread_.pages(),
                by_thread_.percent_at_home());
    EXPECT_GT(by_thread_.pages(), 0u);
    EXPECT_EQ(by_thread_.error(), 0);
    if (UnderNumaheap()) {
      const double from_node =
          100.0 * static_cast<double>(from_node_) / static_cast<double>(blocks_);
      std::printf(", on the owner's node %6.2f%%; %lu blocks, of that node %6.2f%%",
                  by_owner_.percent_at_home(), blocks_, from_node);
      EXPECT_GE(by_owner_.percent_at_home(), kEnough) << name;
      EXPECT_GE(by_thread_.percent_at_home(), kEnough) << name;
      EXPECT_GE(from_node, kEnough) << name;
    }
    std::printf("\n");
  }

 private:
  std::mutex mutex_;
  PageCensus by_thread_, by_owner_;
  uint64_t blocks_ = 0;
  uint64_t from_node_ = 0;
};

// Allocates and fills blocks. One that was allocated while the thread moved is of either node, and
// is not recorded.
std::vector<Block> Fill(BlockSizes& sizes, size_t bytes) {
  std::vector<Block> blocks;
  std::vector<char*> others;
  blocks.reserve(bytes / 16);
  for (size_t sum = 0; sum < bytes;) {
    const size_t size = sizes.Next();
    const int before = CurrentNode();
    auto* start = static_cast<char*>(malloc(size));
    const int after = CurrentNode();
    EXPECT_NE(start, nullptr);
    memset(start, 0x5a, size);
    sum += size;
    if (before == after) {
      blocks.push_back({start, size, before});
    } else {
      others.push_back(start);
    }
  }
  for (char* block : others) free(block);
  return blocks;
}

void Free(const std::vector<Block>& blocks) {
  for (const Block& block : blocks) free(block.start);
}

// The loader only warns about a library that it can't preload, and all would be glibc's.
TEST(LocalityTest, TheAllocatorIsThere) {
  const char* preload = getenv("LD_PRELOAD");
  const std::string library = preload == nullptr ? "libc.so.6" : preload;
  std::ifstream maps("/proc/self/maps");
  bool mapped = false;
  for (std::string line; std::getline(maps, line);) mapped |= line.find(library) != line.npos;
  EXPECT_TRUE(mapped) << library;
  EXPECT_EQ(UnderNumaheap(), library.find("numaheap") != library.npos);
}

TEST(LocalityTest, PinnedThenMoved) {
  const std::vector<KernelNode> nodes = NodesWithCpus();
  ASSERT_GT(nodes.size(), 1u);
  Phase pinned, moved, again;
  std::barrier phase_over(static_cast<ptrdiff_t>(nodes.size()));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < nodes.size(); ++i) {
    threads.emplace_back([&, i] {
      BlockSizes sizes(static_cast<uint32_t>(i));
      const auto run_on = [&](size_t node, Phase& phase) {
        const PinnedTo here(nodes[node % nodes.size()].cpus[0]);
        const std::vector<Block> blocks = Fill(sizes, kBytesPerThread);
        phase.Add(blocks);
        phase_over.arrive_and_wait();
        Free(blocks);
        phase_over.arrive_and_wait();
      };
      run_on(i, pinned);
      run_on(i + 1, moved);  // with what the thread has freed on the other node
      run_on(i, again);
    });
  }
  for (std::thread& thread : threads) thread.join();
  pinned.Check("pinned");
  moved.Check("moved to another node");
  again.Check("moved back");
}

// More threads than CPUs, so that the scheduler moves them about.
TEST(LocalityTest, UnpinnedUnderLoad) {
  const size_t count = UsableCpus().size() + 2;
  Phase unpinned;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      BlockSizes sizes(static_cast<uint32_t>(100 + i));
      for (int round = 0; round < 3; ++round) {
        const std::vector<Block> blocks = Fill(sizes, kBytesPerThread / 2);
        if (round == 2) unpinned.Add(blocks);
        Free(blocks);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  unpinned.Check("unpinned under load");
}

}  // namespace
}  // namespace numaheap
