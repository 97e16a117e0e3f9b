// RemoteFrees: the latest first, all of a batch or nothing, full and empty; at random against a
// deque, and with several threads that free while others sweep.
#include "src/heap/remote_frees.h"

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

using testing::ElementsAreArray;
using testing::IsEmpty;

constexpr size_t kCapacity = 8192;

class RemoteFreesTest : public testing::Test {
 protected:
  bool Put(const std::vector<void*>& blocks) {
    return frees_.Put(blocks.data(), static_cast<int>(blocks.size()));
  }
  std::vector<void*> Take(size_t most) {
    std::vector<void*> out(most);
    out.resize(static_cast<size_t>(frees_.Take(out.data(), static_cast<int>(most))));
    return out;
  }

  SmallArena place_;
  // As large as a heap can be, from where made blocks begin.
  const Area heap_{reinterpret_cast<char*>(16), size_t{1} << AddressSpace::kMaxShift};
  RemoteFrees frees_{place_.arena(), heap_};
};

TEST_F(RemoteFreesTest, StartsEmptyAndWithoutMemory) {
  EXPECT_EQ(frees_.waiting(), 0u);
  EXPECT_THAT(Take(10), IsEmpty());
  EXPECT_EQ(place_.kernel().count_all(), 0);
}

TEST_F(RemoteFreesTest, TheLatestFirst) {
  const std::vector<void*> blocks = MadeBlocks(0, 30);
  ASSERT_TRUE(Put({blocks.begin(), blocks.begin() + 12}));
  ASSERT_TRUE(Put({blocks.begin() + 12, blocks.end()}));
  EXPECT_EQ(frees_.waiting(), 30u);
  EXPECT_THAT(Take(0), IsEmpty());
  EXPECT_THAT(Take(20), ElementsAreArray(blocks.begin() + 10, blocks.end()));
  EXPECT_EQ(frees_.waiting(), 10u);
  EXPECT_THAT(Take(20), ElementsAreArray(blocks.begin(), blocks.begin() + 10));
  EXPECT_EQ(frees_.waiting(), 0u);
}

TEST_F(RemoteFreesTest, BlocksFromAllOverTheHeap) {
  std::vector<void*> blocks;
  for (int bit = 4; bit < AddressSpace::kMaxShift; ++bit) {
    for (const size_t offset : {size_t{1} << bit, (size_t{1} << bit) + 16}) {
      blocks.push_back(heap_.start() + offset);
    }
  }
  blocks.push_back(heap_.start() + heap_.reserved_bytes() - 16);
  blocks.push_back(heap_.start());
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(Put(blocks));
    EXPECT_EQ(Take(blocks.size()), blocks);
    std::reverse(blocks.begin(), blocks.end());
  }
}

TEST_F(RemoteFreesTest, AllOfABatchOrNothing) {
  const std::vector<void*> blocks = MadeBlocks(0, kCapacity);
  EXPECT_FALSE(Put(MadeBlocks(0, kCapacity + 1)));
  EXPECT_EQ(frees_.waiting(), 0u);
  ASSERT_TRUE(Put({blocks.begin(), blocks.end() - 3}));
  EXPECT_FALSE(Put(MadeBlocks(10'000, 4)));
  EXPECT_EQ(frees_.waiting(), kCapacity - 3);
  ASSERT_TRUE(Put({blocks.end() - 3, blocks.end()}));
  EXPECT_FALSE(Put(MadeBlocks(10'000, 1)));
  EXPECT_TRUE(Put({})) << "nothing always fits";
  EXPECT_EQ(Take(kCapacity + 1), blocks);
}

TEST_F(RemoteFreesTest, FillsUpAgain) {
  ASSERT_TRUE(Put(MadeBlocks(0, kCapacity - 5)));
  ASSERT_EQ(Take(kCapacity - 5).size(), kCapacity - 5);
  const std::vector<void*> blocks = MadeBlocks(20'000, kCapacity);
  ASSERT_TRUE(Put(blocks));
  EXPECT_FALSE(Put(MadeBlocks(0, 1)));
  EXPECT_EQ(Take(kCapacity), blocks);
}

TEST_F(RemoteFreesTest, TakesNothingInWithoutMemory) {
  place_.RefuseMemory();
  EXPECT_FALSE(Put(MadeBlocks(0, 5)));
  EXPECT_EQ(frees_.waiting(), 0u);
  EXPECT_THAT(Take(5), IsEmpty());
  place_.GrantMemory();
  EXPECT_TRUE(Put(MadeBlocks(0, 5)));
  place_.RefuseMemory();
  EXPECT_TRUE(Put(MadeBlocks(5, 5))) << "its memory is there now";
  EXPECT_EQ(Take(10), MadeBlocks(0, 10));
}

TEST_F(RemoteFreesTest, RandomAgainstDeque) {
  std::mt19937 random(20240126);
  std::deque<void*> model;
  size_t next = 0;
  for (int step = 0; step < 20'000; ++step) {
    // Fills up and runs empty in turn.
    const bool filling = step / 1000 % 2 == 0;
    const size_t n = random() % (random() % 64 == 0 ? 5000 : 100);
    if ((random() % 4 != 0) == filling) {
      const std::vector<void*> blocks = MadeBlocks(next, n);
      const bool fits = model.size() + n <= kCapacity;
      ASSERT_EQ(Put(blocks), fits);
      if (fits) model.insert(model.end(), blocks.begin(), blocks.end());
      next += n;
    } else {
      const auto from = model.end() - static_cast<long>(std::min(n, model.size()));
      const std::vector<void*> expected(from, model.end());
      model.erase(from, model.end());
      ASSERT_EQ(Take(n), expected);
    }
    ASSERT_EQ(frees_.waiting(), model.size());
  }
}

// Every block arrives once.
TEST_F(RemoteFreesTest, ThreadsFreeWhileOneSweeps) {
  constexpr size_t kThreads = 3, kEach = 30'000;
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      for (size_t done = 0; done < kEach;) {
        const size_t n = std::min<size_t>(1 + random() % 64, kEach - done);
        const std::vector<void*> blocks = MadeBlocks(t * kEach + done, n);
        while (!Put(blocks)) std::this_thread::yield();
        done += n;
      }
    });
  }
  std::vector<bool> arrived(kThreads * kEach);
  for (size_t sum = 0; sum < kThreads * kEach;) {
    const std::vector<void*> blocks = Take(100);
    for (void* block : blocks) {
      EXPECT_FALSE(arrived[NumberOf(block)]);
      arrived[NumberOf(block)] = true;
    }
    if (blocks.empty()) std::this_thread::yield();
    sum += blocks.size();
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(frees_.waiting(), 0u);
}

TEST_F(RemoteFreesTest, SeveralThreadsSweep) {
  constexpr size_t kThreads = 3, kEach = 30'000;
  const auto arrived = std::make_unique<std::atomic<int>[]>(kThreads * kEach);
  std::atomic<size_t> sum{0};
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      const auto sweep = [&] {
        const std::vector<void*> blocks = Take(50);
        for (void* block : blocks) ++arrived[NumberOf(block)];
        sum += blocks.size();
      };
      for (size_t done = 0; done < kEach;) {
        const size_t n = std::min<size_t>(1 + random() % 64, kEach - done);
        const std::vector<void*> blocks = MadeBlocks(t * kEach + done, n);
        while (!Put(blocks)) sweep();  // who finds it full sweeps
        done += n;
        if (random() % 2 == 0) sweep();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sum + frees_.waiting(), kThreads * kEach);
  for (void* block : Take(kCapacity)) ++arrived[NumberOf(block)];
  EXPECT_EQ(frees_.waiting(), 0u);
  EXPECT_EQ(std::count(arrived.get(), arrived.get() + kThreads * kEach, 1),
            static_cast<long>(kThreads * kEach));
}

}  // namespace
}  // namespace numaheap
