// The strong types: arithmetic of pages and lengths, their order, and the ends of their ranges.
#include "src/base/ids.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <random>
#include <type_traits>
#include <utility>

namespace numaheap {
namespace {

static_assert(kPageSize == 8192);
static_assert(NodeId{} == NodeId{0} && NodeId{2} < NodeId{5} && kNoNode < NodeId{0});
static_assert(CpuId{} == CpuId{0} && CpuId{1} != CpuId{2});
static_assert(SizeClass{} == kNoClass && kNoClass < SizeClass{1});

// Kinds don't mix: that is what the types are for.
static_assert(!std::is_convertible_v<int, NodeId> && !std::is_convertible_v<NodeId, int>);
static_assert(!std::is_convertible_v<NodeId, CpuId> && !std::is_convertible_v<CpuId, NodeId>);
static_assert(!std::is_convertible_v<size_t, Length> && !std::is_convertible_v<Length, size_t>);
static_assert(!std::is_convertible_v<PageId, Length> && !std::is_convertible_v<Length, PageId>);
template <typename A, typename B>
concept Addable = requires(A a, B b) {
  a + b;
};
static_assert(Addable<PageId, Length> && Addable<Length, Length>);
static_assert(!Addable<PageId, PageId> && !Addable<PageId, size_t> && !Addable<Length, PageId>);

TEST(LengthTest, Arithmetic) {
  Length length{3};
  EXPECT_EQ(length + Length{4}, Length{7});
  EXPECT_EQ(length - Length{3}, Length{});
  length += Length{5};
  EXPECT_EQ(length, Length{8});
  length -= Length{1};
  EXPECT_EQ(length, Length{7});
  EXPECT_EQ(length.bytes(), 7 * kPageSize);
  EXPECT_LT(Length{6}, length);
  EXPECT_GE(length, Length{7});
}

TEST(LengthTest, OfBytesRoundsUp) {
  EXPECT_EQ(LengthOf(0), Length{0});
  EXPECT_EQ(LengthOf(1), Length{1});
  EXPECT_EQ(LengthOf(kPageSize - 1), Length{1});
  EXPECT_EQ(LengthOf(kPageSize), Length{1});
  EXPECT_EQ(LengthOf(kPageSize + 1), Length{2});
}

// Rounding up by adding first would wrap to nothing here.
TEST(LengthTest, OfTheLargestSizesDoesNotWrap) {
  constexpr size_t kMost = std::numeric_limits<size_t>::max();
  constexpr size_t kMostPages = size_t{1} << (64 - kPageShift);
  EXPECT_EQ(LengthOf(kMost).pages, kMostPages);
  EXPECT_EQ(LengthOf(kMost - kPageSize + 2).pages, kMostPages);
  EXPECT_EQ(LengthOf(kMost - kPageSize + 1).pages, kMostPages - 1);
  EXPECT_EQ(LengthOf(size_t{1} << 63).pages, kMostPages / 2);
}

TEST(LengthTest, OfBytesIsTheLeastThatHoldsThem) {
  std::mt19937_64 random(20240117);
  for (int i = 0; i < 100'000; ++i) {
    const size_t bytes = (random() >> (1 + random() % 62)) + 1;
    const Length length = LengthOf(bytes);
    ASSERT_GE(length.bytes(), bytes);
    ASSERT_LT((length - Length{1}).bytes(), bytes);
  }
}

TEST(PageIdTest, Arithmetic) {
  const PageId page{100};
  EXPECT_EQ(page + Length{28}, PageId{128});
  EXPECT_EQ(page - Length{100}, PageId{0});
  EXPECT_EQ(PageId{128} - page, Length{28});
  EXPECT_EQ(page - page, Length{0});
  EXPECT_LT(page, page + Length{1});
}

TEST(PageIdTest, TheLastPage) {
  constexpr PageId kLast{std::numeric_limits<uint32_t>::max()};
  EXPECT_EQ(PageId{0} + Length{kLast.index}, kLast);
  EXPECT_EQ(kLast - PageId{0}, Length{kLast.index});
  EXPECT_EQ((kLast - PageId{0}).bytes(), (size_t{32} << 40) - kPageSize);
}

}  // namespace
}  // namespace numaheap
