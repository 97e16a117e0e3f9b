// Operations on ranges of bits in arrays of 64-bit words.
//
// Plain functions over memory that the caller owns and synchronises. `begin` and `count` are in
// bits.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace numaheap {

namespace bitmap_internal {

// Calls visit(word, mask) for every word that [begin, begin + count) touches.
template <typename Word, typename Visit>
void ForEachWord(Word* words, size_t begin, size_t count, Visit visit) {
  while (count > 0) {
    const size_t offset = begin % 64;
    const size_t here = count < 64 - offset ? count : 64 - offset;
    const uint64_t mask = (here == 64 ? ~uint64_t{0} : (uint64_t{1} << here) - 1) << offset;
    visit(words[begin / 64], mask);
    begin += here;
    count -= here;
  }
}

}  // namespace bitmap_internal

inline void SetBits(uint64_t* words, size_t begin, size_t count) {
  bitmap_internal::ForEachWord(words, begin, count, [](uint64_t& w, uint64_t mask) { w |= mask; });
}

inline void ClearBits(uint64_t* words, size_t begin, size_t count) {
  bitmap_internal::ForEachWord(words, begin, count, [](uint64_t& w, uint64_t mask) { w &= ~mask; });
}

inline size_t CountBits(const uint64_t* words, size_t begin, size_t count) {
  size_t set = 0;
  bitmap_internal::ForEachWord(words, begin, count, [&set](const uint64_t& w, uint64_t mask) {
    set += static_cast<size_t>(std::popcount(w & mask));
  });
  return set;
}

inline bool TestBit(const uint64_t* words, size_t index) {
  return (words[index / 64] >> (index % 64)) & 1;
}

// The first index in [begin, end) whose bit is `value`, or `end`.
inline size_t FindBit(const uint64_t* words, size_t begin, size_t end, bool value) {
  while (begin < end) {
    const uint64_t word = (value ? words[begin / 64] : ~words[begin / 64]) >> (begin % 64);
    if (word != 0) {
      const size_t found = begin + static_cast<size_t>(std::countr_zero(word));
      return found < end ? found : end;
    }
    begin = (begin | 63) + 1;
  }
  return end;
}

}  // namespace numaheap
