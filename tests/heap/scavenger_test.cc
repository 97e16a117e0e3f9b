// Scavenger: the policy alone, with made-up times.
#include "src/heap/scavenger.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <vector>

namespace numaheap {
namespace {

constexpr uint64_t kForever = std::numeric_limits<uint64_t>::max();

TEST(ScavengerTest, RoundsComeTenTimesWithinTheAge) {
  EXPECT_EQ(Scavenger(5'000).period_ms(), 500u);
  EXPECT_EQ(Scavenger(1'234).period_ms(), 123u);
}

TEST(ScavengerTest, RoundsAreNeitherTooFrequentNorTooRare) {
  for (uint64_t age : {uint64_t{0}, uint64_t{1}, uint64_t{99}, uint64_t{100}, uint64_t{109}}) {
    EXPECT_EQ(Scavenger(age).period_ms(), 10u) << age;
  }
  EXPECT_EQ(Scavenger(110).period_ms(), 11u);
  EXPECT_EQ(Scavenger(9'999).period_ms(), 999u);
  for (uint64_t age : {uint64_t{10'000}, uint64_t{86'400'000}, kForever}) {
    EXPECT_EQ(Scavenger(age).period_ms(), 1000u) << age;
  }
}

TEST(ScavengerTest, TheCutoffIsAnAgeAgo) {
  const Scavenger scavenger(10'000);
  EXPECT_EQ(scavenger.CutoffMs(10'001), 1u);
  EXPECT_EQ(scavenger.CutoffMs(1'000'000), 990'000u);
  EXPECT_EQ(scavenger.CutoffMs(kForever), kForever - 10'000);
}

TEST(ScavengerTest, TheCutoffIsNeverBeforeTheClock) {
  const Scavenger scavenger(10'000);
  for (uint64_t now : {0, 1, 9'999, 10'000}) EXPECT_EQ(scavenger.CutoffMs(now), 0u) << now;
  EXPECT_EQ(Scavenger(kForever).CutoffMs(kForever - 1), 0u);
}

TEST(ScavengerTest, WithoutAnAgeEverythingIdleGoesAtOnce) {
  EXPECT_EQ(Scavenger(0).CutoffMs(77), 77u);
}

// Times, from 100 s on, of the rounds that drained.
std::vector<uint64_t> Drains(Scavenger scavenger, uint64_t until_ms) {
  std::vector<uint64_t> drains;
  for (uint64_t now = 100'000; now <= until_ms; now += scavenger.period_ms()) {
    if (scavenger.TimeToDrain(now)) drains.push_back(now);
  }
  return drains;
}

TEST(ScavengerTest, DrainsFourTimesWithinTheAge) {
  // In rounds of 400 ms a second is over in the third.
  EXPECT_EQ(Drains(Scavenger(4'000), 104'000),
            (std::vector<uint64_t>{100'000, 101'200, 102'400, 103'600}));
  // A quarter is a whole number of rounds.
  EXPECT_EQ(Drains(Scavenger(40'000), 130'000),
            (std::vector<uint64_t>{100'000, 110'000, 120'000, 130'000}));
}

TEST(ScavengerTest, TimeToDrainIsTrueOnce) {
  Scavenger scavenger(1'000);
  EXPECT_TRUE(scavenger.TimeToDrain(5'000));
  EXPECT_FALSE(scavenger.TimeToDrain(5'000));
  EXPECT_FALSE(scavenger.TimeToDrain(5'249));
  EXPECT_TRUE(scavenger.TimeToDrain(5'250));
  EXPECT_FALSE(scavenger.TimeToDrain(5'499));
  EXPECT_TRUE(scavenger.TimeToDrain(1'000'000)) << "after a pause";
  EXPECT_FALSE(scavenger.TimeToDrain(1'000'249)) << "the pause is not made up for";
}

TEST(ScavengerTest, WithoutAnAgeEveryRoundDrains) {
  Scavenger scavenger(0);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(scavenger.TimeToDrain(500));
}

// A cache must have rested from one drain to the next: twice this bound is half the age, give or
// take a round.
TEST(ScavengerTest, DrainsAreAQuarterOfTheAgeApart) {
  for (uint64_t age = 100; age <= 200'000; age += 77) {
    const uint64_t period = Scavenger(age).period_ms();
    const std::vector<uint64_t> drains = Drains(Scavenger(age), 100'000 + 3 * age);
    ASSERT_GE(drains.size(), 6u) << age;
    for (size_t i = 1; i < drains.size(); ++i) {
      ASSERT_GE(drains[i] - drains[i - 1], age / 4) << age;
      ASSERT_LT(drains[i] - drains[i - 1], age / 4 + period) << age;
    }
  }
}

}  // namespace
}  // namespace numaheap
