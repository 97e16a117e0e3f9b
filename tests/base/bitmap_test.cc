// Ranges of bits: each operation at the word boundaries, and at random against std::vector<bool>.
#include "src/base/bitmap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <random>
#include <vector>

namespace numaheap {
namespace {

TEST(BitmapTest, SetsAndClearsWithinAWord) {
  uint64_t words[3] = {};
  SetBits(words, 3, 2);
  EXPECT_EQ(words[0], 0b11000u);
  ClearBits(words, 4, 1);
  EXPECT_EQ(words[0], 0b01000u);
  EXPECT_EQ(words[1], 0u);
}

TEST(BitmapTest, WholeWordsAndTheirNeighbours) {
  uint64_t words[4] = {};
  SetBits(words, 64, 64);
  EXPECT_EQ(words[0], 0u);
  EXPECT_EQ(words[1], ~uint64_t{0});
  EXPECT_EQ(words[2], 0u);
  SetBits(words, 63, 130);
  EXPECT_EQ(words[0], uint64_t{1} << 63);
  EXPECT_EQ(words[2], ~uint64_t{0});
  EXPECT_EQ(words[3], 1u);
  EXPECT_EQ(CountBits(words, 0, 256), 130u);
  ClearBits(words, 65, 126);
  EXPECT_EQ(words[0], uint64_t{1} << 63);
  EXPECT_EQ(words[1], 1u);
  EXPECT_EQ(words[2], uint64_t{1} << 63);
  EXPECT_EQ(words[3], 1u);
}

TEST(BitmapTest, NothingTouchesNothing) {
  // No word is read or written for an empty range, so even null will do.
  uint64_t* const none = nullptr;
  SetBits(none, 0, 0);
  ClearBits(none, 64, 0);
  EXPECT_EQ(CountBits(none, 128, 0), 0u);
  EXPECT_EQ(FindBit(none, 0, 0, true), 0u);
  EXPECT_EQ(FindBit(none, 64, 64, false), 64u);
}

TEST(BitmapTest, FindStopsAtTheEnd) {
  uint64_t words[2] = {0, uint64_t{1} << 10};
  EXPECT_EQ(FindBit(words, 0, 128, true), 74u);
  EXPECT_EQ(FindBit(words, 74, 128, true), 74u);
  EXPECT_EQ(FindBit(words, 0, 75, true), 74u);
  EXPECT_EQ(FindBit(words, 0, 74, true), 74u);
  EXPECT_EQ(FindBit(words, 0, 70, true), 70u) << "the bit lies behind the end";
  EXPECT_EQ(FindBit(words, 75, 128, true), 128u);
  EXPECT_EQ(FindBit(words, 74, 128, false), 75u);
  words[0] = ~uint64_t{0};
  EXPECT_EQ(FindBit(words, 0, 64, false), 64u);
  EXPECT_EQ(FindBit(words, 63, 128, false), 64u);
}

TEST(BitmapTest, RandomAgainstVectorOfBool) {
  constexpr size_t kBits = 300;
  std::mt19937 random(20240118);
  uint64_t words[(kBits + 63) / 64] = {};
  std::vector<bool> model(std::size(words) * 64);
  const auto at = [&](size_t i) { return model.begin() + static_cast<std::ptrdiff_t>(i); };
  for (int step = 0; step < 20'000; ++step) {
    const size_t begin = random() % kBits;
    const size_t count = random() % (kBits - begin + 1);
    const size_t end = begin + count;
    const bool value = random() % 2;
    switch (random() % 4) {
      case 0:
        SetBits(words, begin, count);
        std::fill(at(begin), at(end), true);
        break;
      case 1:
        ClearBits(words, begin, count);
        std::fill(at(begin), at(end), false);
        break;
      case 2:
        ASSERT_EQ(CountBits(words, begin, count),
                  static_cast<size_t>(std::count(at(begin), at(end), true)));
        break;
      case 3:
        ASSERT_EQ(FindBit(words, begin, end, value),
                  static_cast<size_t>(std::find(at(begin), at(end), value) - model.begin()));
        break;
    }
    if (step % 100 == 0) {
      for (size_t i = 0; i < model.size(); ++i) ASSERT_EQ(TestBit(words, i), model[i]) << i;
    }
  }
}

}  // namespace
}  // namespace numaheap
