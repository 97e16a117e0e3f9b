// The malloc family. What each function promises is what POSIX and glibc's manual promise of it;
// where the two leave a choice, glibc's.
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <bit>

#include "src/api/allocator.h"
#include "src/api/fast_path.h"
#include "src/base/message.h"

// What is declared here and in no header of glibc 2.36 (C23).
extern "C" {
void free_sized(void* ptr, size_t size) noexcept;
void free_aligned_sized(void* ptr, size_t alignment, size_t size) noexcept;
}

namespace numaheap {
namespace {

// valloc and pvalloc speak of the kernel's pages.
constexpr size_t kSystemPage = kSmallestPage;

void* Fail(int error) {
  errno = error;
  return nullptr;
}

}  // namespace

void* MallocSlow(size_t size, const void* caller) {
  KeepFrame();
  void* block = allocator.Allocate(size, caller);
  return block != nullptr ? block : Fail(ENOMEM);
}

void* MallocAlignedSlow(size_t size, size_t alignment, const void* caller) {
  KeepFrame();
  void* block = allocator.AllocateAligned(size, alignment, caller);
  return block != nullptr ? block : Fail(ENOMEM);
}

void FreeSlow(void* ptr, const void* caller) {
  if (ptr != nullptr) allocator.Free(ptr, "free", caller);
}

namespace {

// Out of line, so that malloc and calloc keep to the registers they need.
[[gnu::noinline]] void* CallocSlow(size_t bytes, const void* caller) {
  KeepFrame();
  void* block = allocator.AllocateZeroed(bytes, caller);
  return block != nullptr ? block : Fail(ENOMEM);
}

// Usable bytes of a block of this CPU's heap; 0 for what takes a closer look.
inline size_t LocalSizeOf(const void* ptr) {
  const CpuSlab& slab = SlabHere(fast_path);
  if (!slab.Covers(ptr)) return 0;
  const SizeClass c = slab.ClassAt(ptr);
  if (c == kNoClass) return slab.map->LargeSizeAt(ptr);
  const SizeClassInfo& info = kSizeMap[c];
  return (reinterpret_cast<uintptr_t>(ptr) & info.alignment_mask) == 0 ? info.size : 0;
}

// What a block that grows gets: a quarter more than it had, so that growing step by step does not
// copy it in each step. Small ones have steps of their own, their size classes.
inline size_t Grown(size_t usable, size_t size) {
  constexpr size_t kGrowsInSteps = 32 << 10;
  return usable < kGrowsInSteps ? size : std::max(size, usable + usable / 4);
}

[[gnu::noinline]] void* ReallocateSlow(void* ptr, size_t size, const char* operation,
                                       const void* caller) {
  KeepFrame();
  const auto allocate = [caller](size_t bytes) {
    void* block = PopCached(bytes);
    return block != nullptr ? block : MallocSlow(bytes, caller);
  };
  if (ptr == nullptr) return allocate(size);
  if (size == 0) {
    allocator.Free(ptr, operation, caller);
    return nullptr;
  }
  size_t usable;
  if (allocator.ResizeInPlace(ptr, size, operation, &usable)) return ptr;
  void* moved = size > usable ? allocate(Grown(usable, size)) : nullptr;
  if (moved == nullptr) moved = allocate(size);
  if (moved == nullptr) return nullptr;  // the old block stays as it was
  memcpy(moved, ptr, usable < size ? usable : size);
  Free(ptr);
  return moved;
}

// Inline, because the slow path looks at who called.
[[gnu::always_inline]] inline void* Reallocate(void* ptr, size_t size, const char* operation) {
  const size_t usable = LocalSizeOf(ptr);
  // Nothing to do where it fits and leaves little unused. Never so for a size of 0.
  if (size <= usable && size > usable - usable / 4) return ptr;
  return ReallocateSlow(ptr, size, operation, __builtin_return_address(0));
}

}  // namespace
}  // namespace numaheap

using numaheap::allocator;

extern "C" {

NUMAHEAP_API void* malloc(size_t size) noexcept {
  return numaheap::Malloc(size);
}

NUMAHEAP_API void free(void* ptr) noexcept {
  numaheap::Free(ptr);
}

NUMAHEAP_API void* calloc(size_t count, size_t size) noexcept {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) return numaheap::Fail(ENOMEM);
  if (void* block = numaheap::PopCached(bytes)) return memset(block, 0, bytes);
  return numaheap::CallocSlow(bytes, __builtin_return_address(0));
}

NUMAHEAP_API void* realloc(void* ptr, size_t size) noexcept {
  return numaheap::Reallocate(ptr, size, "realloc");
}

NUMAHEAP_API void* reallocarray(void* ptr, size_t count, size_t size) noexcept {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) return numaheap::Fail(ENOMEM);
  return numaheap::Reallocate(ptr, bytes, "reallocarray");
}

NUMAHEAP_API void* aligned_alloc(size_t alignment, size_t size) noexcept {
  if (!std::has_single_bit(alignment)) return numaheap::Fail(EINVAL);
  return numaheap::MallocAligned(size, alignment);
}

NUMAHEAP_API int posix_memalign(void** out, size_t alignment, size_t size) noexcept {
  if (!std::has_single_bit(alignment) || alignment % sizeof(void*) != 0) return EINVAL;
  numaheap::KeepFrame();
  const int saved_errno = errno;
  void* block = numaheap::MallocAligned(size, alignment);
  errno = saved_errno;
  if (block == nullptr) return ENOMEM;
  *out = block;
  return 0;
}

NUMAHEAP_API void* memalign(size_t alignment, size_t size) noexcept {
  if (alignment > SIZE_MAX / 2 + 1) return numaheap::Fail(EINVAL);
  return numaheap::MallocAligned(size, std::bit_ceil(alignment));
}

NUMAHEAP_API void* valloc(size_t size) noexcept {
  return numaheap::MallocAligned(size, numaheap::kSystemPage);
}

NUMAHEAP_API void* pvalloc(size_t size) noexcept {
  constexpr size_t kMask = numaheap::kSystemPage - 1;
  if (size > SIZE_MAX - kMask) return numaheap::Fail(ENOMEM);
  return numaheap::MallocAligned((size + kMask) & ~kMask, numaheap::kSystemPage);
}

NUMAHEAP_API size_t malloc_usable_size(void* ptr) noexcept {
  if (const size_t size = numaheap::LocalSizeOf(ptr)) return size;
  return ptr == nullptr ? 0 : allocator.UsableSize(ptr, "malloc_usable_size");
}

// The sizes are what the program believes; the heap knows better and needs neither.
NUMAHEAP_API void free_sized(void* ptr, size_t) noexcept {
  numaheap::Free(ptr);
}
NUMAHEAP_API void free_aligned_sized(void* ptr, size_t, size_t) noexcept {
  numaheap::Free(ptr);
}

NUMAHEAP_API int malloc_trim(size_t) noexcept {
  return allocator.ReleaseMemory() > 0;
}

// Accepted, so that programs that tune glibc go on; 1 is success.
NUMAHEAP_API int mallopt(int, int) noexcept {
  return 1;
}

NUMAHEAP_API struct mallinfo2 mallinfo2() noexcept {
  const numaheap_node_snapshot_t all = allocator.SumOfNodes();
  struct mallinfo2 info = {};
  info.arena = all.committed_bytes - all.large_bytes;
  info.ordblks = all.spans_free;
  info.hblkhd = all.large_bytes;
  info.uordblks = all.in_use_bytes - all.large_bytes - all.cached_bytes;
  info.fordblks = all.idle_bytes + all.released_bytes + all.cached_bytes;
  info.keepcost = all.idle_bytes;
  return info;
}

NUMAHEAP_API int malloc_info(int options, FILE* stream) noexcept {
  if (options != 0) {
    errno = EINVAL;
    return -1;
  }
  const auto print = [stream](const numaheap::Message& line) {
    return fwrite(line.view().data(), 1, line.view().size(), stream) == line.view().size();
  };
  bool written = true;
  numaheap::Message line;
  line << "<malloc version=\"numaheap-" << numaheap_version() << "\">\n";
  written &= print(line);
  allocator.ForEachNodeSnapshot([&](const numaheap_node_snapshot_t& node) {
    line.clear();
    line << "<heap node=\"" << node.node << "\" committed=\"" << node.committed_bytes
         << "\" in_use=\"" << node.in_use_bytes << "\" cached=\"" << node.cached_bytes
         << "\" idle=\"" << node.idle_bytes << "\" released=\"" << node.released_bytes << "\"/>\n";
    written &= print(line);
  });
  line.clear();
  line << "</malloc>\n";
  written &= print(line);
  return written ? 0 : -1;
}

}  // extern "C"
