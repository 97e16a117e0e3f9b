#include "src/heap/remote_frees.h"

#include <algorithm>

namespace numaheap {

bool RemoteFrees::Put(void* const* blocks, int n) {
  LockHolder holder(lock_);
  const uint32_t waiting = waiting_.load(std::memory_order_relaxed);
  if (waiting + static_cast<uint32_t>(n) > kCapacity) return false;
  if (ring_ == nullptr) {
    ring_ = static_cast<void**>(arena_.Allocate(kCapacity * sizeof(void*)));
    if (ring_ == nullptr) return false;
  }
  for (int i = 0; i < n; ++i) ring_[(first_ + waiting + i) % kCapacity] = blocks[i];
  waiting_.store(waiting + static_cast<uint32_t>(n), std::memory_order_relaxed);
  return true;
}

int RemoteFrees::Take(void** out, int n) {
  if (waiting() == 0) return 0;
  LockHolder holder(lock_);
  const uint32_t waiting = waiting_.load(std::memory_order_relaxed);
  n = std::min(n, static_cast<int>(waiting));
  for (int i = 0; i < n; ++i) out[i] = ring_[(first_ + i) % kCapacity];
  first_ = (first_ + static_cast<uint32_t>(n)) % kCapacity;
  waiting_.store(waiting - static_cast<uint32_t>(n), std::memory_order_relaxed);
  return n;
}

}  // namespace numaheap
