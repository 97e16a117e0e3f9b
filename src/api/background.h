// Background: the scavenger threads, one per heap, and the metrics server that the first of them
// starts.
//
// A thread starts late: when its heap has grown to scavenger.start_at, when a finalizer waits
// there, or at once when metrics are to be served, and never before the library's constructor has
// ended. So a small program stays single-threaded. It is started by whoever allocates or frees
// next, but not by the loader or libc, which may hold locks that pthread_create wants. After fork
// the child has none until one of its heaps asks again. Thread-safe.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "src/heap/node_heap.h"
#include "src/os/loaded_object.h"

namespace numaheap {

class Background {
 public:
  constexpr Background() = default;

  // From now on threads may start; `start_at` in bytes of a heap. `metrics_listen`: host:port, ""
  // for none; must outlive this object.
  void Enable(size_t start_at, const char* metrics_listen);

  // Starts the thread of a heap, whose range number is `range`, if it is time and it has none.
  // Cheap when not. `caller`: the address in the program, the loader or libc that called the
  // allocator. Call it without a lock held: the start allocates.
  void MaybeStart(NodeHeap& heap, int range, const void* caller) {
    if (IsTime(heap) && !HasThread(range) && !loader_.Contains(caller) && !libc_.Contains(caller)) {
      StartThread(heap, range);
    }
  }

  // The child of a fork: no thread came along, and the parent's server is forgotten.
  void ResetInChild();

  // Where metrics are served, "" if nowhere.
  const char* metrics_address() const {
    return serving_.load(std::memory_order_acquire) ? address_ : "";
  }

 private:
  bool IsTime(const NodeHeap& heap) const {
    const size_t start_at = start_at_.load(std::memory_order_acquire);
    if (heap.range().heap.committed_bytes() >= start_at) return true;
    return heap.finalizers().waiting() > 0 && start_at != SIZE_MAX;  // not enabled yet
  }

  static constexpr int kMaxRanges = 1024;  // nodes that Linux can have

  bool HasThread(int range) const {
    return (threads_[range / 64].load(std::memory_order_relaxed) >> (range % 64)) & 1;
  }
  void StartThread(NodeHeap& heap, int range);
  static void* Run(void* heap);
  void TryToServe();
  static void Bound(const char* address);

  // Constant once enabled.
  LoadedObject loader_, libc_;

  std::atomic<size_t> start_at_{SIZE_MAX};
  std::atomic<uint64_t> threads_[kMaxRanges / 64 + 1] = {};  // by range
  std::atomic<bool> server_taken_{false};                    // a thread looks after the server
  std::atomic<bool> serving_{false};
  const char* listen_ = "";
  char address_[64] = {};
};

}  // namespace numaheap
