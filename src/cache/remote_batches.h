// RemoteBatches: what one CPU has freed of other nodes, gathered per home node so that a trip home
// is made once in a batch. Bounded in blocks and bytes; the scavenger delivers what lies too long.
// Thread-safe; one lock.
#pragma once

#include "src/base/lock.h"
#include "src/heap/metadata_arena.h"
#include "src/heap/node_heap.h"
#include "src/heap/size_map.h"

namespace numaheap {

class RemoteBatches {
 public:
  // `ranges`: how many homes there can be.
  RemoteBatches(MetadataArena& arena, int ranges) : arena_(arena), ranges_(ranges) {}

  // Takes a block of `size` bytes whose home is `heap`, in range number `range`.
  void Add(NodeHeap& heap, int range, void* block, size_t size);

  // Sends home what was gathered for `heap`, in range number `range`.
  void Deliver(NodeHeap& heap, int range) {
    Batch out;
    if (Take(range, &out)) heap.ReceiveRemote(out.blocks, out.count);
  }

  int waiting(int range);
  // All that was ever added for a home.
  uint64_t freed_bytes(int range);
  Lock& lock() ABSL_LOCK_RETURNED(lock_) { return lock_; }

 private:
  static constexpr size_t kMaxBytes = 64 << 10;  // of one home's blocks on one CPU

  struct Batch {
    int count = 0;
    size_t bytes = 0;
    uint64_t sent_bytes = 0;  // of earlier batches
    void* blocks[kMaxBatch];
  };

  bool Take(int range, Batch* out);
  static void Empty(Batch& batch);

  MetadataArena& arena_;
  const int ranges_;
  Lock lock_{LockRank::kRemoteBatch};
  Batch** batches_ ABSL_GUARDED_BY(lock_) = nullptr;  // [ranges_], made at the first use
};

}  // namespace numaheap
