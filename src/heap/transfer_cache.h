// TransferCache: whole batches of one class that change hands between CPUs without touching a span.
//
// A stack of pointers in the heap's arena, made at the first insert. One per size class and cache
// domain (CPUs under one last-level cache), so that a block comes back to a cache that may still
// hold its lines. Thread-safe; one lock.
#pragma once

#include "src/base/lock.h"
#include "src/heap/metadata_arena.h"
#include "src/heap/size_map.h"

namespace numaheap {

class TransferCache {
 public:
  TransferCache(MetadataArena& arena, SizeClass c) : arena_(arena), class_(c) {}

  // Takes up to `n` blocks; returns how many.
  int RemoveBatch(void** out, int n);

  // Keeps as many of the `n` blocks as fit, from the front; returns how many.
  int InsertBatch(void* const* blocks, int n);

  // Takes up to `n` of the blocks that nobody has needed since the last call of EndRound().
  int RemoveUnused(void** out, int n);
  void EndRound();

  size_t objects();
  Lock& lock() ABSL_LOCK_RETURNED(lock_) { return lock_; }

 private:
  // What it may hold, but a batch at least.
  static constexpr int kMaxBlocks = 1024;
  static constexpr size_t kMaxBytes = 256 << 10;
  int Capacity() const;

  MetadataArena& arena_;
  const SizeClass class_;

  Lock lock_{LockRank::kTransferCache};
  void** slots_ ABSL_GUARDED_BY(lock_) = nullptr;
  int count_ ABSL_GUARDED_BY(lock_) = 0;
  int lowest_ ABSL_GUARDED_BY(lock_) = 0;  // smallest count since EndRound
};

}  // namespace numaheap
