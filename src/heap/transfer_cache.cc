#include "src/heap/transfer_cache.h"

#include <algorithm>
#include <cstring>

namespace numaheap {

int TransferCache::Capacity() const {
  const SizeClassInfo& info = kSizeMap[class_];
  return std::clamp<int>(static_cast<int>(kMaxBytes / info.size), info.batch, kMaxBlocks);
}

int TransferCache::RemoveBatch(void** out, int n) {
  LockHolder holder(lock_);
  n = std::min(n, count_);
  count_ -= n;
  lowest_ = std::min(lowest_, count_);
  if (n > 0) std::memcpy(out, slots_ + count_, static_cast<size_t>(n) * sizeof(void*));
  return n;
}

int TransferCache::InsertBatch(void* const* blocks, int n) {
  const int capacity = Capacity();
  LockHolder holder(lock_);
  if (slots_ == nullptr) {
    slots_ = static_cast<void**>(arena_.Allocate(static_cast<size_t>(capacity) * sizeof(void*)));
    if (slots_ == nullptr) return 0;
  }
  n = std::min(n, capacity - count_);
  std::memcpy(slots_ + count_, blocks, static_cast<size_t>(n) * sizeof(void*));
  count_ += n;
  return n;
}

int TransferCache::RemoveUnused(void** out, int n) {
  LockHolder holder(lock_);
  n = std::min(n, lowest_);
  if (n == 0) return 0;
  // From the bottom: what lies there has waited longest.
  std::memcpy(out, slots_, static_cast<size_t>(n) * sizeof(void*));
  count_ -= n;
  lowest_ -= n;
  std::memmove(slots_, slots_ + n, static_cast<size_t>(count_) * sizeof(void*));
  return n;
}

void TransferCache::EndRound() {
  LockHolder holder(lock_);
  lowest_ = count_;
}

size_t TransferCache::objects() {
  LockHolder holder(lock_);
  return static_cast<size_t>(count_);
}

}  // namespace numaheap
