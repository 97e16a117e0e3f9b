#include "src/heap/finalizer_queue.h"

namespace numaheap {

void FinalizerQueue::Put(Special* finalizer) {
  LockHolder holder(lock_);
  finalizer->finalizer.next = nullptr;
  (first_ == nullptr ? first_ : last_->finalizer.next) = finalizer;
  last_ = finalizer;
  waiting_.store(waiting() + 1, std::memory_order_relaxed);
}

Special* FinalizerQueue::Take() {
  if (waiting() == 0) return nullptr;
  LockHolder holder(lock_);
  Special* taken = first_;
  if (taken == nullptr) return nullptr;
  first_ = taken->finalizer.next;
  waiting_.store(waiting() - 1, std::memory_order_relaxed);
  return taken;
}

}  // namespace numaheap
