// SpanWalk: the spans of a page heap in address order, without stopping it for long.
//
// Copies a few spans at a time under the page heap's lock; between two holds, whatever happens to
// them may happen. Every committed page is in one of the views and in no other: where a span has
// grown over the page that is next, its rest is shown, and a free one perhaps in pieces. What is
// committed meanwhile is shown too. A heap at rest is shown as it is.
//
// Lives on its thread's stack; takes no memory.
#pragma once

#include "src/heap/page_heap.h"

namespace numaheap {

// What a span was like, or the part of it behind what had been shown.
struct SpanView {
  PageId start;
  Length length;
  Length released;            // kFree: those of its pages without memory
  SpanState state;            // kFree, kSmall, kLarge
  SizeClass size_class;       // kSmall
  uint32_t live_objects = 0;  // kSmall: blocks that are not in the central list
};

class SpanWalk {
 public:
  static constexpr int kSpansPerHold = 64;  // 2 KiB of stack, some microseconds

  explicit SpanWalk(PageHeap& pages) : pages_(pages) {}
  SpanWalk(const SpanWalk&) = delete;
  SpanWalk& operator=(const SpanWalk&) = delete;

  // Null behind the last committed page. What it points to holds until the next call.
  const SpanView* Next();

  // Where the next span will begin: behind the last one, how much was committed.
  PageId next_page() const { return page_; }

 private:
  // Pages of a free span that are looked at for its end, before it is shown in pieces.
  static constexpr uint32_t kPagesPerPiece = 4096;

  void Copy();
  SpanView ViewFrom(PageId page, PageId end) const;

  PageHeap& pages_;
  PageId page_;
  int count_ = 0, shown_ = 0;
  SpanView views_[kSpansPerHold];
};

}  // namespace numaheap
