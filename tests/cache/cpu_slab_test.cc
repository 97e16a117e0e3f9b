// The slab's layout, and its operations for who has it to himself.
#include "src/cache/cpu_slab.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "tests/cache/made_slab.h"

namespace numaheap {
namespace {

using Blocks = std::vector<void*>;

constexpr SizeClass k16{1}, k48{3}, k64{4};
constexpr SizeClass kLast{kSizeClasses - 1};

class CpuSlabTest : public testing::Test {
 protected:
  // The n-th to m-th block of a class.
  Blocks Some(SizeClass c, int n, int m) const {
    Blocks blocks;
    for (; n < m; ++n) blocks.push_back(heap_.Block(c, n));
    return blocks;
  }
  int Push(SizeClass c, const Blocks& blocks) {
    return slab_->PushBatchExclusive(c, blocks.data(), static_cast<int>(blocks.size()));
  }
  Blocks Pop(SizeClass c, int n) {
    Blocks out(static_cast<size_t>(n));
    out.resize(static_cast<size_t>(slab_->PopBatchExclusive(c, out.data(), n)));
    return out;
  }

  MadeHeap heap_;
  MadeSlab slab_{heap_, 3};
};

TEST_F(CpuSlabTest, ZerosAreEmptyAndFull) {
  CpuSlab zeros;
  void* block = this;
  for (const SizeClass c : {kNoClass, k16, kLast}) {
    EXPECT_EQ(zeros.PopExclusive(c), nullptr);
    EXPECT_EQ(zeros.PopBatchExclusive(c, &block, 1), 0);
    EXPECT_EQ(zeros.PushBatchExclusive(c, &block, 1), 0);
    EXPECT_EQ(zeros.used(c), 0);
    EXPECT_EQ(zeros.capacity(c), 0);
    EXPECT_EQ(zeros.word(c), 0u);
  }
  EXPECT_FALSE(zeros.PushRemoteExclusive(block));
  EXPECT_EQ(block, this);
}

TEST_F(CpuSlabTest, LastInFirstOut) {
  slab_.SetCapacity(k64, 4);
  EXPECT_EQ(Push(k64, Some(k64, 0, 3)), 3);
  EXPECT_EQ(slab_->used(k64), 3);
  EXPECT_EQ(slab_->capacity(k64), 4);
  for (int n = 2; n >= 0; --n) EXPECT_EQ(slab_->PopExclusive(k64), heap_.Block(k64, n));
  EXPECT_EQ(slab_->PopExclusive(k64), nullptr);
}

TEST_F(CpuSlabTest, BatchesStopAtTheEnds) {
  slab_.SetCapacity(k64, 4);
  EXPECT_EQ(Push(k64, Some(k64, 0, 3)), 3);
  EXPECT_EQ(Push(k64, Some(k64, 3, 6)), 1) << "from the front";
  EXPECT_EQ(Push(k64, Some(k64, 4, 6)), 0);
  EXPECT_EQ(slab_.Blocks(k64), Some(k64, 0, 4));
  EXPECT_EQ(Pop(k64, 3), Some(k64, 1, 4)) << "as they lay";
  EXPECT_EQ(Pop(k64, 3), Some(k64, 0, 1));
  EXPECT_EQ(Pop(k64, 3), Blocks());
  EXPECT_EQ(Push(k64, {}), 0);
  EXPECT_EQ(Pop(k64, 0), Blocks());
  EXPECT_TRUE(slab_.IsValid(k64));
}

TEST_F(CpuSlabTest, OnlySinglePopsAreCounted) {
  slab_.SetCapacity(k64, 10);
  Push(k64, Some(k64, 0, 10));
  EXPECT_EQ(CpuSlab::Pops(slab_->word(k64)), 0u);
  slab_->PopExclusive(k64);
  slab_->PopExclusive(k64);
  EXPECT_EQ(CpuSlab::Pops(slab_->word(k64)), 2u);
  Pop(k64, 10);
  slab_->PopExclusive(k64);  // finds nothing
  Push(k64, Some(k64, 0, 1));
  EXPECT_EQ(CpuSlab::Pops(slab_->word(k64)), 2u);
  EXPECT_EQ(slab_->used(k64), 1);
}

// The count lies above the slot in one word: neither may run into the other.
TEST_F(CpuSlabTest, CountOverflowsWithoutTouchingTheSlot) {
  slab_.SetCapacity(k64, 2);
  void* const block = heap_.Block(k64, 0);
  for (int i = 0; i < 70'000; ++i) {
    ASSERT_EQ(Push(k64, {block}), 1);
    ASSERT_EQ(slab_->PopExclusive(k64), block);
  }
  EXPECT_EQ(CpuSlab::Pops(slab_->word(k64)), 70'000u);

  constexpr uint64_t kMostPops = (uint64_t{1} << 48) - 1;
  slab_->words[k64.value].store(kMostPops << 16 | slab_->limits[k64.value].begin);
  Push(k64, {block});
  EXPECT_EQ(slab_->used(k64), 1);
  EXPECT_EQ(slab_->PopExclusive(k64), block);
  EXPECT_EQ(CpuSlab::Pops(slab_->word(k64)), 0u);
  EXPECT_EQ(slab_->used(k64), 0);
}

TEST_F(CpuSlabTest, FullNeighboursKeepApart) {
  for (const SizeClass c : {k16, {2}, k48}) {
    slab_.SetCapacity(c, MadeSlab::kMaxCapacity);
    EXPECT_EQ(Push(c, Some(c, 0, 100)), MadeSlab::kMaxCapacity);
  }
  for (const SizeClass c : {k16, {2}, k48}) {
    EXPECT_TRUE(slab_.IsValid(c));
    EXPECT_EQ(slab_.Blocks(c), Some(c, 0, MadeSlab::kMaxCapacity));
  }
}

// Blocks of other nodes: of any class, counted when they come.
TEST_F(CpuSlabTest, TheRemoteStack) {
  const MadeHeap other(1);
  EXPECT_FALSE(slab_->PushRemoteExclusive(other.Block(k64, 0))) << "no capacity";
  slab_.SetCapacity(kRemoteStack, 3);
  const Blocks blocks = {other.Block(k64, 0), nullptr, other.Block(k16, 5)};
  for (void* block : blocks) EXPECT_TRUE(slab_->PushRemoteExclusive(block));
  EXPECT_FALSE(slab_->PushRemoteExclusive(other.Block(k48, 0)));
  EXPECT_EQ(slab_.Blocks(kRemoteStack), blocks);
  EXPECT_EQ(slab_->word(kRemoteStack) >> 16, 3u);
  EXPECT_EQ(Pop(kRemoteStack, 2), Blocks(blocks.begin() + 1, blocks.end()));
  EXPECT_EQ(slab_->word(kRemoteStack) >> 16, 3u) << "pushes";
  EXPECT_TRUE(slab_->PushRemoteExclusive(other.Block(k48, 0)));
  EXPECT_EQ(slab_->word(kRemoteStack) >> 16, 4u);
  EXPECT_EQ(Pop(kRemoteStack, 9), (Blocks{blocks[0], other.Block(k48, 0)}));
  EXPECT_TRUE(slab_.IsValid(kRemoteStack) && slab_.IsValid(kLast));
}

TEST_F(CpuSlabTest, RandomOperationsMatchVectors) {
  std::mt19937 random(20240501);
  const auto below = [&random](int n) { return static_cast<int>(random() % n); };
  constexpr SizeClass kClasses[] = {k16, k48, k64};
  Blocks model[3];
  int capacity[3] = {};
  uint64_t pops[3] = {};
  for (int step = 0; step < 100'000; ++step) {
    const int i = below(3);
    const SizeClass c = kClasses[i];
    Blocks& cached = model[i];
    switch (below(4)) {
      case 0:
        capacity[i] = static_cast<int>(cached.size()) +
                      below(MadeSlab::kMaxCapacity + 1 - static_cast<int>(cached.size()));
        slab_.SetCapacity(c, capacity[i]);
        break;
      case 1: {
        const int first = below(80);
        Blocks blocks = Some(c, first, first + below(12));
        const int room = capacity[i] - static_cast<int>(cached.size());
        const int n = std::min(static_cast<int>(blocks.size()), room);
        ASSERT_EQ(Push(c, blocks), n);
        cached.insert(cached.end(), blocks.begin(), blocks.begin() + n);
        break;
      }
      case 2: {
        const int n = below(12);
        const auto from = cached.end() - std::min<ptrdiff_t>(n, std::ssize(cached));
        ASSERT_EQ(Pop(c, n), Blocks(from, cached.end()));
        cached.erase(from, cached.end());
        break;
      }
      case 3:
        ASSERT_EQ(slab_->PopExclusive(c), cached.empty() ? nullptr : cached.back());
        pops[i] += !cached.empty();
        if (!cached.empty()) cached.pop_back();
        break;
    }
    ASSERT_TRUE(slab_.IsValid(c));
    ASSERT_EQ(slab_.Blocks(c), cached);
    ASSERT_EQ(slab_->capacity(c), capacity[i]);
    ASSERT_EQ(CpuSlab::Pops(slab_->word(c)), pops[i]);
  }
}

}  // namespace
}  // namespace numaheap
