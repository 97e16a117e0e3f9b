// Remote frees go home: one thread allocates on a node, another frees on another node, for long.
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <thread>
#include <vector>

#include "tests/api/cpu.h"
#include "tests/api/snapshot.h"
#include "tests/guest/block_sizes.h"
#include "tests/guest/kernel_nodes.h"
#include "tests/guest/node_matrices.h"

namespace numaheap {
namespace {

// Blocks on their way from the producer to the consumer.
class Ring {
 public:
  void Put(void* block) {
    const size_t at = written_.load(std::memory_order_relaxed);
    while (at - read_.load(std::memory_order_acquire) == kSlots) std::this_thread::yield();
    slots_[at % kSlots] = block;
    written_.store(at + 1, std::memory_order_release);
  }
  void* Take() {
    const size_t at = read_.load(std::memory_order_relaxed);
    while (written_.load(std::memory_order_acquire) == at) std::this_thread::yield();
    void* block = slots_[at % kSlots];
    read_.store(at + 1, std::memory_order_release);
    return block;
  }

 private:
  static constexpr size_t kSlots = 1024;
  void* slots_[kSlots] = {};
  std::atomic<size_t> written_{0};
  std::atomic<size_t> read_{0};
};

int OwnerNode(const void* block) {
  numaheap_owner_t owner;
  return numaheap_owner(block, &owner) == 0 ? owner.node : -2;
}

TEST(RemoteFreesTest, ProducersHeapStaysSmall) {
  constexpr int kBlocks = 400'000;
  constexpr size_t kKept = 48 << 20;  // bytes that the consumer holds before it frees the oldest
  const std::vector<KernelNode> nodes = NodesWithCpus();
  ASSERT_GT(nodes.size(), 1u);
  const int home = nodes[0].id, away = nodes[1].id;
  const Snapshot before;

  Ring ring;
  std::atomic<uint64_t> produced{0};  // bytes
  std::thread producer([&] {
    const PinnedTo here(nodes[0].cpus[0]);
    BlockSizes sizes(1);
    for (int i = 0; i < kBlocks; ++i) {
      const size_t size = sizes.Next();
      void* block = malloc(size);
      memset(block, 1, size);
      produced.fetch_add(malloc_usable_size(block), std::memory_order_relaxed);
      ring.Put(block);
    }
    ring.Put(nullptr);
  });

  struct Held {
    double times_live = 0;
    uint64_t live = 0, in_use = 0, idle = 0, cached = 0, pending = 0;
  } worst;
  uint64_t freed = 0, freed_bytes = 0, kept_bytes = 0, misplaced = 0, handed_out_away = 0;
  std::thread consumer([&] {
    const PinnedTo here(nodes[1].cpus[0]);
    std::deque<void*> kept;
    int until_look = 0;
    while (void* block = ring.Take()) {
      misplaced += OwnerNode(block) != home;
      kept.push_back(block);
      kept_bytes += malloc_usable_size(block);
      while (kept_bytes > kKept) {
        const size_t size = malloc_usable_size(kept.front());
        kept_bytes -= size;
        freed_bytes += size;
        free(kept.front());
        kept.pop_front();
        ++freed;
        // Of the same size: what was freed here must not come back here.
        void* own = malloc(size);
        handed_out_away += OwnerNode(own) != away;
        free(own);
      }
      if (freed > 0 && --until_look < 0) {
        until_look = 2000;
        const uint64_t live = produced.load(std::memory_order_relaxed) - freed_bytes;
        const Snapshot now;
        const numaheap_node_snapshot_t& heap = *now.Find(home);
        const double times_live =
            static_cast<double>(heap.in_use_bytes + heap.idle_bytes) / static_cast<double>(live);
        if (times_live > worst.times_live) {
          worst = {times_live,         live, heap.in_use_bytes, heap.idle_bytes, heap.cached_bytes,
                   heap.remote_pending};
        }
      }
    }
    for (void* block : kept) free(block);
    freed += kept.size();
  });
  producer.join();
  consumer.join();

  numaheap_release_memory();  // delivers what is on its way
  const Snapshot after;
  const uint64_t remote = after.Find(home)->frees_remote - before.Find(home)->frees_remote;
  std::printf("%lu blocks from node %d freed on node %d; counted as remote: %lu\n", freed, home,
              away, remote);
  const auto mib = [](uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
  std::printf(
      "node %d held at most %.2f times what was live: %.1f MiB in use (%.1f cached, "
      "%lu blocks on their way) and %.1f idle for %.1f live\n",
      home, worst.times_live, mib(worst.in_use), mib(worst.cached), worst.pending, mib(worst.idle),
      mib(worst.live));
  std::printf("not from the producer's node: %lu; not from the consumer's node: %lu\n", misplaced,
              handed_out_away);
  const NodeMatrices matrices;
  std::printf("bytes of node %d freed on node %d: %lu of %lu produced\n", home, away,
              matrices.freed_bytes(away, home), produced.load());
  EXPECT_GE(matrices.freed_bytes(away, home), produced.load());
  EXPECT_EQ(freed, uint64_t{kBlocks});
  // And a few records of the threads.
  EXPECT_GE(remote, freed);
  EXPECT_LE(remote, freed + 8);
  EXPECT_EQ(after.Find(home)->remote_pending, 0u);
  EXPECT_GT(worst.times_live, 0);
  EXPECT_LE(worst.times_live, 1.5);
  EXPECT_EQ(misplaced, 0u);
  EXPECT_EQ(handed_out_away, 0u);
}

}  // namespace
}  // namespace numaheap
