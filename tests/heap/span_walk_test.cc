// A walk over the spans of a heap: what it shows of one at rest, and that of one in motion every
// page is shown once, as it is at that moment.
#include "src/heap/span_walk.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "src/heap/node_heap.h"
#include "tests/heap/small_space.h"

namespace numaheap {
namespace {

constexpr SizeClass kSomeClass{9};
constexpr size_t kHold = SpanWalk::kSpansPerHold;

// The sums of a heap at rest are its statistics; the views follow each other.
void ExpectSumsOf(PageHeap& pages) {
  SpanWalk walk(pages);
  PageHeapStats sum;
  while (const SpanView* view = walk.Next()) {
    ASSERT_EQ(view->start.index, sum.committed.pages);
    ASSERT_GT(view->length.pages, 0u);
    sum.committed += view->length;
    if (view->state == SpanState::kFree) {
      sum.released += view->released;
      sum.idle += view->length - view->released;
      ++sum.spans_free;
    } else {
      sum.in_use += view->length;
      if (view->state == SpanState::kLarge) sum.large += view->length;
      ++sum.spans_in_use;
    }
  }
  ASSERT_EQ(walk.next_page().index, sum.committed.pages);
  const PageHeapStats stats = pages.stats();
  ASSERT_EQ(sum.committed, stats.committed);
  ASSERT_EQ(sum.in_use, stats.in_use);
  ASSERT_EQ(sum.large, stats.large);
  ASSERT_EQ(sum.idle, stats.idle);
  ASSERT_EQ(sum.released, stats.released);
  ASSERT_EQ(sum.spans_in_use, stats.spans_in_use);
  ASSERT_EQ(sum.spans_free, stats.spans_free);
}

class SpanWalkTest : public testing::Test {
 protected:
  SpanWalkTest() : small_(1, 28), paged_(small_) {}
  void TearDown() override { paged_.ExpectConsistent(); }

  PageHeap& heap() { return paged_.pages; }
  Span* Large(size_t pages) { return heap().Allocate({pages}, kNoClass); }

  // As many spans as a hold shows.
  std::vector<Span*> Hold(size_t pages) {
    std::vector<Span*> spans(kHold);
    for (Span*& span : spans) span = Large(pages);
    return spans;
  }
  static void WalkOneHold(SpanWalk* walk) {
    for (size_t i = 0; i < kHold; ++i) ASSERT_NE(walk->Next(), nullptr);
  }

  SmallSpace small_;
  PagedRange paged_;
};

TEST_F(SpanWalkTest, AnEmptyHeapHasNoSpans) {
  SpanWalk walk(heap());
  EXPECT_EQ(walk.Next(), nullptr);
  EXPECT_EQ(walk.Next(), nullptr);
  EXPECT_EQ(walk.next_page(), PageId{0});
}

TEST_F(SpanWalkTest, ShowsWhatIsThere) {
  heap().Allocate({2}, kSomeClass);
  Span* idle = Large(3);
  Large(200);
  Span* released = Large(300);
  Large(1);
  heap().Free(released);
  heap().ReleaseIdle(UINT64_MAX, SIZE_MAX);
  heap().Free(idle);
  SpanWalk walk(heap());
  struct Expected {
    uint32_t start;
    size_t length, released;
    SpanState state;
    SizeClass size_class;
  };
  const size_t rest = heap().stats().committed.pages - 506;
  for (const Expected& expected : {Expected{0, 2, 0, SpanState::kSmall, kSomeClass},
                                   {2, 3, 0, SpanState::kFree, kNoClass},
                                   {5, 200, 0, SpanState::kLarge, kNoClass},
                                   {205, 300, 300, SpanState::kFree, kNoClass},
                                   {505, 1, 0, SpanState::kLarge, kNoClass},
                                   {506, rest, rest, SpanState::kFree, kNoClass}}) {
    const SpanView* view = walk.Next();
    ASSERT_NE(view, nullptr) << expected.start;
    EXPECT_EQ(view->start.index, expected.start);
    EXPECT_EQ(view->length.pages, expected.length) << expected.start;
    EXPECT_EQ(view->released.pages, expected.released) << expected.start;
    EXPECT_EQ(view->state, expected.state) << expected.start;
    EXPECT_EQ(view->size_class, expected.size_class) << expected.start;
  }
  EXPECT_EQ(walk.Next(), nullptr);
  ExpectSumsOf(heap());
}

TEST_F(SpanWalkTest, ShowsTheRestOfWhatWasMadeAcrossItsPlace) {
  const std::vector<Span*> spans = Hold(1);
  Span* behind = Large(10);
  SpanWalk walk(heap());
  WalkOneHold(&walk);
  for (Span* span : spans) heap().Free(span);
  heap().Free(behind);
  Span* across = Large(kHold + 200);
  ASSERT_EQ(across->start, PageId{0});
  const SpanView* view = walk.Next();
  ASSERT_NE(view, nullptr);
  EXPECT_EQ(view->start.index, kHold);
  EXPECT_EQ(view->length.pages, 200u);
  EXPECT_EQ(view->state, SpanState::kLarge);
  view = walk.Next();
  EXPECT_EQ(view->start.index, kHold + 200);
  EXPECT_EQ(view->state, SpanState::kFree);
}

TEST_F(SpanWalkTest, ShowsWhatHasBecomeOneFreeSpanToItsEnd) {
  const std::vector<Span*> spans = Hold(3);
  Span* behind = Large(10'000);
  SpanWalk walk(heap());
  WalkOneHold(&walk);
  heap().Free(behind);
  heap().ReleaseIdle(UINT64_MAX, 1);
  // Each takes over what lies behind it, so that no page but the first and the last has an index.
  for (size_t i = kHold; i-- > 0;) heap().Free(spans[i]);
  const size_t committed = heap().stats().committed.pages;
  Length free, released;
  int views = 0;
  PageId next = walk.next_page();
  ASSERT_EQ(next.index, 3 * kHold);
  for (; const SpanView* view = walk.Next(); ++views) {
    ASSERT_EQ(view->start, next);
    ASSERT_EQ(view->state, SpanState::kFree);
    next = next + view->length;
    free += view->length;
    released += view->released;
  }
  EXPECT_EQ(free.pages, committed - 3 * kHold);
  EXPECT_EQ(released, heap().stats().released);
  EXPECT_GT(views, 1) << "the span's end was too far to be looked for at once";
}

TEST_F(SpanWalkTest, ShowsWhatIsCommittedMeanwhile) {
  Hold(1);
  SpanWalk walk(heap());
  WalkOneHold(&walk);
  const Length before = heap().stats().committed;
  Large(before.pages);
  ASSERT_GT(heap().stats().committed, before);
  while (walk.Next() != nullptr) {
  }
  EXPECT_EQ(walk.next_page().index, heap().stats().committed.pages);
}

// ---- Random steps between the holds -------------------------------------------------------------

class SpanWalkModelTest : public testing::TestWithParam<unsigned> {
 protected:
  SpanWalkModelTest() : small_(1, 28), paged_(small_), random_(GetParam()) {}

  PageHeap& heap() { return paged_.pages; }
  size_t Below(size_t limit) { return random_() % limit; }

  void Step() {
    const auto at =
        in_use_.lower_bound(static_cast<uint32_t>(Below(heap().stats().committed.pages + 1)));
    switch (Below(8)) {
      case 0:
        heap().ReleaseIdle(UINT64_MAX, Below(64) * kPageSize);
        break;
      case 1:
        if (at == in_use_.end() || at->second->state != SpanState::kLarge) break;
        if (at->second->pages > 1 && Below(2) == 0) {
          heap().Shrink(at->second, {1 + Below(at->second->pages - 1)});
        } else {
          heap().GrowInPlace(at->second, {at->second->pages + 1 + Below(100)});
        }
        break;
      case 2:
      case 3:
      case 4:
        if (in_use_.size() < kMost_) {
          const bool small = Below(2) == 0;
          const size_t pages = small ? 2 : 1 + Below(Below(4) == 0 ? 500 : 5);
          Span* span = heap().Allocate({pages}, small ? kSomeClass : kNoClass, {1u << Below(3)});
          if (span != nullptr) in_use_[span->start.index] = span;
        }
        break;
      default:
        if (at == in_use_.end()) break;
        heap().Free(at->second);
        in_use_.erase(at);
    }
  }

  // Whether the view is what lies there now.
  void CheckAgainstModel(const SpanView& view) {
    const uint32_t begin = view.start.index;
    const uint32_t end = (view.start + view.length).index;
    auto next = in_use_.upper_bound(begin);
    const Span* covering = nullptr;
    if (next != in_use_.begin() && std::prev(next)->second->Covers(view.start)) {
      covering = std::prev(next)->second;
    }
    if (view.state == SpanState::kFree) {
      ASSERT_EQ(covering, nullptr);
      ASSERT_TRUE(next == in_use_.end() || next->first >= end);
      ASSERT_EQ(view.released.pages, CountBits(heap().map().released(), begin, view.length.pages));
    } else {
      ASSERT_NE(covering, nullptr);
      ASSERT_EQ(covering->state, view.state);
      ASSERT_EQ(covering->size_class, view.size_class);
      ASSERT_EQ(covering->start.index + covering->pages, end);
    }
  }

  // A whole walk, with steps between its holds.
  void Walk() {
    SpanWalk walk(heap());
    PageId next;
    while (const SpanView* view = walk.Next()) {
      ASSERT_EQ(view->start, next);
      ASSERT_GT(view->length.pages, 0u);
      CheckAgainstModel(*view);
      if (HasFatalFailure()) return;
      next = next + view->length;
      if (next == walk.next_page()) {  // the last view of a hold
        for (size_t steps = Below(200); steps > 0; --steps) Step();
      }
    }
    ASSERT_EQ(next.index, heap().stats().committed.pages);
  }

  const size_t kMost_ = 1'000;  // spans: some holds' worth
  SmallSpace small_;
  PagedRange paged_;
  std::mt19937_64 random_;
  std::map<uint32_t, Span*> in_use_;  // by first page
};

TEST_P(SpanWalkModelTest, RandomSteps) {
  for (int round = 0; round < 100; ++round) {
    SCOPED_TRACE(round);
    for (size_t steps = 0; steps < 200; ++steps) Step();
    Walk();
    if (HasFatalFailure()) return;
    if (round % 10 == 0) paged_.ExpectConsistent();
    ExpectSumsOf(heap());
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, SpanWalkModelTest, testing::Values(1, 2, 3, 20261124));

// ---- Objects and threads ------------------------------------------------------------------------

class HeapWalkTest : public testing::Test {
 protected:
  HeapWalkTest()
      : small_(1, 28),
        heap_(NodeHeap::Create(small_.kernel, small_.space.RangeStart(0),
                               small_.space.range_bytes(), 1 << 20, NodeId{0})) {}
  void SetUp() override { ASSERT_NE(heap_, nullptr); }
  void TearDown() override { heap_->CheckInvariants(); }

  size_t LiveObjects(SizeClass c) {
    SpanWalk walk(heap_->pages());
    size_t live = 0;
    while (const SpanView* view = walk.Next()) {
      if (view->state == SpanState::kSmall && view->size_class == c) live += view->live_objects;
    }
    return live;
  }

  SmallSpace small_;
  NodeHeap* heap_;
};

TEST_F(HeapWalkTest, CountsObjectsOutsideOfTheCentralList) {
  for (const SizeClass c : {SizeClass{1}, SizeClass{20}, SizeClass{60}}) {
    std::vector<void*> blocks;
    while (blocks.size() < 3u * kSizeMap[c].span_objects) {
      void* batch[kMaxBatch];
      const int n = heap_->AllocateBatch(c, 0, batch, kSizeMap[c].batch);
      ASSERT_GT(n, 0);
      blocks.insert(blocks.end(), batch, batch + n);
    }
    EXPECT_EQ(LiveObjects(c), blocks.size());
    // In a transfer cache they are as live as before.
    for (void* block : blocks) heap_->FreeBatch(c, 0, &block, 1);
    const size_t transfer = LiveObjects(c);
    EXPECT_GT(transfer, 0u);
    EXPECT_EQ(transfer * kSizeMap[c].size, heap_->TransferCachedBytes());
    heap_->FlushTransferCaches(false);
    EXPECT_EQ(LiveObjects(c), 0u);
  }
}

TEST_F(HeapWalkTest, ThreadsGoOnMeanwhile) {
  constexpr int kThreads = 3;
  std::atomic<int> left{kThreads};
  const auto work = [&](unsigned seed) {
    std::mt19937 random(seed);
    std::vector<std::pair<SizeClass, void*>> mine;
    for (int step = 0; step < 4'000; ++step) {
      if (random() % 2 == 0) {
        const SizeClass c{static_cast<uint8_t>(1 + random() % (kSizeClasses - 1))};
        void* batch[kMaxBatch];
        const int n = heap_->AllocateBatch(c, 0, batch, kSizeMap[c].batch);
        for (int i = 0; i < n; ++i) mine.emplace_back(c, batch[i]);
      }
      if (random() % 16 == 0) {
        bool zeroed;
        void* object = heap_->AllocateLarge(random() % 3'000'000 + 1, kPageSize, &zeroed);
        if (object == nullptr) continue;
        Span* span = heap_->Find(object).span;
        heap_->ResizeLarge(span, random() % 3'000'000 + 1);
        heap_->FreeLarge(span);
      }
      while (mine.size() > 400 || (!mine.empty() && random() % 16 != 0)) {
        const size_t i = random() % mine.size();
        heap_->FreeBatch(mine[i].first, 0, &mine[i].second, 1);
        mine[i] = mine.back();
        mine.pop_back();
      }
    }
    for (auto& [c, block] : mine) heap_->FreeBatch(c, 0, &block, 1);
    --left;
  };
  std::vector<std::thread> threads;
  for (unsigned i = 1; i <= kThreads; ++i) threads.emplace_back(work, i);
  threads.emplace_back([&] {
    while (left > 0) {
      heap_->ReleaseIdle(UINT64_MAX, 1 << 20);
      heap_->FlushTransferCaches(true);
    }
  });
  int walks = 0;
  do {
    ++walks;
    SpanWalk walk(heap_->pages());
    PageId next;
    while (const SpanView* view = walk.Next()) {
      ASSERT_EQ(view->start, next);
      ASSERT_GT(view->length.pages, 0u);
      ASSERT_LE(view->released, view->length);
      if (view->state == SpanState::kSmall) {
        ASSERT_LE(view->live_objects, kSizeMap[view->size_class].span_objects);
      }
      next = next + view->length;
    }
    ASSERT_EQ(next, walk.next_page());
  } while (left > 0);
  for (std::thread& thread : threads) thread.join();
  heap_->FlushTransferCaches(false);
  ExpectSumsOf(heap_->pages());
  EXPECT_GT(walks, 1);
}

}  // namespace
}  // namespace numaheap
