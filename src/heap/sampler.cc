#include "src/heap/sampler.h"

#include <algorithm>
#include <bit>

namespace numaheap {

double MinusLog(double u) {
  // u = m * 2^exponent with m in [sqrt(1/2), sqrt(2)), and ln(m) = 2 atanh((m - 1) / (m + 1)).
  constexpr double kSqrt2 = 1.4142135623730951;
  constexpr double kLn2 = 0.69314718055994531;
  const auto bits = std::bit_cast<uint64_t>(u);
  int exponent = static_cast<int>(bits >> 52) - 1023;
  auto m = std::bit_cast<double>((bits & 0x000fffffffffffff) | 0x3ff0000000000000);
  if (m > kSqrt2) {
    m /= 2;
    ++exponent;
  }
  const double z = (m - 1) / (m + 1);  // at most 0.172, so that 10 terms are exact
  double sum = 0;
  for (int k = 19; k > 0; k -= 2) sum = sum * z * z + 1.0 / k;
  return -(exponent * kLn2 + 2 * z * sum);
}

int64_t SampleInterval(uint64_t random, size_t mean_bytes) {
  // 53 bits, none of them the number 0.
  const double u = static_cast<double>((random >> 11) + 1) * 0x1p-53;
  const double bytes = std::min(MinusLog(u) * static_cast<double>(mean_bytes), 0x1p62);
  const auto whole = static_cast<int64_t>(bytes);
  return std::max<int64_t>(1, whole + (static_cast<double>(whole) < bytes));
}

double SampleProbability(size_t bytes, size_t mean_bytes) {
  double x = static_cast<double>(std::max<size_t>(bytes, 1)) / static_cast<double>(mean_bytes);
  if (x > 50) return 1;
  // 1 - exp(-x) by its series where x is small, then by doubling: 1 - (1 - p)^2 = p (2 - p).
  int doublings = 0;
  for (; x > 0.5; x /= 2) ++doublings;
  double p = 0;
  for (int k = 16; k > 0; --k) p = x / k * (1 - p);
  for (; doublings > 0; --doublings) p *= 2 - p;
  return p;
}

SampleWeight WeightOf(size_t bytes, size_t mean_bytes) {
  const double each = 1 / SampleProbability(bytes, mean_bytes);
  return {static_cast<int64_t>(each * SampleWeight::kUnit + 0.5),
          static_cast<int64_t>(each * static_cast<double>(bytes) + 0.5)};
}

void Sampler::Begin(uint64_t seed, size_t mean_bytes) {
  random_ = seed;
  left_ = SampleInterval(Random(), mean_bytes);
}

uint64_t Sampler::Random() {
  // SplitMix64 (G. Steele, D. Lea, C. Flood, 2014).
  random_ += 0x9e3779b97f4a7c15;
  uint64_t z = random_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace numaheap
