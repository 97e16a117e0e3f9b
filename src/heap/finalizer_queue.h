// FinalizerQueue: the freed blocks of one heap whose finalizers have not run yet, by their
// records, first in, first out. Thread-safe; one lock.
#pragma once

#include <atomic>
#include <cstddef>

#include "src/base/lock.h"
#include "src/heap/special.h"

namespace numaheap {

class FinalizerQueue {
 public:
  void Put(Special* finalizer);
  // The one that has waited longest, or null.
  Special* Take();

  size_t waiting() const { return waiting_.load(std::memory_order_relaxed); }
  Lock& lock() ABSL_LOCK_RETURNED(lock_) { return lock_; }

 private:
  Lock lock_{LockRank::kFinalizers};
  Special* first_ ABSL_GUARDED_BY(lock_) = nullptr;
  Special* last_ ABSL_GUARDED_BY(lock_) = nullptr;
  std::atomic<size_t> waiting_{0};  // written under the lock, read without
};

}  // namespace numaheap
