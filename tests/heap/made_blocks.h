// MadeBlocks: pointers that stand for blocks in tests of structures that never look into them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace numaheap {

// The `count` pointers from number `first` on; no two numbers give the same pointer.
inline std::vector<void*> MadeBlocks(size_t first, size_t count) {
  std::vector<void*> blocks(count);
  for (size_t i = 0; i < count; ++i) blocks[i] = reinterpret_cast<void*>(16 * (first + i + 1));
  return blocks;
}

// The number of a made block.
inline size_t NumberOf(const void* block) {
  return reinterpret_cast<uintptr_t>(block) / 16 - 1;
}

}  // namespace numaheap
