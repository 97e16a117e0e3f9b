// What a CPU has freed of other nodes: gathered, bounded, sent home in batches, each block once.
#include "src/cache/remote_batches.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "tests/cache/made_heaps.h"

namespace numaheap {
namespace {

using Blocks = std::vector<void*>;

constexpr SizeClass k64 = kSizeMap.ClassOf(64);
constexpr size_t kMaxBytes = 64 << 10;  // gathered for one home

// A CPU of node 2, and what belongs to nodes 0 and 1.
class RemoteBatchesTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(heaps_.OpenAll()); }

  Blocks Allocate(int node, SizeClass c, int n) {
    Blocks blocks;
    while (std::ssize(blocks) < n) {
      void* out[kMaxBatch];
      const int want = std::min<int>(kMaxBatch, n - static_cast<int>(blocks.size()));
      const int got = heaps_[node].AllocateBatch(c, 0, out, want);
      if (got == 0) break;
      blocks.insert(blocks.end(), out, out + got);
    }
    EXPECT_EQ(std::ssize(blocks), n);
    return blocks;
  }
  void Add(int node, void* block, SizeClass c) {
    batches_.Add(heaps_[node], node, block, kSizeMap[c].size);
  }
  // What has come home so far, swept or not.
  uint64_t Home(int node) { return heaps_[node].counters().frees_remote.Get(); }

  MadeHeaps heaps_{{0, 1, 2}};
  RemoteBatches batches_{heaps_[0].arena(), heaps_.heaps.limit()};
};

TEST_F(RemoteBatchesTest, NothingGathered) {
  EXPECT_EQ(batches_.waiting(0), 0);
  batches_.Deliver(heaps_[0], 0);
  EXPECT_EQ(Home(0), 0u);
}

TEST_F(RemoteBatchesTest, GoesHomeWhenABatchIsFull) {
  const Blocks blocks = Allocate(0, k64, 2 * kMaxBatch);
  for (int trip = 1; trip <= 2; ++trip) {
    for (int n = 0; n < kMaxBatch; ++n) {
      EXPECT_EQ(batches_.waiting(0), n);
      EXPECT_EQ(Home(0), static_cast<uint64_t>((trip - 1) * kMaxBatch));
      Add(0, blocks[static_cast<size_t>((trip - 1) * kMaxBatch + n)], k64);
    }
    EXPECT_EQ(batches_.waiting(0), 0);
    EXPECT_EQ(Home(0), static_cast<uint64_t>(trip * kMaxBatch));
  }
  EXPECT_EQ(heaps_[0].remote_waiting(), 2u * kMaxBatch);
  EXPECT_EQ(heaps_[0].SweepRemote(), 2u * kMaxBatch);
  EXPECT_EQ(heaps_[0].page_stats().in_use, Length{0}) << "all blocks came home";
}

TEST_F(RemoteBatchesTest, IsBoundedInBytes) {
  const SizeClass large = kSizeMap.ClassOf(24 << 10);
  const Blocks blocks = Allocate(0, large, 3);
  static_assert(2 * (24 << 10) < kMaxBytes && 3 * (24 << 10) >= kMaxBytes);
  Add(0, blocks[0], large);
  Add(0, blocks[1], large);
  EXPECT_EQ(batches_.waiting(0), 2);
  Add(0, blocks[2], large);
  EXPECT_EQ(batches_.waiting(0), 0);
  EXPECT_EQ(Home(0), 3u);
}

TEST_F(RemoteBatchesTest, ABlockOfTheLargestClassGoesAtOnce) {
  const SizeClass largest{kSizeClasses - 1};
  Add(0, Allocate(0, largest, 1)[0], largest);
  EXPECT_EQ(Home(0), 1u);
}

TEST_F(RemoteBatchesTest, HomesAreGatheredApart) {
  for (int node = 0; node < 2; ++node) {
    const Blocks blocks = Allocate(node, k64, 40);
    for (void* block : blocks) Add(node, block, k64);
  }
  EXPECT_EQ(batches_.waiting(0), 40);
  EXPECT_EQ(batches_.waiting(1), 40);
  EXPECT_EQ(batches_.waiting(2), 0);
  batches_.Deliver(heaps_[1], 1);
  EXPECT_EQ(batches_.waiting(0), 40);
  EXPECT_EQ(batches_.waiting(1), 0);
  EXPECT_EQ(Home(0), 0u);
  EXPECT_EQ(Home(1), 40u);
  batches_.Deliver(heaps_[1], 1);
  EXPECT_EQ(Home(1), 40u) << "once";
}

TEST_F(RemoteBatchesTest, BytesAreCountedAnewAfterDelivery) {
  const SizeClass large = kSizeMap.ClassOf(24 << 10);
  const Blocks blocks = Allocate(0, large, 4);
  Add(0, blocks[0], large);
  Add(0, blocks[1], large);
  batches_.Deliver(heaps_[0], 0);
  Add(0, blocks[2], large);
  Add(0, blocks[3], large);
  EXPECT_EQ(batches_.waiting(0), 2);
}

TEST_F(RemoteBatchesTest, WithoutMemoryEachGoesAlone) {
  const Blocks blocks = Allocate(1, k64, 3);
  // Nothing is left in what the arena has committed.
  heaps_.kernel.FailFrom(FakeKernel::kCommit, 1);
  while (heaps_[0].arena().Allocate(16) != nullptr) {
  }
  Add(1, blocks[0], k64);
  Add(1, blocks[1], k64);
  EXPECT_EQ(batches_.waiting(1), 0);
  EXPECT_EQ(Home(1), 2u);
  heaps_.kernel.FailNothing();
  Add(1, blocks[2], k64);
  EXPECT_EQ(batches_.waiting(1), 1);
}

TEST_F(RemoteBatchesTest, RandomOperationsMatchCounts) {
  std::mt19937 random(20240505);
  SizeClass classes[2] = {k64, kSizeMap.ClassOf(3000)};
  int waiting[2] = {};
  size_t bytes[2] = {};
  uint64_t home[2] = {};
  for (int step = 0; step < 20'000; ++step) {
    const int node = static_cast<int>(random() % 2);
    if (random() % 50 == 0) {
      batches_.Deliver(heaps_[node], node);
      home[node] += static_cast<uint64_t>(waiting[node]);
      waiting[node] = 0;
      bytes[node] = 0;
    } else {
      const SizeClass c = classes[random() % 2];
      Add(node, Allocate(node, c, 1)[0], c);
      bytes[node] += kSizeMap[c].size;
      if (++waiting[node] == kMaxBatch || bytes[node] >= kMaxBytes) {
        home[node] += static_cast<uint64_t>(waiting[node]);
        waiting[node] = 0;
        bytes[node] = 0;
      }
    }
    ASSERT_EQ(batches_.waiting(node), waiting[node]);
    ASSERT_EQ(Home(node), home[node]);
  }
  for (int node = 0; node < 2; ++node) {
    batches_.Deliver(heaps_[node], node);
    heaps_[node].SweepRemote();
    heaps_[node].CheckInvariants();
    EXPECT_EQ(heaps_[node].page_stats().in_use, Length{0});
  }
}

TEST_F(RemoteBatchesTest, ManyThreadsLoseNothing) {
  constexpr int kThreads = 4, kEach = 5000;
  Blocks blocks[kThreads];
  for (int t = 0; t < kThreads; ++t) blocks[t] = Allocate(t % 2, k64, kEach);
  std::atomic<int> adding{kThreads};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (void* block : blocks[t]) Add(t % 2, block, k64);
      --adding;
    });
  }
  // What the scavengers do meanwhile.
  while (adding > 0) {
    for (int node = 0; node < 2; ++node) {
      batches_.Deliver(heaps_[node], node);
      heaps_[node].SweepRemote();
      EXPECT_LT(batches_.waiting(node), kMaxBatch);
    }
  }
  for (std::thread& thread : threads) thread.join();
  for (int node = 0; node < 2; ++node) {
    batches_.Deliver(heaps_[node], node);
    heaps_[node].SweepRemote();
    EXPECT_EQ(Home(node), static_cast<uint64_t>(kThreads / 2 * kEach));
    heaps_[node].CheckInvariants();
    EXPECT_EQ(heaps_[node].page_stats().in_use, Length{0});
  }
}

}  // namespace
}  // namespace numaheap
