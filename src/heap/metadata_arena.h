// MetadataArena: where a heap keeps its records, on its own node.
//
// Bumps through the range's arena area; what is freed is kept by size and reused. Nothing goes back
// to the kernel. Thread-safe. Never calls malloc.
#pragma once

#include <cstddef>
#include <new>
#include <utility>

#include "src/base/lock.h"
#include "src/os/address_space.h"
#include "src/os/kernel.h"

namespace numaheap {

class MetadataArena {
 public:
  MetadataArena(Kernel& kernel, Area& area) : kernel_(kernel), area_(area) {}

  // `bytes` rounded up to 16, aligned to 16 (to 4096 from that size on). Fresh memory is zero,
  // reused memory is not. Null when the kernel gives none.
  void* Allocate(size_t bytes);

  // `bytes` as asked for.
  void Free(void* record, size_t bytes);

  template <typename T, typename... Args>
  T* New(Args&&... args) {
    void* place = Allocate(sizeof(T));
    return place == nullptr ? nullptr : new (place) T(std::forward<Args>(args)...);
  }

  size_t used_bytes();
  Lock& lock() ABSL_LOCK_RETURNED(lock_) { return lock_; }
  char* start() const { return area_.start(); }

 private:
  static constexpr size_t kStep = 64 << 10;       // bytes committed at a time
  static constexpr size_t kLargestReused = 1024;  // bytes; larger records are never freed

  struct FreeRecord {
    FreeRecord* next;
  };

  Kernel& kernel_;
  Area& area_;
  Lock lock_{LockRank::kMetadata};
  size_t top_ ABSL_GUARDED_BY(lock_) = 16;  // offset 0 stays free: it means "no record"
  size_t freed_ ABSL_GUARDED_BY(lock_) = 0;
  FreeRecord* free_[kLargestReused / 16 + 1] ABSL_GUARDED_BY(lock_) = {};
};

}  // namespace numaheap
