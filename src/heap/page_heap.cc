#include "src/heap/page_heap.h"

#include <errno.h>

#include <algorithm>

namespace numaheap {
namespace {

// The committed part grows by an eighth of itself, within these limits (bytes): few system calls,
// and no more address space charged than strict overcommit can bear.
constexpr size_t kMinGrowth = 2 << 20;
constexpr size_t kMaxGrowth = 64 << 20;

// Free spans looked at per hold of the lock, so that allocation never waits for long.
constexpr int kSpansPerHold = 256;

// Given back at a time: these pages can't be allocated meanwhile, which takes the kernel about 5
// ms.
constexpr Length kPiece = LengthOf(32 << 20);

uint64_t MeanIdleSince(const Span& a, const Span& b) {
  const uint64_t pages_a = a.idle_pages(), pages_b = b.idle_pages();
  if (pages_a + pages_b == 0) return 0;
  // Differences keep the product far from overflow.
  const uint64_t base = std::min(a.idle_since_ms, b.idle_since_ms);
  return base + ((a.idle_since_ms - base) * pages_a + (b.idle_since_ms - base) * pages_b) /
                    (pages_a + pages_b);
}

}  // namespace

Span* PageHeap::Allocate(Length n, SizeClass c, Length alignment) {
  DCHECK(n.pages > 0);
  LockHolder holder(lock_);
  const auto take = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    return alignment.pages <= 1 ? TakeBestFit(n) : TakeAligned(n, alignment);
  };
  Span* span = take();
  if (span == nullptr) {
    if (!Grow(alignment.pages <= 1 ? n : n + alignment - Length{1})) return nullptr;
    span = take();
    if (span == nullptr) return nullptr;
  }
  if (!Back(span)) {
    ++stats_.failed_growths;
    InsertFree(span);
    return nullptr;
  }
  BeginUse(span, c);
  return span;
}

bool PageHeap::Back(Span* span) {
  if (checked_node_ == kNoNode || span->released_pages == 0) return true;
  if (kernel_.FreeBytes(checked_node_) < Length{span->released_pages}.bytes()) return false;
  const int error = kernel_.Populate(map_.AddressOf(span->start), span->length().bytes());
  return error == 0 || error == EINVAL;
}

// The result is on no list and longer than asked for by nothing: the tail went back.
Span* PageHeap::TakeBestFit(Length n) {
  Span* span = nullptr;
  if (n.pages < kListPages) {
    const size_t list = FindBit(nonempty_, n.pages, kListPages, true);
    if (list < kListPages) span = lists_[list].first();
  }
  if (span == nullptr) {
    span = large_free_.FirstWhere([n](const Span& s) { return s.pages >= n.pages; });
  }
  if (span == nullptr) return nullptr;
  Unlink(span);
  if (span->pages > n.pages) {
    Span* tail = CutTail(span, n);
    if (tail == nullptr) {
      Link(span);
      return nullptr;
    }
    Link(tail);
  }
  return span;
}

Span* PageHeap::TakeAligned(Length n, Length alignment) {
  Span* span = TakeBestFit(n + alignment - Length{1});
  if (span == nullptr) return nullptr;
  // The range starts on a huge page, so page numbers say nothing about larger alignments.
  const uintptr_t mask = alignment.bytes() - 1;
  const uintptr_t address = reinterpret_cast<uintptr_t>(map_.AddressOf(span->start));
  const Length skip = LengthOf(((address + mask) & ~mask) - address);
  if (skip.pages > 0) {
    Span* aligned = CutTail(span, skip);
    if (aligned == nullptr) {
      InsertFree(span);
      return nullptr;
    }
    InsertFree(span);
    span = aligned;
  }
  if (span->pages > n.pages) {
    Span* tail = CutTail(span, n);
    if (tail == nullptr) {
      InsertFree(span);
      return nullptr;
    }
    InsertFree(tail);
  }
  return span;
}

bool PageHeap::Grow(Length n) {
  const Length reserved{heap_area_.reserved_bytes() >> kPageShift};
  if (n > reserved - committed_) {
    ++stats_.failed_growths;
    return false;
  }
  const size_t want = std::clamp(committed_.bytes() / 8, kMinGrowth, kMaxGrowth);
  Length step = std::max(n, LengthOf(want));
  // Up to a huge page boundary, so that the kernel can back what is committed with huge pages.
  const Length huge = LengthOf(kHugePageSize);
  step.pages += (huge.pages - (committed_ + step).pages % huge.pages) % huge.pages;
  step = std::min(step, reserved - committed_);
  while (!CommitNext(step)) {
    if (step <= n) {
      ++stats_.failed_growths;
      return false;
    }
    step = std::max(n, Length{step.pages / 2});
  }
  ++stats_.growths;
  return true;
}

bool PageHeap::CommitNext(Length n) {
  if (checked_node_ != kNoNode && kernel_.FreeBytes(checked_node_) < n.bytes()) return false;
  const Length after = committed_ + n;
  if (!map_.CommitUpTo(kernel_, after.pages)) return false;
  Span* span = NewRecord();
  if (span == nullptr) return false;
  if (!heap_area_.CommitUpTo(kernel_, after.bytes(), kPageSize)) {
    FreeRecord(span);
    return false;
  }
  span->start = {static_cast<uint32_t>(committed_.pages)};
  span->pages = static_cast<uint32_t>(n.pages);
  span->released_pages = span->pages;  // nothing was touched yet
  SetBits(map_.released(), span->start.index, span->pages);
  committed_ = after;
  stats_.released += n;
  InsertFree(span);
  return true;
}

void PageHeap::BeginUse(Span* span, SizeClass c) {
  stats_.released -= Length{span->released_pages};
  stats_.idle -= Length{span->idle_pages()};
  stats_.in_use += span->length();
  ++stats_.spans_in_use;
  span->zeroed = span->released_pages == span->pages;
  ClearBits(map_.released(), span->start.index, span->pages);
  span->released_pages = 0;
  span->size_class = c;
  span->SetFreeObjects(0);  // until its central list counts them
  span->state = c == kNoClass ? SpanState::kLarge : SpanState::kSmall;
  if (c == kNoClass) {
    stats_.large += span->length();
    ++stats_.large_spans;
  }
  map_.Enter(span);
  if (c != kNoClass) map_.SetClass(span->start, span->length(), c);
}

void PageHeap::ShowClass(Span* span, bool shown) {
  LockHolder holder(lock_);
  DCHECK(span->state == SpanState::kSmall);
  span->hides_class = !shown;
  map_.SetClass(span->start, span->length(), shown ? span->size_class : kNoClass);
}

void PageHeap::Free(Span* span) {
  LockHolder holder(lock_);
  DCHECK(span->specials == nullptr && !span->hides_class);
  DCHECK(span->state == SpanState::kSmall || span->state == SpanState::kLarge);
  if (span->state == SpanState::kSmall) {
    map_.SetClass(span->start, span->length(), kNoClass);
  } else {
    stats_.large -= span->length();
    --stats_.large_spans;
  }
  span->size_class = kNoClass;
  span->idle_since_ms = kernel_.NowMs();
  stats_.in_use -= span->length();
  stats_.idle += span->length();
  --stats_.spans_in_use;
  InsertFree(span);
}

bool PageHeap::GrowInPlace(Span* span, Length n) {
  LockHolder holder(lock_);
  const Length more = n - span->length();
  const PageId behind = span->start + span->length();
  Span* next = map_.SpanAt(behind);
  const bool is_free = next != nullptr && next->state == SpanState::kFree;
  const Length have = is_free ? next->length() : Length{0};
  if (have < more) {
    const bool at_end = (behind + have).index == committed_.pages;
    if (!at_end || !Grow(more - have)) return false;
    next = map_.SpanAt(behind);
  }
  Unlink(next);
  if (next->length() > more) {
    Span* tail = CutTail(next, more);
    if (tail == nullptr) {
      Link(next);
      return false;
    }
    Link(tail);
  }
  if (!Back(next)) {
    InsertFree(next);
    return false;
  }
  stats_.released -= Length{next->released_pages};
  stats_.idle -= Length{next->idle_pages()};
  stats_.in_use += more;
  stats_.large += more;
  ClearBits(map_.released(), next->start.index, next->pages);
  FreeRecord(next);
  span->pages = static_cast<uint32_t>(n.pages);
  span->zeroed = false;
  map_.Enter(span);
  return true;
}

void PageHeap::Shrink(Span* span, Length n) {
  LockHolder holder(lock_);
  DCHECK(n < span->length() && n.pages > 0);
  Span* tail = CutTail(span, n);
  if (tail == nullptr) return;  // no record to be had: the pages stay with the object
  map_.Enter(span);
  tail->idle_since_ms = kernel_.NowMs();
  stats_.in_use -= tail->length();
  stats_.large -= tail->length();
  stats_.idle += tail->length();
  InsertFree(tail);
}

Span* PageHeap::CutTail(Span* span, Length n) {
  DCHECK(n.pages > 0 && n < span->length());
  Span* tail = NewRecord();
  if (tail == nullptr) return nullptr;
  tail->start = span->start + n;
  tail->pages = static_cast<uint32_t>((span->length() - n).pages);
  tail->idle_since_ms = span->idle_since_ms;
  tail->state = span->state;
  if (span->released_pages > 0) {
    tail->released_pages =
        static_cast<uint32_t>(span->released_pages == span->pages
                                  ? tail->pages
                                  : CountBits(map_.released(), tail->start.index, tail->pages));
  }
  span->released_pages -= tail->released_pages;
  span->pages = static_cast<uint32_t>(n.pages);
  map_.EnterEnds(span);
  map_.EnterEnds(tail);
  return tail;
}

void PageHeap::InsertFree(Span* span) {
  if (span->start.index > 0) {
    Span* before = map_.SpanAt(span->start - Length{1});
    if (before != nullptr && before->state == SpanState::kFree) {
      Unlink(before);
      Absorb(before, span);
      span = before;
    }
  }
  Span* after = map_.SpanAt(span->start + span->length());
  if (after != nullptr && after->state == SpanState::kFree) {
    Unlink(after);
    Absorb(span, after);
  }
  map_.EnterEnds(span);
  Link(span);
}

void PageHeap::Absorb(Span* into, Span* neighbour) {
  DCHECK(into->start + into->length() == neighbour->start);
  into->idle_since_ms = MeanIdleSince(*into, *neighbour);
  into->pages += neighbour->pages;
  into->released_pages += neighbour->released_pages;
  FreeRecord(neighbour);
}

void PageHeap::Link(Span* span) {
  span->state = SpanState::kFree;
  ++stats_.spans_free;
  if (span->pages < kListPages) {
    FreeList& list = lists_[span->pages];
    // Memory that is still backed is handed out first.
    if (span->idle_pages() > 0) {
      list.PushFront(span);
    } else {
      list.PushBack(span);
    }
    SetBits(nonempty_, span->pages, 1);
  } else {
    large_free_.Insert(span);
  }
  if (span->idle_pages() > 0) idle_.PushBack(span);
}

void PageHeap::Unlink(Span* span) {
  DCHECK(span->state == SpanState::kFree);
  --stats_.spans_free;
  if (span->pages < kListPages) {
    lists_[span->pages].Remove(span);
    if (lists_[span->pages].empty()) ClearBits(nonempty_, span->pages, 1);
  } else {
    large_free_.Remove(span);
  }
  if (span->idle_pages() > 0) idle_.Remove(span);
  span->state = SpanState::kDetached;
}

Span* PageHeap::NewRecord() {
  Span* span = dead_.PopFront();
  if (span == nullptr) return arena_.New<Span>();
  *span = Span();
  return span;
}

void PageHeap::FreeRecord(Span* span) {
  *span = Span();
  dead_.PushFront(span);
}

size_t PageHeap::ReleaseIdle(uint64_t cutoff_ms, size_t at_most) {
  size_t released = 0;
  size_t unseen;
  {
    LockHolder holder(lock_);
    unseen = idle_.size();
  }
  while (unseen > 0 && released < at_most) {
    Span* span = nullptr;
    bool more = false;
    {
      LockHolder holder(lock_);
      for (int looked = 0; looked < kSpansPerHold && unseen > 0 && !idle_.empty(); ++looked) {
        --unseen;
        Span* candidate = idle_.first();
        if (candidate->idle_since_ms <= cutoff_ms) {
          span = candidate;
          break;
        }
        idle_.Remove(candidate);  // too young: to the back
        idle_.PushBack(candidate);
      }
      if (idle_.empty()) unseen = 0;
      if (span == nullptr) continue;
      Unlink(span);
      span = CutIdlePiece(span, &more);
    }
    const size_t bytes = ReleaseSpan(span);
    if (bytes > 0 && more) ++unseen;  // what is left of the span
    released += bytes;
  }
  return released;
}

Span* PageHeap::CutIdlePiece(Span* span, bool* more) {
  *more = false;
  if (span->length() <= kPiece) return span;
  const size_t begin = span->start.index;
  const size_t end = begin + span->pages;
  const Length released{FindBit(map_.released(), begin, end, false) - begin};
  if (released.pages > 0) {
    Span* idle = CutTail(span, released);
    if (idle == nullptr) return span;
    Link(span);
    span = idle;
  }
  if (span->length() <= kPiece) return span;
  Span* rest = CutTail(span, kPiece);
  if (rest == nullptr) return span;
  Link(rest);
  *more = true;
  return span;
}

size_t PageHeap::ReleaseSpan(Span* span) {
  uint64_t* bits = map_.released();
  const size_t end = span->start.index + span->pages;
  size_t released_pages = 0;
  bool refused = false;
  for (size_t begin = span->start.index; begin < end && !refused;) {
    size_t run_end;
    {
      LockHolder holder(lock_);  // neighbouring spans share the words at the ends
      begin = FindBit(bits, begin, end, false);
      run_end = FindBit(bits, begin, end, true);
    }
    if (begin == run_end) break;
    const Length run{run_end - begin};
    // EINVAL for locked memory, which stays idle.
    refused = kernel_.Release(map_.AddressOf({static_cast<uint32_t>(begin)}), run.bytes()) != 0;
    if (refused) break;
    LockHolder holder(lock_);
    SetBits(bits, begin, run.pages);
    released_pages += run.pages;
    begin = run_end;
  }
  LockHolder holder(lock_);
  span->released_pages += static_cast<uint32_t>(released_pages);
  if (refused) span->idle_since_ms = kernel_.NowMs();
  stats_.idle -= Length{released_pages};
  stats_.released += Length{released_pages};
  stats_.scavenged_bytes += Length{released_pages}.bytes();
  InsertFree(span);
  return Length{released_pages}.bytes();
}

void PageHeap::CheckNodeBeforeGrowth(NodeId node) {
  LockHolder holder(lock_);
  checked_node_ = node;
}

PageHeapStats PageHeap::stats() {
  LockHolder holder(lock_);
  PageHeapStats stats = stats_;
  stats.committed = committed_;
  return stats;
}

void PageHeap::CheckInvariants() {
  LockHolder holder(lock_);
  Length in_use, idle, released, large;
  size_t spans_free = 0, spans_in_use = 0, large_spans = 0, idle_spans = 0;
  bool previous_free = false;
  for (PageId page{0}; page.index < committed_.pages;) {
    const Span* span = map_.SpanAt(page);
    CHECK(span != nullptr && span->start == page && span->pages > 0);
    const size_t bits = CountBits(map_.released(), page.index, span->pages);
    const bool is_free = span->state == SpanState::kFree;
    CHECK(!(is_free && previous_free));
    switch (span->state) {
      case SpanState::kFree:
      case SpanState::kDetached:
        CHECK(bits == span->released_pages || span->state == SpanState::kDetached);
        released += Length{span->released_pages};
        idle += Length{span->idle_pages()};
        spans_free += is_free;
        idle_spans += is_free && span->idle_pages() > 0;
        break;
      case SpanState::kSmall:
      case SpanState::kLarge:
        CHECK(bits == 0);
        CHECK((span->size_class == kNoClass) == (span->state == SpanState::kLarge));
        in_use += span->length();
        if (span->state == SpanState::kLarge) {
          large += span->length();
          ++large_spans;
        }
        ++spans_in_use;
        break;
      case SpanState::kDead:
        CHECK(!"a dead record covers pages");
    }
    for (uint32_t i = 0; i < span->pages; ++i) {
      CHECK(map_.ClassAt(page + Length{i}) == (span->hides_class ? kNoClass : span->size_class));
      if (span->state == SpanState::kSmall || span->state == SpanState::kLarge) {
        CHECK(map_.SpanAt(page + Length{i}) == span);
      }
    }
    previous_free = is_free;
    page = page + span->length();
  }
  CHECK(in_use == stats_.in_use && idle == stats_.idle && released == stats_.released);
  CHECK(large == stats_.large && large_spans == stats_.large_spans);
  CHECK(in_use + idle + released == committed_);
  CHECK(spans_free == stats_.spans_free && spans_in_use == stats_.spans_in_use);
  CHECK(idle_spans == idle_.size());

  size_t listed = large_free_.size();
  CHECK(large_free_.IsValid());
  large_free_.ForEach(
      [](const Span& span) { CHECK(span.state == SpanState::kFree && span.pages >= kListPages); });
  for (size_t n = 0; n < kListPages; ++n) {
    CHECK(lists_[n].empty() == !TestBit(nonempty_, n));
    for (Span* span = lists_[n].first(); span != nullptr; span = FreeList::Next(span)) {
      CHECK(span->state == SpanState::kFree && span->pages == n);
      ++listed;
    }
  }
  CHECK(listed == spans_free);
}

}  // namespace numaheap
