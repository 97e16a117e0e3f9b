// SizeMap: every size finds the smallest class that holds it, rounding costs no more than promised,
// blocks are aligned as promised, and the number of a block is right at every offset of every
// class.
#include "src/heap/size_map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <numeric>
#include <vector>

namespace numaheap {
namespace {

std::vector<SizeClass> AllClasses() {
  std::vector<SizeClass> all;
  for (int c = 1; c < kSizeClasses; ++c) all.push_back({static_cast<uint8_t>(c)});
  return all;
}

size_t SizeOf(SizeClass c) {
  return kSizeMap[c].size;
}

// By looking at each class. The alignment of a block is that of its span and of its offset there.
SizeClass SlowClassOf(size_t size, size_t alignment) {
  for (SizeClass c : AllClasses()) {
    if (SizeOf(c) >= size && std::gcd(SizeOf(c), kPageSize) % alignment == 0) return c;
  }
  return kNoClass;
}

TEST(SizeMapTest, ClassesRise) {
  EXPECT_EQ(kSizeMap[kNoClass].size, 0u);
  size_t previous = 0;
  for (SizeClass c : AllClasses()) {
    EXPECT_GT(SizeOf(c), previous);
    previous = SizeOf(c);
  }
  EXPECT_EQ(SizeOf(AllClasses().front()), kMinAlignment);
  EXPECT_EQ(SizeOf(AllClasses().back()), kMaxSmallSize);
}

TEST(SizeMapTest, EverySizeFindsTheSmallestClassThatHoldsIt) {
  const std::vector<SizeClass> all = AllClasses();
  auto expected = all.begin();
  for (size_t size = 0; size <= kMaxSmallSize; ++size) {
    if (size > SizeOf(*expected)) ++expected;
    ASSERT_EQ(kSizeMap.ClassOf(size), *expected) << size;
  }
  EXPECT_EQ(*expected, all.back());
}

TEST(SizeMapTest, TheTableHasNoHolesAndRises) {
  size_t previous = 0;
  for (size_t size = 0; size <= kMaxSmallSize; ++size) {
    const size_t index = SizeMap::TableIndex(size);
    ASSERT_TRUE(index == previous || index == previous + 1) << size;
    previous = index;
  }
  EXPECT_EQ(previous, SizeMap::kTableSize - 1);
}

// Where a step of 16 bytes, the alignment of every block, is more than an eighth, it is all that is
// lost; from there on an eighth is the most.
TEST(SizeMapTest, RoundingLosesAtMostAnEighth) {
  for (size_t size = 1; size <= kMaxSmallSize; ++size) {
    const size_t block = SizeOf(kSizeMap.ClassOf(size));
    const size_t lost = block - size;
    if (size <= 112) {
      ASSERT_LT(lost, kMinAlignment) << size;
    } else {
      ASSERT_LE(8 * lost, block) << size;
    }
    ASSERT_TRUE(size <= 128 || 9 * lost < block) << size;
  }
}

TEST(SizeMapTest, BlocksAreAligned) {
  for (SizeClass c : AllClasses()) {
    const size_t size = SizeOf(c);
    EXPECT_EQ(size % kMinAlignment, 0u);
    if (std::has_single_bit(size)) {
      EXPECT_EQ(kSizeMap[c].alignment_mask, std::min(size, kPageSize) - 1) << size;
    }
    // The mask is what all addresses of blocks have in common, no less and no more.
    size_t bits = kPageSize;
    for (size_t i = 0; i < kSizeMap[c].span_objects; ++i) bits |= i * size;
    EXPECT_EQ(kSizeMap[c].alignment_mask, (bits & -bits) - 1) << size;
  }
}

TEST(SizeMapTest, SpansAreFilledWithBlocks) {
  for (SizeClass c : AllClasses()) {
    const SizeClassInfo& info = kSizeMap[c];
    const size_t bytes = Length{info.span_pages}.bytes();
    EXPECT_EQ(info.span_objects, bytes / info.size);
    EXPECT_GE(info.span_objects, 1u);
    EXPECT_GE(bytes, size_t{16} << 10);
    EXPECT_LE(bytes % info.size, bytes / 32) << "the tail of " << info.size;
    EXPECT_LE(bytes, kMaxSmallSize) << info.size;
  }
}

TEST(SizeMapTest, Batches) {
  for (SizeClass c : AllClasses()) {
    const SizeClassInfo& info = kSizeMap[c];
    EXPECT_GE(info.batch, 2) << info.size;
    EXPECT_LE(info.batch, kMaxBatch) << info.size;
    EXPECT_TRUE(info.batch == 2 || info.batch * info.size <= size_t{16} << 10) << info.size;
    EXPECT_TRUE(info.batch <= 64 || info.batch * info.size <= size_t{8} << 10) << info.size;
  }
}

TEST(SizeMapTest, IndexOfEveryOffsetOfEveryClass) {
  for (SizeClass c : AllClasses()) {
    const size_t bytes = Length{kSizeMap[c].span_pages}.bytes();
    uint32_t index = 0;
    size_t next = SizeOf(c);
    for (size_t offset = 0; offset < bytes; ++offset) {
      if (offset == next) {
        ++index;
        next += SizeOf(c);
      }
      ASSERT_EQ(kSizeMap.IndexOf(c, offset), index) << offset << " of " << SizeOf(c);
    }
  }
}

TEST(SizeMapTest, ClassOfSizeAndAlignmentAgainstEveryClass) {
  for (size_t alignment = 1; alignment <= kPageSize; alignment *= 2) {
    SizeClass expected = SlowClassOf(0, alignment);
    for (size_t size = 0; size <= kMaxSmallSize; ++size) {
      // The answer can only change behind a block that was just large enough.
      if (size > SizeOf(expected)) expected = SlowClassOf(size, alignment);
      ASSERT_EQ(kSizeMap.ClassOf(size, alignment), expected) << size << " to " << alignment;
    }
  }
}

TEST(SizeMapTest, WhatTakesPagesOfItsOwnHasNoClass) {
  EXPECT_EQ(kSizeMap.ClassOf(1, 2 * kPageSize), kNoClass);
  EXPECT_EQ(kSizeMap.ClassOf(1, size_t{1} << 63), kNoClass);
  EXPECT_EQ(kSizeMap.ClassOf(kMaxSmallSize + 1, 16), kNoClass);
  EXPECT_EQ(kSizeMap.ClassOf(SIZE_MAX, 16), kNoClass);
  EXPECT_NE(kSizeMap.ClassOf(kMaxSmallSize, kPageSize), kNoClass);
}

}  // namespace
}  // namespace numaheap
