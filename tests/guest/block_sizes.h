// BlockSizes: the sizes that a server's blocks have, roughly, in an order that is the same each
// time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace numaheap {

class BlockSizes {
 public:
  explicit BlockSizes(uint32_t seed) : state_(seed * 2654435761u + 1) {}

  // Mostly below 1 KiB; one in 16 up to 16 KiB; one in 256 up to 512 KiB, so with pages of its own.
  size_t Next() {
    const uint32_t kind = Random() % 256;
    const size_t limit = kind == 0 ? 512 << 10 : kind < 16 ? 16 << 10 : 1 << 10;
    return 16 + Random() % (limit - 16);
  }

 private:
  uint32_t Random() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 17;
    return state_ ^= state_ << 5;
  }

  uint32_t state_;
};

}  // namespace numaheap
