// PageHeap: the pages of one heap. Hands out spans, merges what comes back with its neighbours,
// grows its range, and gives idle pages back to the kernel.
//
// Free spans of fewer than kListPages pages hang on a list per page count, with a bitmap of the
// lists that are not empty; larger ones in a tree by (pages, address): allocation takes the
// smallest that fits, and of equal large ones that with the lowest address. All steps are O(1) or
// O(log n).
//
// One lock guards all. It is released while the kernel takes memory back.
//
// Always, under the lock: every committed page belongs to exactly one span; no two free spans
// touch; a page's released bit is set iff it is in a free span and has no memory behind it; and
//   in use + idle + released == committed.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "src/base/intrusive_list.h"
#include "src/base/lock.h"
#include "src/base/ordered_tree.h"
#include "src/heap/metadata_arena.h"
#include "src/heap/page_map.h"
#include "src/heap/span.h"
#include "src/os/kernel.h"

namespace numaheap {

// One moment of a page heap; the equation above holds in it. Pages and counts.
struct PageHeapStats {
  Length committed, in_use, idle, released, large;
  size_t spans_in_use = 0, spans_free = 0, large_spans = 0;
  uint64_t growths = 0, failed_growths = 0, scavenged_bytes = 0;
};

class PageHeap {
 public:
  static constexpr size_t kListPages = 128;  // 1 MiB

  PageHeap(Kernel& kernel, NodeRange& range, MetadataArena& arena)
      : kernel_(kernel), heap_area_(range.heap), arena_(arena), map_(range) {}

  // Whole pages for blocks of class `c` (state kSmall) or for one object (kLarge, kNoClass). The
  // start is aligned to `alignment` pages (a power of two). Null when neither free spans nor the
  // kernel have that much. The caller owns the span until Free().
  Span* Allocate(Length n, SizeClass c, Length alignment = {1});

  void Free(Span* span);

  // Large spans only. Grows to `n` pages if the pages behind are free; false leaves all as it was.
  bool GrowInPlace(Span* span, Length n);
  // Large spans only. Gives back all but the first `n` pages.
  void Shrink(Span* span, Length n);

  // Small spans only. Whether the byte map shows the class, so that blocks may go into CPU caches.
  void ShowClass(Span* span, bool shown);

  // Gives memory of spans that have been idle since before `cutoff_ms` back to the kernel, stopping
  // after the span that passes `at_most` bytes. Returns the bytes that came off.
  size_t ReleaseIdle(uint64_t cutoff_ms, size_t at_most);

  // From now on the node's free memory decides about growth and about pages without memory, not the
  // kernel's mercy (Policy::kBind): such pages get their memory before they are handed out.
  void CheckNodeBeforeGrowth(NodeId node);

  PageHeapStats stats();
  const PageMap& map() const { return map_; }
  Lock& lock() ABSL_LOCK_RETURNED(lock_) { return lock_; }

  // Walks everything and dies of the first thing that is wrong. Linear in the pages.
  void CheckInvariants();

 private:
  struct BySizeThenAddress {
    bool operator()(const Span& a, const Span& b) const {
      return a.pages != b.pages ? a.pages < b.pages : a.start < b.start;
    }
  };
  using FreeList = IntrusiveList<Span, &Span::list_link>;

  // Puts memory behind a span that is on no list, where the node is checked. False if it has none.
  bool Back(Span* span) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  Span* TakeBestFit(Length n) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  Span* TakeAligned(Length n, Length alignment) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  bool Grow(Length n) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  bool CommitNext(Length n) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Cuts [start + n, end) off a span that is on no list; the rest becomes a span of its own. Null
  // when there is no memory for its record.
  Span* CutTail(Span* span, Length n) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void BeginUse(Span* span, SizeClass c) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Merges with free neighbours and puts the result on its list.
  void InsertFree(Span* span) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void Absorb(Span* into, Span* neighbour) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void Link(Span* span) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void Unlink(Span* span) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  Span* NewRecord() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void FreeRecord(Span* span) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Cuts the first idle pages off a span that is on no list, so many as one release should take;
  // the rest goes back to the lists, and *more says that some of it is behind. The whole span when
  // there is no memory for records.
  Span* CutIdlePiece(Span* span, bool* more) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Calls the kernel for the runs of a span that still have memory. Returns bytes released.
  size_t ReleaseSpan(Span* span);

  Kernel& kernel_;
  Area& heap_area_;
  MetadataArena& arena_;
  PageMap map_;

  Lock lock_{LockRank::kPageHeap};
  FreeList lists_[kListPages] ABSL_GUARDED_BY(lock_);
  uint64_t nonempty_[kListPages / 64] ABSL_GUARDED_BY(lock_) = {};
  OrderedTree<Span, &Span::tree_link, BySizeThenAddress> large_free_ ABSL_GUARDED_BY(lock_);
  IntrusiveList<Span, &Span::idle_link> idle_ ABSL_GUARDED_BY(lock_);
  FreeList dead_ ABSL_GUARDED_BY(lock_);  // records to be reused
  Length committed_ ABSL_GUARDED_BY(lock_);
  PageHeapStats stats_ ABSL_GUARDED_BY(lock_);
  NodeId checked_node_ ABSL_GUARDED_BY(lock_) = kNoNode;
};

}  // namespace numaheap
