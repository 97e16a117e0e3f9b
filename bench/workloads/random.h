// Pseudo-random numbers and sizes: the same in each run and under each allocator.
//
// Random is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
// OOPSLA 2014): a few instructions a number, and any seed will do.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace numaheap::workloads {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  // A number below `bound`, 0 < bound <= 2^32: by multiplication, a division would be felt.
  uint64_t Below(uint64_t bound) { return ((Next() >> 32) * bound) >> 32; }

  // In percent.
  bool Chance(uint64_t percent) { return Below(100) < percent; }

  // From `smallest` up to `largest`, powers of two; as many in each doubling, which is roughly how
  // the sizes that programs ask for are spread.
  size_t Size(size_t smallest, size_t largest) {
    const auto doublings = static_cast<uint64_t>(std::countr_zero(largest / smallest));
    const size_t floor = smallest << Below(doublings);
    return floor + Below(floor + 1);
  }

  template <typename T>
  void Shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[Below(i)]);
  }

 private:
  uint64_t state_;
};

}  // namespace numaheap::workloads
