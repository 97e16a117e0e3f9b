// MadeSlab: a CpuSlab over a made-up heap, whose page number c is cut into blocks of class c.
// Nothing lies at its addresses: slabs never look at what they hold.
#pragma once

#include <array>
#include <cstdint>
#include <new>
#include <vector>

#include "src/cache/cpu_slab.h"

namespace numaheap {

// Page 0 belongs to no class.
struct MadeHeap {
  explicit MadeHeap(int number = 0) : start((uintptr_t{1} << 44) + number * bytes) {
    for (int c = 0; c < kSizeClasses; ++c) page_classes[c] = static_cast<uint8_t>(c);
  }

  static constexpr size_t bytes = kSizeClasses * kPageSize;
  const uintptr_t start;
  std::array<uint8_t, kSizeClasses> page_classes;

  // The n-th block of the class; all must lie on the one page.
  void* Block(SizeClass c, int n) const {
    return reinterpret_cast<void*>(start + c.value * kPageSize +
                                   static_cast<size_t>(n) * kSizeMap[c].size);
  }
  bool Contains(const void* block) const {
    return reinterpret_cast<uintptr_t>(block) - start < bytes;
  }
};

class MadeSlab {
 public:
  static constexpr int kMaxCapacity = 64;  // of each class, and of the remote stack

  // Classes have no capacity yet. `heap` must outlive the slab.
  MadeSlab(const MadeHeap& heap, int64_t cpu) : memory_(kHeaderSlots + kStacks * kStride) {
    slab_ = new (memory_.data()) CpuSlab();
    size_t slot = kHeaderSlots + 1;
    for (int c = 1; c < kStacks; ++c, slot += kStride) {
      SlabLimits& limits = slab_->limits[c];
      limits.begin = static_cast<uint16_t>(slot);
      limits.end.store(limits.begin);
      if (c < kSizeClasses) {
        limits.alignment_mask = kSizeMap[SizeClass{static_cast<uint8_t>(c)}].alignment_mask;
      }
      limits.max_capacity = kMaxCapacity;
      slab_->words[c].store(slot);
    }
    slab_->heap_start = heap.start;
    slab_->heap_bytes = heap.bytes;
    slab_->page_classes = heap.page_classes.data();
    slab_->cpu = cpu;
  }

  void SetCapacity(SizeClass c, int capacity) {
    SlabLimits& limits = slab_->limits[c.value];
    limits.end.store(static_cast<uint16_t>(limits.begin + capacity));
  }

  // What is cached, bottom first.
  std::vector<void*> Blocks(SizeClass c) {
    void** begin = slab_->slot(slab_->limits[c.value].begin);
    return std::vector<void*>(begin, begin + slab_->used(c));
  }

  // What every operation relies on: within the limits, and null below.
  bool IsValid(SizeClass c) {
    return slab_->used(c) >= 0 && slab_->used(c) <= slab_->capacity(c) &&
           *slab_->slot(slab_->limits[c.value].begin - size_t{1}) == nullptr;
  }

  CpuSlab* get() { return slab_; }
  CpuSlab* operator->() { return slab_; }

 private:
  static constexpr size_t kHeaderSlots = sizeof(CpuSlab) / sizeof(void*);
  static constexpr size_t kStride = 1 + kMaxCapacity;

  std::vector<void*> memory_;
  CpuSlab* slab_;
};

}  // namespace numaheap
