// Blocks: what all workloads do with memory that they got from malloc.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace numasim {

inline constexpr size_t kSmallest = 32, kLargest = 287;  // bytes

// Code in here accesses only what the program shares across nodes.
#define NUMASIM_SHARED_CODE __attribute__((section("shared_code"), noinline))

struct Block {
  uint64_t words[1];
};

inline size_t WordsOf(size_t bytes) {
  return bytes / sizeof(uint64_t);
}

inline Block* Allocate(size_t bytes) {
  auto* block = static_cast<Block*>(std::malloc(bytes));
  if (block == nullptr) {
    std::perror("malloc");
    std::exit(1);
  }
  return block;
}

// Loops of our own, and volatile: one access for each word, by code of the program.
inline void Fill(Block* block, size_t bytes, uint64_t value) {
  volatile uint64_t* const words = block->words;
  for (size_t i = 0; i < WordsOf(bytes); ++i) words[i] = value + i;
}

inline uint64_t Sum(const Block* block, size_t bytes) {
  const volatile uint64_t* const words = block->words;
  uint64_t sum = 0;
  for (size_t i = 0; i < WordsOf(bytes); ++i) sum += words[i];
  return sum;
}

inline uint64_t SumOfFilled(size_t bytes, uint64_t value) {
  const uint64_t n = WordsOf(bytes);
  return n * value + n * (n - 1) / 2;
}

// Ends the program when a block isn't what was written: two blocks shared memory.
inline void CheckSum(uint64_t sum, size_t bytes, uint64_t value) {
  if (sum == SumOfFilled(bytes, value)) return;
  std::fprintf(stderr, "a block of %zu bytes has changed\n", bytes);
  std::abort();
}

// A random number below `limit`, the same sequence in each run.
class Dice {
 public:
  explicit Dice(uint64_t seed) : generator_(static_cast<uint32_t>(seed * 2654435761u + 1)) {}
  size_t Roll(size_t limit) { return generator_() % limit; }
  size_t RollSize() { return kSmallest + Roll(kLargest - kSmallest + 1); }

 private:
  std::minstd_rand generator_;
};

}  // namespace numasim
