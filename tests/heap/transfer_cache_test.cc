// TransferCache: what goes in comes out once, no more fits than its capacity, what rests can be
// taken away; at random against a deque, and from several threads.
#include "src/heap/transfer_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "tests/heap/made_blocks.h"
#include "tests/heap/small_arena.h"

namespace numaheap {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::IsEmpty;

class TransferCacheTest : public testing::Test {
 protected:
  static constexpr size_t kPlenty = 4096;  // more than any class may hold

  int Insert(const std::vector<void*>& blocks) {
    return cache_.InsertBatch(blocks.data(), static_cast<int>(blocks.size()));
  }
  std::vector<void*> Remove(size_t most) {
    std::vector<void*> out(most);
    out.resize(static_cast<size_t>(cache_.RemoveBatch(out.data(), static_cast<int>(most))));
    return out;
  }
  std::vector<void*> RemoveUnused(size_t most) {
    std::vector<void*> out(most);
    out.resize(static_cast<size_t>(cache_.RemoveUnused(out.data(), static_cast<int>(most))));
    return out;
  }

  SmallArena place_;
  TransferCache cache_{place_.arena(), kSizeMap.ClassOf(1024)};  // batches of 16, at most 256
};

TEST_F(TransferCacheTest, StartsEmptyAndWithoutMemory) {
  EXPECT_EQ(cache_.objects(), 0u);
  EXPECT_THAT(Remove(10), IsEmpty());
  EXPECT_THAT(RemoveUnused(10), IsEmpty());
  cache_.EndRound();
  EXPECT_EQ(place_.kernel().count_all(), 0);
}

TEST_F(TransferCacheTest, GivesBackWhatCameLast) {
  const std::vector<void*> blocks = MadeBlocks(0, 30);
  ASSERT_EQ(Insert(blocks), 30);
  EXPECT_EQ(cache_.objects(), 30u);
  EXPECT_THAT(Remove(10), ElementsAreArray(blocks.begin() + 20, blocks.end()));
  EXPECT_THAT(Remove(100), ElementsAreArray(blocks.begin(), blocks.begin() + 20));
  EXPECT_EQ(cache_.objects(), 0u);
}

TEST_F(TransferCacheTest, KeepsTheFirstThatFit) {
  const std::vector<void*> blocks = MadeBlocks(0, 300);
  ASSERT_EQ(Insert(blocks), 256);
  EXPECT_EQ(Insert(blocks), 0);
  EXPECT_THAT(Remove(300), ElementsAreArray(blocks.begin(), blocks.begin() + 256));
}

TEST_F(TransferCacheTest, NoBlocks) {
  const std::vector<void*> blocks = MadeBlocks(0, 3);
  EXPECT_EQ(cache_.InsertBatch(blocks.data(), 0), 0);
  ASSERT_EQ(Insert(blocks), 3);
  EXPECT_THAT(Remove(0), IsEmpty());
  EXPECT_THAT(RemoveUnused(0), IsEmpty());
  EXPECT_EQ(cache_.objects(), 3u);
}

TEST_F(TransferCacheTest, EveryClassHoldsABatchAndNotTooMuch) {
  constexpr size_t kMostBytes = 256 << 10;
  constexpr int kMostBlocks = 1024;
  for (int c = 1; c < kSizeClasses; ++c) {
    const SizeClass size_class{static_cast<uint8_t>(c)};
    const SizeClassInfo& info = kSizeMap[size_class];
    TransferCache cache(place_.arena(), size_class);
    const std::vector<void*> blocks = MadeBlocks(0, kPlenty);
    const int held = cache.InsertBatch(blocks.data(), kPlenty);
    ASSERT_GE(held, info.batch) << info.size;
    ASSERT_LE(held, kMostBlocks) << info.size;
    ASSERT_TRUE(held == info.batch || static_cast<size_t>(held) * info.size <= kMostBytes)
        << info.size;
    ASSERT_TRUE(held == kMostBlocks || static_cast<size_t>(held + 1) * info.size > kMostBytes)
        << info.size << ": there was room for more";
    ASSERT_EQ(cache.objects(), static_cast<size_t>(held));
  }
}

TEST_F(TransferCacheTest, WhatNobodyNeededIsUnused) {
  const std::vector<void*> blocks = MadeBlocks(0, 10);
  ASSERT_EQ(Insert(blocks), 10);
  EXPECT_THAT(RemoveUnused(10), IsEmpty()) << "they came in this round";
  cache_.EndRound();
  ASSERT_EQ(Remove(4).size(), 4u);
  ASSERT_EQ(Insert(MadeBlocks(6, 4)), 4);
  // Six at the bottom have rested; the oldest go first.
  EXPECT_THAT(RemoveUnused(2), ElementsAre(blocks[0], blocks[1]));
  EXPECT_THAT(RemoveUnused(10), ElementsAre(blocks[2], blocks[3], blocks[4], blocks[5]));
  EXPECT_THAT(RemoveUnused(10), IsEmpty());
  EXPECT_THAT(Remove(10), ElementsAreArray(blocks.begin() + 6, blocks.end()));
}

TEST_F(TransferCacheTest, ARoundThatTookAllLeavesNothingUnused) {
  ASSERT_EQ(Insert(MadeBlocks(0, 10)), 10);
  cache_.EndRound();
  Remove(10);
  ASSERT_EQ(Insert(MadeBlocks(0, 10)), 10);
  EXPECT_THAT(RemoveUnused(10), IsEmpty());
  cache_.EndRound();
  EXPECT_EQ(RemoveUnused(10).size(), 10u);
}

TEST_F(TransferCacheTest, TakesNothingWithoutMemory) {
  place_.RefuseMemory();
  EXPECT_EQ(Insert(MadeBlocks(0, 5)), 0);
  EXPECT_EQ(cache_.objects(), 0u);
  EXPECT_THAT(Remove(5), IsEmpty());
  place_.GrantMemory();
  EXPECT_EQ(Insert(MadeBlocks(0, 5)), 5);
  place_.RefuseMemory();
  EXPECT_EQ(Insert(MadeBlocks(5, 5)), 5) << "the array is there now";
  EXPECT_EQ(cache_.objects(), 10u);
}

TEST_F(TransferCacheTest, RandomAgainstDeque) {
  constexpr size_t kCapacity = 256;
  std::mt19937 random(20240125);
  std::deque<void*> model;
  size_t lowest = 0;
  size_t next = 0;
  for (int step = 0; step < 50'000; ++step) {
    const size_t n = 1 + random() % (random() % 8 == 0 ? 300 : 40);
    std::vector<void*> expected;
    switch (random() % 5) {
      case 0:
      case 1: {
        const std::vector<void*> blocks = MadeBlocks(next, n);
        next += n;
        const size_t fits = std::min(n, kCapacity - model.size());
        ASSERT_EQ(Insert(blocks), static_cast<int>(fits));
        model.insert(model.end(), blocks.begin(), blocks.begin() + static_cast<long>(fits));
        break;
      }
      case 2:
      case 3: {
        const auto from = model.end() - static_cast<long>(std::min(n, model.size()));
        expected.assign(from, model.end());
        model.erase(from, model.end());
        lowest = std::min(lowest, model.size());
        ASSERT_EQ(Remove(n), expected);
        break;
      }
      case 4: {
        const auto to = model.begin() + static_cast<long>(std::min(n, lowest));
        expected.assign(model.begin(), to);
        model.erase(model.begin(), to);
        lowest -= expected.size();
        ASSERT_EQ(RemoveUnused(n), expected);
        if (random() % 4 == 0) {
          cache_.EndRound();
          lowest = model.size();
        }
        break;
      }
    }
    ASSERT_EQ(cache_.objects(), model.size());
  }
}

// Each block is in one place at any time: with one thread, or in the cache.
TEST_F(TransferCacheTest, ThreadsNeverGetABlockTwice) {
  constexpr int kThreads = 4, kSteps = 20'000;
  constexpr size_t kBlocks = 100;  // of each thread
  const auto held = std::make_unique<std::atomic<bool>[]>(kThreads * kBlocks);
  std::atomic<size_t> held_at_end{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      std::vector<void*> mine = MadeBlocks(static_cast<size_t>(t) * kBlocks, kBlocks);
      for (void* block : mine) held[NumberOf(block)] = true;
      for (int step = 0; step < kSteps; ++step) {
        const size_t n = 1 + random() % 20;
        if (!mine.empty() && random() % 2 == 0) {
          const size_t offered = std::min(n, mine.size());
          std::vector<void*> batch(mine.end() - static_cast<long>(offered), mine.end());
          mine.resize(mine.size() - offered);
          for (void* block : batch) held[NumberOf(block)] = false;
          const auto kept = static_cast<size_t>(Insert(batch));
          for (size_t i = kept; i < batch.size(); ++i) {
            ASSERT_FALSE(held[NumberOf(batch[i])].exchange(true));
            mine.push_back(batch[i]);
          }
        } else {
          for (void* block : random() % 4 == 0 ? RemoveUnused(n) : Remove(n)) {
            ASSERT_FALSE(held[NumberOf(block)].exchange(true));
            mine.push_back(block);
          }
          if (random() % 8 == 0) cache_.EndRound();
        }
      }
      held_at_end += mine.size();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(held_at_end + cache_.objects(), kThreads * kBlocks);
  for (void* block : Remove(kPlenty)) EXPECT_FALSE(held[NumberOf(block)].exchange(true));
  EXPECT_EQ(std::count(held.get(), held.get() + kThreads * kBlocks, true),
            static_cast<long>(kThreads * kBlocks));
}

}  // namespace
}  // namespace numaheap
