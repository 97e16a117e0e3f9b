#include "src/heap/remote_frees.h"

#include <algorithm>

namespace numaheap {

bool RemoteFrees::Put(void* const* blocks, int n) {
  LockHolder holder(lock_);
  const uint32_t waiting = waiting_.load(std::memory_order_relaxed);
  if (waiting + static_cast<uint32_t>(n) > kCapacity) return false;
  if (places_ == nullptr) {
    places_ = static_cast<Places*>(arena_.Allocate(sizeof(Places)));
    if (places_ == nullptr) return false;
  }
  uint32_t* const low = places_->low + waiting;
  uint8_t* const high = places_->high + waiting;
  for (int i = 0; i < n; ++i) {
    const auto offset = static_cast<uint64_t>(static_cast<char*>(blocks[i]) - heap_.start());
    low[i] = static_cast<uint32_t>(offset >> 4);
    const auto rest = static_cast<uint8_t>(offset >> 36);
    if (high[i] != rest) high[i] = rest;  // a line that is only read stays with everybody
  }
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
  for (int i = 0; i < n; ++i) {
    const uint32_t at = left + static_cast<uint32_t>(i);
    const uint64_t place = uint64_t{places_->high[at]} << 32 | places_->low[at];
    out[i] = heap_.start() + (place << 4);
  }
  waiting_.store(left, std::memory_order_relaxed);
  return n;
}

}  // namespace numaheap
