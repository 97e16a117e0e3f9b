// What the benchmarks do with a block besides allocating and freeing it.
//
// Stamp() writes a block's own address into it. EraseStamp(), called before the block is freed,
// looks whether it is still there and wipes it out. So a block that somebody wrote into is found,
// and one that was handed out twice when it is freed for the second time. One word each: it costs
// less than the allocator's own work, and programs do touch their blocks.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace numaheap::bench {

// The smallest and the largest of the mixed sizes, bytes.
inline constexpr size_t kSmallestBlock = 16;
inline constexpr size_t kLargestBlock = 1024;

// Makes the compiler believe that `block` was read and changed. It stays in its register, unlike
// with benchmark::DoNotOptimize, which g++ sends through the stack.
inline void* Opaque(void* block) {
  asm volatile("" : "+r"(block) : : "memory");
  return block;
}

[[noreturn, gnu::cold, gnu::noinline]] inline void DieOf(const char* what, const void* block) {
  std::fprintf(stderr, "malloc_bench: %s: %p\n", what, block);
  std::abort();
}

inline void Stamp(void* block) {
  if (block == nullptr) DieOf("out of memory", block);
  const uintptr_t stamp = ~reinterpret_cast<uintptr_t>(block);
  std::memcpy(block, &stamp, sizeof stamp);
}

inline void EraseStamp(void* block) {
  uintptr_t stamp;
  std::memcpy(&stamp, block, sizeof stamp);
  if (stamp != ~reinterpret_cast<uintptr_t>(block)) DieOf("a live block was overwritten", block);
  std::memset(block, 0, sizeof stamp);
  Opaque(block);  // or the compiler drops the write to a block that is freed next
}

// Pseudo-random numbers (Knuth's MMIX generator): the same ones in each run and under each
// allocator, at the price of a multiplication. The upper bits are the good ones.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() { return state_ = state_ * 6364136223846793005 + 1442695040888963407; }

  // A number below 2^bits, 1 <= bits <= 32.
  uint32_t Bits(int bits) { return static_cast<uint32_t>(Next() >> (64 - bits)); }

 private:
  uint64_t state_;
};

// Mixed sizes: as many between 16 and 32 bytes as between 512 and 1,024, which is roughly what
// servers ask for. Looked up rather than computed, to keep the logarithm out of what is measured.
class MixedSizes {
 public:
  MixedSizes() {
    const double octaves = std::log2(static_cast<double>(kLargestBlock) / kSmallestBlock);
    for (size_t i = 0; i < sizes_.size(); ++i) {
      const double share = static_cast<double>(i) / static_cast<double>(sizes_.size() - 1);
      sizes_[i] = static_cast<uint16_t>(std::lround(kSmallestBlock * std::exp2(octaves * share)));
    }
  }

  // The size for a number that is evenly distributed below 2^kBits.
  size_t operator[](uint32_t number) const { return sizes_[number]; }
  static constexpr int kBits = 10;

 private:
  std::array<uint16_t, size_t{1} << kBits> sizes_;
};

}  // namespace numaheap::bench
