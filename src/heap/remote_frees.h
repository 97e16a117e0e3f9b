// RemoteFrees: blocks of this heap that CPUs of other nodes have freed, waiting to be swept.
//
// The home node takes them back before it grows and in its scavenger's rounds; a block is never
// handed out by another node. A stack of fixed size in the heap's arena: what is put and taken lies
// in the same few cache lines. They travel between nodes, so a block takes four bytes there, its
// place in the heap in units of 16 bytes; four bits more lie apart and hardly ever change. When it
// is full, who frees sweeps. Thread-safe; one lock.
#pragma once

#include "src/base/lock.h"
#include "src/heap/metadata_arena.h"
#include "src/os/address_space.h"

namespace numaheap {

class RemoteFrees {
 public:
  // `heap`: where the blocks lie.
  RemoteFrees(MetadataArena& arena, const Area& heap) : arena_(arena), heap_(heap) {}

  // Appends all `n` blocks or, when they do not fit, none.
  bool Put(void* const* blocks, int n);

  // Takes up to `n` blocks, the ones that came last, in the order in which they came; returns how
  // many.
  int Take(void** out, int n);

  size_t waiting() const { return waiting_.load(std::memory_order_relaxed); }
  Lock& lock() ABSL_LOCK_RETURNED(lock_) { return lock_; }

 private:
  static constexpr uint32_t kCapacity = 8192;  // blocks

  struct Places {
    uint32_t low[kCapacity];
    uint8_t high[kCapacity];
  };
  static_assert(AddressSpace::kMaxShift <= 32 + 8 + 4, "a place has 40 bits");

  MetadataArena& arena_;
  const Area& heap_;
  Lock lock_{LockRank::kRemoteInbox};
  Places* places_ ABSL_GUARDED_BY(lock_) = nullptr;  // made at the first use
  std::atomic<uint32_t> waiting_{0};                 // written under the lock, read without
};

}  // namespace numaheap
