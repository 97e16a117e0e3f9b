// SizeMap: the size classes.
//
// 16-byte steps up to 128 bytes (no step can be finer: every block is aligned to 16 bytes), then
// eight steps to each doubling up to 256 KiB, so that rounding loses at most 1/9 of a block. Spans
// start on a page, so a class whose size is a multiple of a power of two up to the page size is
// aligned to it. Constant; everything is computed at compile time.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "src/base/ids.h"

namespace numaheap {

inline constexpr size_t kMinAlignment = 16;
inline constexpr size_t kMaxSmallSize = 256 << 10;   // bytes; more is a large object
inline constexpr int kSizeClasses = 1 + 8 + 11 * 8;  // class 0 is none

inline constexpr int kMaxBatch = 256;

struct SizeClassInfo {
  uint32_t size = 0;            // bytes of a block
  uint16_t span_pages = 0;      // pages of a span of this class
  uint16_t span_objects = 0;    // blocks in a span
  uint16_t batch = 0;           // blocks that move between caches at a time
  uint16_t alignment_mask = 0;  // low bits that are zero in every block's address
  uint32_t reciprocal = 0;      // 2^31 / (size / 16) rounded up, to divide by the size, see IndexOf
};

class SizeMap {
 public:
  // Bytes above which the size table goes in steps of 128 instead of 16.
  static constexpr size_t kFineLimit = 1024;
  static constexpr size_t kTableSize = 65 + (kMaxSmallSize - kFineLimit) / 128;

  constexpr SizeMap() {
    int next = 1;
    for (size_t size = 16; size <= 128; size += 16) Add(next++, size);
    for (size_t base = 128; base < kMaxSmallSize; base *= 2) {
      for (size_t step = 1; step <= 8; ++step) Add(next++, base + step * base / 8);
    }
    size_t cls = 1;
    for (size_t i = 0; i < kTableSize; ++i) {
      const size_t size = i <= 64 ? i * 16 : kFineLimit + (i - 64) * 128;
      while (infos_[cls].size < size) ++cls;
      class_of_[i] = static_cast<uint8_t>(cls);
    }
  }

  // Where `size` (at most kMaxSmallSize) stands in the table. 0 counts as 1.
  static constexpr size_t TableIndex(size_t size) {
    if (size <= kFineLimit) [[likely]]
      return (size + 15) >> 4;
    return ((size + 127) >> 7) + (64 - kFineLimit / 128);
  }

  constexpr SizeClass ClassOf(size_t size) const { return {class_of_[TableIndex(size)]}; }
  constexpr const SizeClassInfo& operator[](SizeClass c) const { return infos_[c.value]; }

  // The smallest class of at least `size` bytes whose blocks are aligned to `alignment` (a power of
  // two), or kNoClass when that takes pages of its own.
  constexpr SizeClass ClassOf(size_t size, size_t alignment) const {
    if (alignment > kPageSize || size > kMaxSmallSize) return kNoClass;
    // A class that will do is a multiple of the alignment itself, so few are looked at.
    size = (std::max<size_t>(size, 1) + alignment - 1) & ~(alignment - 1);
    for (int c = ClassOf(size).value; c < kSizeClasses; ++c) {
      if (infos_[c].size % alignment == 0) return {static_cast<uint8_t>(c)};
    }
    return kNoClass;
  }

  // The number of the block at `offset` bytes into a span of class `c`. Division by multiplication
  // (Granlund and Montgomery, 1994), in units of 16 bytes, so that the rounding of the reciprocal
  // (less than 2^14) times any offset (less than 2^14) stays below 2^31. A test compares every
  // offset of every class.
  constexpr uint32_t IndexOf(SizeClass c, size_t offset) const {
    return static_cast<uint32_t>((uint64_t{offset >> 4} * infos_[c.value].reciprocal) >> 31);
  }

 private:
  constexpr void Add(int cls, size_t size) {
    SizeClassInfo& info = infos_[cls];
    info.size = static_cast<uint32_t>(size);
    // 64 KiB, or a block, keep records at 0.2% of the heap and trips to the page heap rare; then as
    // many pages as bring the tail below 1/32.
    size_t pages = LengthOf(std::max<size_t>(size, 64 << 10)).pages;
    while ((pages * kPageSize) % size > pages * kPageSize / 32) ++pages;
    info.span_pages = static_cast<uint16_t>(pages);
    info.span_objects = static_cast<uint16_t>(pages * kPageSize / size);
    // 64 blocks or 8 KiB, whatever is more, but no more than 16 KiB.
    const size_t blocks = std::clamp<size_t>((8 << 10) / size, 64, kMaxBatch);
    info.batch = static_cast<uint16_t>(std::clamp<size_t>((16 << 10) / size, 2, blocks));
    const size_t alignment = std::min(size & (~size + 1), kPageSize);
    info.alignment_mask = static_cast<uint16_t>(alignment - 1);
    info.reciprocal = static_cast<uint32_t>(((uint64_t{1} << 31) + size / 16 - 1) / (size / 16));
  }

  std::array<SizeClassInfo, kSizeClasses> infos_{};
  std::array<uint8_t, kTableSize> class_of_{};
};

inline constexpr SizeMap kSizeMap;

}  // namespace numaheap
