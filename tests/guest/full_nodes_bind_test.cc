// Full nodes under placement.policy = "bind": what a heap hands out lies on its node, an allocation
// that the node has no room for fails with ENOMEM, or goes elsewhere where placement.bind_fallback
// says so, and the process lives.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <thread>
#include <vector>

#include "src/api/numaheap.h"
#include "tests/api/cpu.h"
#include "tests/api/snapshot.h"
#include "tests/guest/kernel_nodes.h"
#include "tests/guest/node_matrices.h"
#include "tests/guest/page_census.h"

namespace numaheap {
namespace {

// In a child, so that one that is killed for lack of memory is this test's failure only.
void InChild(const std::function<void()>& body) {
  std::fflush(nullptr);
  const pid_t child = fork();
  ASSERT_NE(child, -1);
  if (child == 0) {
    try {
      body();
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
    std::fflush(nullptr);
    _exit(testing::Test::HasFailure());
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  if (WIFSIGNALED(status)) {
    FAIL() << "the process died of signal " << WTERMSIG(status)
           << (WTERMSIG(status) == SIGKILL ? ": out of memory" : "");
  }
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

bool HasOption(const char* text) {
  const char* options = getenv("NUMAHEAP_OPTIONS");
  return options != nullptr && strstr(options, text) != nullptr;
}

// Blocks that were filled, until there were no more.
class Filled {
 public:
  // `allocate`: takes bytes, returns null at the end.
  template <typename Allocate>
  Filled(size_t size, Allocate allocate) : size_(size) {
    blocks_.reserve((size_t{2} << 30) / size);  // more than any machine here has
    errno = 0;
    while (void* block = allocate(size)) {
      memset(block, 1, size);
      blocks_.push_back(block);
      errno = 0;
    }
    error_ = errno;
    bytes_ = blocks_.size() * size;
    // So that the test itself, which allocates too, can go on.
    for (size_t freed = 0; freed < (4 << 20) && !blocks_.empty(); freed += size) {
      free(blocks_.back());
      blocks_.pop_back();
    }
    for (void* block : blocks_) {
      numaheap_owner_t owner;
      if (numaheap_owner(block, &owner) != 0) continue;
      census_.Count(block, size, owner.node);
      ++by_owner_[owner.node];
    }
  }

  int error() const { return error_; }
  size_t bytes() const { return bytes_; }  // handed out before the error
  const PageCensus& census() const { return census_; }
  const std::map<int, uint64_t>& by_owner() const { return by_owner_; }

  void Print(const char* what) const {
    std::printf("%s, %zu KiB each: %zu MiB, then error %d\n", what, size_ >> 10, bytes() >> 20,
                error_);
    for (const KernelNode& node : KernelNodes()) {
      const auto of = by_owner_.find(node.id);
      std::printf("  node %d: %lu MiB, with %lu of %lu MiB free\n", node.id,
                  of == by_owner_.end() ? 0 : of->second * size_ >> 20, node.free_bytes >> 20,
                  node.total_bytes >> 20);
    }
    std::printf("  %.2f%% of the pages on their owner's node\n", census_.percent_at_home());
  }

 private:
  const size_t size_;
  std::vector<void*> blocks_;
  int error_ = 0;
  size_t bytes_ = 0;
  PageCensus census_;
  std::map<int, uint64_t> by_owner_;
};

void FillFirstNode(size_t size) {
  const KernelNode first = KernelNodes()[0];
  const Filled filled(size, [&](size_t bytes) { return numaheap_malloc_onnode(bytes, first.id); });
  filled.Print("blocks of the first node");
  EXPECT_EQ(filled.error(), ENOMEM);
  EXPECT_EQ(filled.census().at_home(), filled.census().pages());
  EXPECT_GT(filled.bytes(), first.free_bytes / 2) << "much less than there was";
}

TEST(FullNodesBindTest, Mode) {
  EXPECT_EQ(Snapshot().all().placement_mode, NUMAHEAP_PLACEMENT_BIND);
}

TEST(FullNodesBindTest, LargeBlocksEndWithEnomem) {
  InChild([] { FillFirstNode(1 << 20); });
}

TEST(FullNodesBindTest, VeryLargeBlocksEndWithEnomem) {
  InChild([] { FillFirstNode(50 << 20); });
}

TEST(FullNodesBindTest, SmallBlocksEndWithEnomem) {
  InChild([] { FillFirstNode(4000); });
}

// malloc fails when the node is full, or goes to other nodes, which is counted, until none has
// room.
TEST(FullNodesBindTest, MallocEndsWithEnomem) {
  InChild([] {
    const std::vector<KernelNode> nodes = KernelNodes();
    const PinnedTo here(nodes[0].cpus[0]);
    const Filled filled(1 << 20, [](size_t bytes) { return malloc(bytes); });
    filled.Print("malloc");
    EXPECT_EQ(filled.error(), ENOMEM);
    EXPECT_EQ(filled.census().at_home(), filled.census().pages());
    for (const KernelNode& node : nodes) {
      const bool wanted =
          node.id == nodes[0].id || (HasOption("bind_fallback=spill") &&
                                     (!node.cpus.empty() || !HasOption("use_memory_only=demand")));
      EXPECT_EQ(filled.by_owner().contains(node.id), wanted) << node.id;
    }
    // Counted by pair; the test's own few allocations are, too.
    const NodeMatrices counted;
    for (const auto& [node, blocks] : filled.by_owner()) {
      if (node == nodes[0].id) continue;
      std::printf("  spills from node %d to node %d: %lu counted\n", nodes[0].id, node,
                  counted.spills(nodes[0].id, node));
      EXPECT_GE(counted.spills(nodes[0].id, node), blocks) << node;
    }
  });
}

// Two threads that find the same bytes free.
TEST(FullNodesBindTest, ThreadsTogetherEndWithEnomem) {
  InChild([] {
    const int node = KernelNodes()[0].id;
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([node] {
        constexpr size_t kSize = 1 << 20;
        while (void* block = numaheap_malloc_onnode(kSize, node)) memset(block, 1, kSize);
        EXPECT_EQ(errno, ENOMEM);
      });
    }
    for (std::thread& thread : threads) thread.join();
  });
}

// What is handed out but not touched yet is promised all the same.
TEST(FullNodesBindTest, UntouchedBlocksAreCounted) {
  InChild([] {
    constexpr size_t kSize = 16 << 20;
    const KernelNode first = KernelNodes()[0];
    std::vector<char*> blocks;
    while (blocks.size() * kSize < 2 * first.total_bytes) {
      auto* block = static_cast<char*>(numaheap_malloc_onnode(kSize, first.id));
      if (block == nullptr) break;
      blocks.push_back(block);
    }
    std::printf("%zu MiB handed out of %lu free\n", blocks.size() * (kSize >> 20),
                first.free_bytes >> 20);
    std::fflush(nullptr);
    EXPECT_LE(blocks.size() * kSize, first.free_bytes);
    for (char* block : blocks) memset(block, 1, kSize);
  });
}

}  // namespace
}  // namespace numaheap
