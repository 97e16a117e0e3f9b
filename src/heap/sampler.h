// Sampler: which allocations are recorded in the profile. One per thread, used by that alone.
//
// Bytes that are allocated form a line on which marks lie at exponentially distributed intervals;
// an allocation that covers a mark is a sample. So one of `bytes` is a sample with the probability
// 1 - exp(-bytes / mean), whatever came before it, and each sample stands for as many allocations
// as that says (SampleWeight).
//
// No libm: the core needs libc alone.
#pragma once

#include <cstddef>
#include <cstdint>

namespace numaheap {

// -ln(u) for 0 < u <= 1.
double MinusLog(double u);

// Bytes to the next mark, rounded up; `random`: 64 random bits.
int64_t SampleInterval(uint64_t random, size_t mean_bytes);

// The probability that an allocation of `bytes` (0 counts as 1) is a sample.
double SampleProbability(size_t bytes, size_t mean_bytes);

// What one sample stands for.
struct SampleWeight {
  static constexpr int64_t kUnit = 1024;
  int64_t objects = 0;  // in 1 / kUnit
  int64_t bytes = 0;
};
SampleWeight WeightOf(size_t bytes, size_t mean_bytes);

class Sampler {
 public:
  constexpr Sampler() = default;

  // Any number but 0; before the first Take().
  void Begin(uint64_t seed, size_t mean_bytes);
  bool has_begun() const { return random_ != 0; }

  // Whether the thread's next allocation, of `bytes` (0 counts as 1), is a sample.
  bool Take(size_t bytes, size_t mean_bytes) {
    if (__builtin_sub_overflow(left_, bytes + (bytes == 0), &left_)) left_ = -1;
    if (left_ > 0) [[likely]]
      return false;
    left_ = SampleInterval(Random(), mean_bytes);
    return true;
  }

 private:
  uint64_t Random();

  uint64_t random_ = 0;
  int64_t left_ = 0;  // bytes to the next mark
};

}  // namespace numaheap
