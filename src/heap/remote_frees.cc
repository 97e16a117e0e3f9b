#include "src/heap/remote_frees.h"

#include <algorithm>

namespace numaheap {

bool RemoteFrees::Put(void* const* blocks, int n) {
  LockHolder holder(lock_);
  const uint32_t waiting = waiting_.load(std::memory_order_relaxed);
  if (waiting + static_cast<uint32_t>(n) > kCapacity) return false;
  if (blocks_ == nullptr) {
    blocks_ = static_cast<void**>(arena_.Allocate(kCapacity * sizeof(void*)));
    if (blocks_ == nullptr) return false;
  }
  std::copy(blocks, blocks + n, blocks_ + waiting);
  waiting_.store(waiting + static_cast<uint32_t>(n), std::memory_order_relaxed);
  return true;
}

int RemoteFrees::Take(void** out, int n) {
  if (waiting() == 0) return 0;
  LockHolder holder(lock_);
  const uint32_t waiting = waiting_.load(std::memory_order_relaxed);
  n = std::min(n, static_cast<int>(waiting));
  if (n == 0) return 0;
  const uint32_t left = waiting - static_cast<uint32_t>(n);
  std::copy(blocks_ + left, blocks_ + waiting, out);
  waiting_.store(left, std::memory_order_relaxed);
  return n;
}

}  // namespace numaheap
