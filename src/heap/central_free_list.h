// CentralFreeList: the spans of one size class of one heap that have free blocks.
//
// Blocks are handed out from the span with the lowest address, lowest block first, so that spans at
// high addresses empty and go back to the page heap. A set bit in a span's bitmap is a free block;
// nothing is ever written into user memory. Thread-safe; one lock.
#pragma once

#include <cstddef>

#include "src/base/lock.h"
#include "src/base/ordered_tree.h"
#include "src/heap/page_heap.h"
#include "src/heap/size_map.h"
#include "src/heap/span.h"

namespace numaheap {

// One moment of a class of one heap.
struct ClassStats {
  size_t spans = 0;
  size_t live_objects = 0;  // of their blocks, those that are not in the central list
};

class CentralFreeList {
 public:
  CentralFreeList(PageHeap& pages, MetadataArena& arena, NodeId node, SizeClass c)
      : pages_(pages), arena_(arena), node_(node), class_(c) {}

  // Takes up to `n` free blocks of the spans that are here. Lowest address last, so that who pops
  // from the end of `out` gets low addresses first. Returns how many.
  int RemoveBatch(void** out, int n);

  // Gets one more span from the page heap and takes up to `n` (at least 1) of its blocks, in the
  // same order. Returns how many, 0 when there is no span to be had.
  int Populate(void** out, int n);

  // Takes back `n` blocks of this class. Dies of what is no block or free already. Spans that have
  // become empty go back to the page heap.
  void InsertBatch(void* const* blocks, int n);

  // Whether a block of this class lies here; `span` is the one that covers it.
  bool IsFree(const Span* span, const void* block);
  size_t free_objects();
  ClassStats stats();
  Lock& lock() ABSL_LOCK_RETURNED(lock_) { return lock_; }
  void CheckInvariants();

 private:
  struct ByAddress {
    bool operator()(const Span& a, const Span& b) const { return a.start < b.start; }
  };

  // The span of a block of this class; `last`: that of the block before it, or null. Dies of what
  // lies in none.
  Span* SpanOf(void* block, Span* last) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Marks blocks[0] as free, and as many behind it as lie one behind the other in `span`, upward or
  // downward: they are often freed together. Returns how many. Dies as InsertBatch does.
  int MarkRun(Span* span, void* const* blocks, int n) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  // Takes up to `n` blocks of a span that is here and puts them before `end`, lowest address last.
  int RemoveFrom(Span* span, void** end, int n) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  uint64_t* NewBitmap(Span* span);

  PageHeap& pages_;
  MetadataArena& arena_;
  const NodeId node_;
  const SizeClass class_;

  Lock lock_{LockRank::kCentralFreeList};
  OrderedTree<Span, &Span::tree_link, ByAddress> nonempty_ ABSL_GUARDED_BY(lock_);
  size_t free_objects_ ABSL_GUARDED_BY(lock_) = 0;
  size_t spans_ ABSL_GUARDED_BY(lock_) = 0;  // of this class, with free blocks or without
};

}  // namespace numaheap
