// The fast path: what malloc, free and the C++ operators do when the CPU's cache has what they
// need.
//
// Everything else is a call of one function out of line. A test counts the instructions
// (tests/rules/fast_path.txt).
#pragma once

#include <cstddef>

#include "src/cache/slab_ops.h"
#include "src/heap/size_map.h"

namespace numaheap {

// Usable from the first instruction of the process on: before start, in the locked mode and while a
// thread has a node of its own it leads to slabs of zeros, which send every caller out of line.
[[gnu::visibility("hidden")]] extern constinit FastPath fast_path;

// `caller`: who called the allocator from outside; see Background. Null with errno ENOMEM when
// memory has run out.
[[gnu::noinline]] void* MallocSlow(size_t size, const void* caller);
[[gnu::noinline]] void* MallocAlignedSlow(size_t size, size_t alignment, const void* caller);
// Anything that the slab did not take. Keeps errno.
[[gnu::noinline]] void FreeSlow(void* ptr, const void* caller);

// Gives the function that calls this a frame pointer, so that a stack trace gets through it.
[[gnu::always_inline]] inline void KeepFrame() {
  asm volatile("" : : "r"(__builtin_frame_address(0)));
}

// A block from the CPU's cache, or null.
[[gnu::always_inline]] inline void* PopCached(size_t size) {
  // Twice, so that each of the two ways has one comparison less.
  if (size <= SizeMap::kFineLimit) [[likely]]
    return SlabPop(fast_path, kSizeMap.ClassOf(size));
  return size <= kMaxSmallSize ? SlabPop(fast_path, kSizeMap.ClassOf(size)) : nullptr;
}

[[gnu::always_inline]] inline void* Malloc(size_t size) {
  if (void* block = PopCached(size)) [[likely]]
    return block;
  return MallocSlow(size, __builtin_return_address(0));
}

// `alignment` in bytes, a power of two.
[[gnu::always_inline]] inline void* MallocAligned(size_t size, size_t alignment) {
  if (alignment <= kMinAlignment) return Malloc(size);
  const SizeClass c = kSizeMap.ClassOf(size, alignment);
  if (c != kNoClass) {
    if (void* block = SlabPop(fast_path, c)) [[likely]]
      return block;
  }
  return MallocAlignedSlow(size, alignment, __builtin_return_address(0));
}

[[gnu::always_inline]] inline void Free(void* ptr) {
  if (SlabPush(fast_path, ptr) != PushResult::kDone) [[unlikely]]
    FreeSlow(ptr, __builtin_return_address(0));
}

}  // namespace numaheap
