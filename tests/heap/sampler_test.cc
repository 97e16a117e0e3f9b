// Marks at exponentially distributed intervals: the arithmetic against libm's, mean and variance,
// and that estimates from samples are unbiased. Seeds are fixed.
#include "src/heap/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace numaheap {
namespace {

TEST(SamplerTest, LogarithmIsLibms) {
  EXPECT_EQ(MinusLog(1), 0);
  for (double u = 1; u > 0x1p-60; u *= 0.9371) {
    EXPECT_NEAR(MinusLog(u), -std::log(u), 1e-14 * (1 - std::log(u))) << u;
  }
}

TEST(SamplerTest, ProbabilityIsLibms) {
  for (size_t mean : {size_t{1}, size_t{512} << 10, size_t{1} << 40}) {
    for (size_t bytes = 1; bytes < (size_t{1} << 45); bytes = bytes * 3 / 2 + 1) {
      const double expected = -std::expm1(-static_cast<double>(bytes) / static_cast<double>(mean));
      EXPECT_NEAR(SampleProbability(bytes, mean), expected, 1e-13 * expected) << bytes;
    }
  }
  EXPECT_EQ(SampleProbability(0, 100), SampleProbability(1, 100));
}

TEST(SamplerTest, WeightsAreTheInverseOfIt) {
  const SampleWeight one = WeightOf(SIZE_MAX / 4, 1024);
  EXPECT_EQ(one.objects, SampleWeight::kUnit);
  const SampleWeight weight = WeightOf(1000, 100'000);
  const double p = -std::expm1(-0.01);
  EXPECT_NEAR(static_cast<double>(weight.objects), SampleWeight::kUnit / p, 1);
  EXPECT_NEAR(static_cast<double>(weight.bytes), 1000 / p, 1);
  EXPECT_EQ(WeightOf(0, 1000).bytes, 0);
}

TEST(SamplerTest, IntervalsAreExponential) {
  constexpr double kMean = 10'000;
  constexpr int kDraws = 200'000;
  std::mt19937_64 random(1);
  double sum = 0, squares = 0;
  int above_mean = 0;
  for (int i = 0; i < kDraws; ++i) {
    const auto bytes = static_cast<double>(SampleInterval(random(), kMean));
    ASSERT_GE(bytes, 1);
    sum += bytes;
    squares += bytes * bytes;
    above_mean += bytes > kMean;
  }
  const double mean = sum / kDraws;
  const double variance = squares / kDraws - mean * mean;
  EXPECT_NEAR(mean / kMean, 1, 0.015);
  EXPECT_NEAR(variance / (kMean * kMean), 1, 0.04);
  EXPECT_NEAR(above_mean / double{kDraws}, std::exp(-1), 0.006);
  EXPECT_EQ(SampleInterval(UINT64_MAX, 1 << 20), 1);
  EXPECT_GT(SampleInterval(0, 1 << 20), 36 << 20);
}

TEST(SamplerTest, EstimatesAreUnbiased) {
  constexpr size_t kMean = 4096;
  for (size_t size :
       {size_t{0}, size_t{1}, size_t{16}, size_t{1000}, size_t{4096}, size_t{50'000}}) {
    Sampler sampler;
    EXPECT_FALSE(sampler.has_begun());
    sampler.Begin(size + 1, kMean);
    EXPECT_TRUE(sampler.has_begun());
    const int allocations = size < 100 ? 4'000'000 : 400'000;
    double objects = 0;
    for (int i = 0; i < allocations; ++i) {
      if (sampler.Take(size, kMean)) {
        objects += static_cast<double>(WeightOf(size, kMean).objects) / SampleWeight::kUnit;
      }
    }
    const double p = SampleProbability(size, kMean);
    const double deviation = std::sqrt(allocations * (1 - p) / p);
    EXPECT_NEAR(objects, allocations, 4 * deviation + 400) << size;
  }
}

// The next one does not depend on what was sampled before.
TEST(SamplerTest, HasNoMemory) {
  constexpr size_t kMean = 1000;
  Sampler sampler;
  sampler.Begin(1, kMean);
  int after_sample = 0, samples = 0;
  bool previous = false;
  for (int i = 0; i < 1'000'000; ++i) {
    const bool sampled = sampler.Take(100, kMean);
    samples += previous;
    after_sample += previous && sampled;
    previous = sampled;
  }
  EXPECT_NEAR(after_sample / static_cast<double>(samples), SampleProbability(100, kMean), 0.006);
}

TEST(SamplerTest, HugeAllocationsAreAlwaysSampled) {
  Sampler sampler;
  sampler.Begin(1, 1 << 20);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(sampler.Take(PTRDIFF_MAX, 1 << 20));
}

}  // namespace
}  // namespace numaheap
