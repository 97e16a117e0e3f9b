// The pages of one heap: splitting and merging, best fit, alignment, growth, what is released, and
// what is left when the kernel refuses.
#include "src/heap/page_heap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "src/base/bitmap.h"
#include "tests/heap/small_space.h"

namespace numaheap {
namespace {

constexpr size_t kMiB = size_t{1} << 20;
constexpr SizeClass kSomeClass{9};
constexpr size_t kEverything = SIZE_MAX;

class PageHeapTest : public testing::Test {
 protected:
  explicit PageHeapTest(int shift = 30) : small_(1, shift), paged_(small_) {}

  // Leaving is by way of the same checks for every test.
  void TearDown() override { paged_.ExpectConsistent(); }

  FakeKernel& kernel() { return small_.kernel; }
  PageHeap& heap() { return paged_.pages; }
  PageHeapStats stats() { return paged_.pages.stats(); }
  char* AddressOf(const Span* span) { return paged_.AddressOf(span); }

  Span* Large(size_t pages, size_t alignment = 1) {
    return heap().Allocate({pages}, kNoClass, {alignment});
  }
  void Fill(const Span* span) { std::memset(AddressOf(span), 0xa5, span->length().bytes()); }
  bool Zero(const Span* span) { return IsZero(AddressOf(span), span->length().bytes()); }
  size_t ReleasedBits(PageId start, size_t pages) {
    return CountBits(heap().map().released(), start.index, pages);
  }

  // Spans of these lengths from a heap without free spans in front, each followed by a page that
  // stays in use, so that they become holes of exactly these lengths when they are freed.
  std::vector<Span*> Separated(std::vector<size_t> lengths) {
    std::vector<Span*> spans;
    for (const size_t pages : lengths) {
      spans.push_back(Large(pages));
      separators_.push_back(Large(1));
    }
    return spans;
  }
  // Takes all free pages, which must be one span, so that what is freed next is the only hole.
  void TakeAll() {
    const PageHeapStats now = stats();
    ASSERT_LE(now.spans_free, 1u);
    if (now.spans_free == 0) return;
    ASSERT_NE(Large((now.idle + now.released).pages), nullptr);
    ASSERT_EQ(stats().spans_free, 0u);
  }

  SmallSpace small_;
  PagedRange paged_;
  std::vector<Span*> separators_;
};

// ---- Splitting and merging ---------------------------------------------------------------------

TEST_F(PageHeapTest, AnEmptyHeapHasNothingAndOwesNothing) {
  const PageHeapStats now = stats();
  EXPECT_EQ(now.committed.pages, 0u);
  EXPECT_EQ(now.spans_free + now.spans_in_use, 0u);
  EXPECT_EQ(heap().ReleaseIdle(UINT64_MAX, kEverything), 0u);
  EXPECT_EQ(kernel().count(FakeKernel::kCommit), 0);
  EXPECT_EQ(kernel().count(FakeKernel::kRelease), 0);
}

TEST_F(PageHeapTest, SplitsFromTheLowEnd) {
  Span* a = Large(1);
  Span* b = heap().Allocate({2}, kSomeClass);
  Span* c = Large(200);
  EXPECT_EQ(a->start, PageId{0});
  EXPECT_EQ(b->start, PageId{1});
  EXPECT_EQ(c->start, PageId{3});
  EXPECT_EQ(a->state, SpanState::kLarge);
  EXPECT_EQ(b->state, SpanState::kSmall);
  EXPECT_EQ(b->size_class, kSomeClass);
  const PageHeapStats now = stats();
  EXPECT_EQ(now.in_use.pages, 203u);
  EXPECT_EQ(now.large.pages, 201u);
  EXPECT_EQ(now.spans_in_use, 3u);
  EXPECT_EQ(now.spans_free, 1u);
  EXPECT_EQ(now.idle.pages, 0u);
  EXPECT_EQ(now.released, now.committed - now.in_use);
  for (uint32_t page = 0; page < 203; ++page) {
    EXPECT_EQ(heap().map().SpanAt({page}), page < 1 ? a : page < 3 ? b : c);
    EXPECT_EQ(heap().map().ClassAt({page}), page == 1 || page == 2 ? kSomeClass : kNoClass);
  }
  heap().Free(b);
  EXPECT_EQ(heap().map().ClassAt({1}), kNoClass) << "nothing is left of the class";
  EXPECT_EQ(heap().map().ClassAt({2}), kNoClass);
}

TEST_F(PageHeapTest, MergesWithBothNeighboursInAnyOrder) {
  std::array<int, 4> order = {0, 1, 2, 3};
  do {
    std::array<Span*, 4> spans;
    for (Span*& span : spans) span = Large(1 + heap().stats().spans_in_use * 60);
    for (const int i : order) {
      heap().Free(spans[static_cast<size_t>(i)]);
      paged_.ExpectConsistent();
    }
    const PageHeapStats now = stats();
    ASSERT_EQ(now.spans_free, 1u);
    ASSERT_EQ(now.spans_in_use, 0u);
    ASSERT_EQ(now.in_use.pages, 0u);
    ASSERT_EQ(now.large.pages, 0u);
  } while (std::next_permutation(order.begin(), order.end()));
  // All that was merged is whole again.
  const Length all = stats().committed;
  Span* whole = Large(all.pages);
  ASSERT_NE(whole, nullptr);
  EXPECT_EQ(whole->start, PageId{0});
  EXPECT_EQ(stats().committed, all);
}

TEST_F(PageHeapTest, DoesNotMergeAcrossWhatIsInUse) {
  const std::vector<Span*> spans = Separated({3, 4});
  TakeAll();
  heap().Free(spans[0]);
  heap().Free(spans[1]);
  EXPECT_EQ(stats().spans_free, 2u);
  heap().Free(separators_[0]);
  EXPECT_EQ(stats().spans_free, 1u);
  Span* merged = Large(8);
  ASSERT_NE(merged, nullptr);
  EXPECT_EQ(merged->start, PageId{0});
}

// ---- Which span is taken -----------------------------------------------------------------------

TEST_F(PageHeapTest, TakesTheSmallestThatFits) {
  const std::vector<Span*> spans = Separated({10, 3, 5, 127, 128, 129, 400});
  TakeAll();
  std::vector<PageId> starts;
  for (Span* span : spans) starts.push_back(span->start);
  for (Span* span : spans) heap().Free(span);
  // What is asked for, and which of the holes it comes from.
  const std::pair<size_t, size_t> expected[] = {{4, 2},   {3, 1},   {6, 0},  {127, 3},
                                                {127, 4}, {129, 5}, {200, 6}};
  for (const auto& [pages, hole] : expected) {
    Span* span = Large(pages);
    ASSERT_NE(span, nullptr);
    EXPECT_EQ(span->start, starts[hole]) << pages;
  }
  // The rests: 1 of 5, 4 of 10, 1 of 128, 200 of 400. A small request may end up in a large hole.
  EXPECT_EQ(Large(5)->start, starts[6] + Length{200});
  EXPECT_EQ(Large(4)->start, starts[0] + Length{6});
}

TEST_F(PageHeapTest, OfEqualLargeOnesTheLowestAddress) {
  const std::vector<Span*> spans = Separated({150, 200, 150, 150, 128, 128});
  TakeAll();
  std::vector<PageId> starts;
  for (Span* span : spans) starts.push_back(span->start);
  for (const size_t i : {3u, 1u, 5u, 0u, 2u, 4u}) heap().Free(spans[i]);
  EXPECT_EQ(Large(140)->start, starts[0]);
  EXPECT_EQ(Large(150)->start, starts[2]);
  EXPECT_EQ(Large(129)->start, starts[3]);
  EXPECT_EQ(Large(128)->start, starts[4]);
  EXPECT_EQ(Large(128)->start, starts[5]);
  EXPECT_EQ(Large(128)->start, starts[1]) << "nothing better is left";
}

TEST_F(PageHeapTest, BackedMemoryBeforeReleasedMemory) {
  const std::vector<Span*> spans = Separated({7, 7, 7});
  TakeAll();
  const PageId backed = spans[1]->start;
  heap().Free(spans[0]);
  heap().Free(spans[2]);
  EXPECT_EQ(heap().ReleaseIdle(kernel().NowMs(), kEverything), 14 * kPageSize);
  heap().Free(spans[1]);
  Span* first = Large(7);
  EXPECT_EQ(first->start, backed);
  EXPECT_FALSE(first->zeroed);
  EXPECT_TRUE(Large(7)->zeroed);
}

// ---- Alignment ---------------------------------------------------------------------------------

TEST_F(PageHeapTest, AlignsUpToWhatIsAsked) {
  Large(1);  // so that nothing is aligned by itself
  std::vector<Span*> spans;
  for (size_t alignment = 1; alignment <= 64 * kMiB / kPageSize; alignment *= 2) {
    for (const size_t pages : {size_t{1}, size_t{3}, size_t{200}}) {
      Span* span = Large(pages, alignment);
      ASSERT_NE(span, nullptr) << alignment;
      EXPECT_EQ(span->pages, pages);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(AddressOf(span)) % (alignment * kPageSize), 0u);
      EXPECT_TRUE(span->zeroed);
      spans.push_back(span);
      paged_.ExpectConsistent();
    }
  }
  EXPECT_EQ(stats().spans_in_use, spans.size() + 1);
  for (Span* span : spans) heap().Free(span);
  EXPECT_EQ(stats().spans_free, 1u) << "what was cut off in front and behind has merged again";
  EXPECT_EQ(stats().in_use.pages, 1u);
}

TEST_F(PageHeapTest, WhatAlignmentLeavesOverIsUsed) {
  Large(1);
  Span* aligned = Large(4, 16);
  EXPECT_EQ(aligned->start, PageId{16});
  EXPECT_EQ(Large(15)->start, PageId{1}) << "in front";
  EXPECT_EQ(Large(4)->start, PageId{20}) << "behind";
}

TEST_F(PageHeapTest, AnAlignedSpanMayBeOfASizeClass) {
  Large(1);
  Span* span = heap().Allocate({2}, kSomeClass, {8});
  EXPECT_EQ(span->start, PageId{8});
  EXPECT_EQ(heap().map().ClassAt({7}), kNoClass);
  EXPECT_EQ(heap().map().ClassAt({8}), kSomeClass);
  EXPECT_EQ(heap().map().ClassAt({9}), kSomeClass);
  EXPECT_EQ(heap().map().ClassAt({10}), kNoClass);
}

// ---- Growth ------------------------------------------------------------------------------------

class WideHeapTest : public PageHeapTest {
 protected:
  WideHeapTest() : PageHeapTest(33) {}  // 8 GiB
};

// By an eighth of what is committed, at least 2 MiB and at most 64, to the end of a huge page.
TEST_F(WideHeapTest, GrowsInSteps) {
  uint64_t growths = 0;
  while (stats().committed.bytes() < 1600 * kMiB) {
    const size_t before = stats().committed.bytes();
    TakeAll();
    ASSERT_NE(Large(1), nullptr);
    const size_t want = std::clamp(before / 8, 2 * kMiB, 64 * kMiB);
    const size_t end = (before + want + kHugePageSize - 1) / kHugePageSize * kHugePageSize;
    ASSERT_EQ(stats().committed.bytes(), end) << "from " << before;
    ASSERT_EQ(stats().growths, ++growths);
  }
  EXPECT_EQ(stats().committed.bytes() % kHugePageSize, 0u);
  EXPECT_EQ(stats().failed_growths, 0u);
}

TEST_F(WideHeapTest, AtLeastWhatIsNeeded) {
  Large(3 * kMiB / kPageSize);
  EXPECT_EQ(stats().committed.bytes(), 4 * kMiB);
  Large(1000 * kMiB / kPageSize + 1);
  EXPECT_EQ(stats().committed.bytes(), 1006 * kMiB) << "behind the free rest";
  EXPECT_EQ(stats().growths, 2u);
}

TEST_F(WideHeapTest, LargestSpansAndOddLookups) {
  Span* span = Large(5000 * kMiB / kPageSize);
  ASSERT_NE(span, nullptr);
  for (uint32_t page = 0; page < span->pages; page += 1009) {
    ASSERT_EQ(heap().map().SpanAt({page}), span) << page;
  }
  EXPECT_EQ(heap().map().SpanAt({span->pages - 1}), span);
}

TEST_F(PageHeapTest, GrownPagesJoinTheFreeOnesInFront) {
  Large(200);  // leaves 56 of 256
  Span* span = Large(300);
  EXPECT_EQ(span->start, PageId{200});
  EXPECT_TRUE(span->zeroed);
}

TEST_F(PageHeapTest, TriesLessWhenTheKernelRefuses) {
  Large(64 * kMiB / kPageSize);
  ASSERT_EQ(stats().committed.bytes(), 64 * kMiB);
  kernel().FailAbove(FakeKernel::kCommit, 3 * kMiB);
  const int before = kernel().count(FakeKernel::kCommit);
  ASSERT_NE(Large(1), nullptr);
  EXPECT_EQ(stats().committed.bytes(), 66 * kMiB) << "8, 4, then 2 MiB";
  EXPECT_EQ(kernel().count(FakeKernel::kCommit) - before, 3);
  EXPECT_EQ(stats().growths, 2u);
  EXPECT_EQ(stats().failed_growths, 0u);
}

TEST_F(PageHeapTest, TriesDownToTheExactNeed) {
  Large(64 * kMiB / kPageSize);
  kernel().FailAbove(FakeKernel::kCommit, 5 * kPageSize);
  Span* span = Large(5);
  ASSERT_NE(span, nullptr);
  EXPECT_EQ(span->pages, 5u);
  EXPECT_EQ(stats().committed.bytes(), 64 * kMiB + 5 * kPageSize);
  EXPECT_EQ(stats().spans_free, 0u);
  EXPECT_EQ(Large(6), nullptr);
  // When the kernel gives again, growth is back on huge pages.
  kernel().FailNothing();
  ASSERT_NE(Large(6), nullptr);
  EXPECT_EQ(stats().committed.bytes() % kHugePageSize, 0u);
}

TEST_F(PageHeapTest, NothingIsLostWhenGrowthFails) {
  Span* first = Large(250);  // leaves 6 of 256
  Fill(first);
  const PageHeapStats before = stats();
  kernel().FailAbove(FakeKernel::kCommit, 10 * kPageSize - 1);
  EXPECT_EQ(Large(10), nullptr);
  EXPECT_EQ(heap().Allocate({10}, kSomeClass), nullptr);
  EXPECT_EQ(Large(3, 8), nullptr) << "3 + 8 - 1";
  PageHeapStats after = stats();
  EXPECT_EQ(after.failed_growths, 3u);
  EXPECT_EQ(after.growths, before.growths);
  EXPECT_EQ(after.committed, before.committed);
  EXPECT_EQ(after.in_use, before.in_use);
  EXPECT_EQ(after.spans_free, 1u);
  paged_.ExpectConsistent();
  EXPECT_NE(Large(6), nullptr) << "what fits needs no kernel";
  kernel().FailNothing();
  EXPECT_NE(Large(10), nullptr);
  heap().Free(first);
}

TEST_F(PageHeapTest, NothingIsLostWhenTheFirstGrowthFails) {
  // The three arrays of the map, the records, the pages: each refused once.
  for (int refused = 1; refused <= 5; ++refused) {
    SmallSpace small(1, 27);
    PagedRange paged(small);
    small.kernel.FailFrom(FakeKernel::kCommit, refused);
    EXPECT_EQ(paged.pages.Allocate({1}, kNoClass), nullptr);
    EXPECT_EQ(paged.pages.stats().committed.pages, 0u);
    EXPECT_EQ(paged.pages.stats().failed_growths, 1u);
    paged.ExpectConsistent();
    small.kernel.FailNothing();
    EXPECT_NE(paged.pages.Allocate({1}, kNoClass), nullptr);
    paged.ExpectConsistent();
  }
}

class NarrowHeapTest : public PageHeapTest {
 protected:
  NarrowHeapTest() : PageHeapTest(26) {}  // 64 MiB
};

TEST_F(NarrowHeapTest, ServesTheWholeRangeAndNoMore) {
  const size_t reserved = paged_.range.heap.reserved_bytes();
  std::vector<Span*> spans;
  while (Span* span = Large(kMiB / kPageSize)) {
    std::memset(AddressOf(span), 1, 16);
    spans.push_back(span);
  }
  EXPECT_EQ(spans.size(), reserved / kMiB);
  EXPECT_EQ(stats().committed.bytes(), reserved);
  EXPECT_EQ(stats().idle.pages + stats().released.pages, 0u);
  EXPECT_EQ(stats().failed_growths, 1u);
  EXPECT_EQ(Large(1), nullptr);
  // The last pages are pages like all others.
  char* const end = AddressOf(spans.back()) + kMiB;
  EXPECT_EQ(end, paged_.range.heap.start() + reserved);
  end[-1] = 1;
  heap().Free(spans.back());
  heap().Free(spans.front());
  EXPECT_EQ(Large(kMiB / kPageSize + 1), nullptr);
  EXPECT_NE(Large(kMiB / kPageSize), nullptr);
  EXPECT_NE(Large(kMiB / kPageSize), nullptr);
}

TEST_F(NarrowHeapTest, AsksTheKernelForNothingThatCannotBe) {
  Large(1);
  const int before = kernel().count_all();
  const size_t reserved = paged_.range.heap.reserved_bytes() / kPageSize;
  for (const size_t pages :
       {reserved + 1, size_t{UINT32_MAX}, size_t{1} << 32, LengthOf(SIZE_MAX).pages}) {
    EXPECT_EQ(Large(pages), nullptr) << pages;
    EXPECT_EQ(Large(pages, 64), nullptr) << pages;
  }
  EXPECT_EQ(Large(1, reserved * 2), nullptr);
  EXPECT_EQ(Large(1, size_t{1} << 50), nullptr);
  EXPECT_EQ(kernel().count_all(), before);
  EXPECT_EQ(stats().failed_growths, 10u);
}

TEST_F(NarrowHeapTest, TheLastStepIsWhatIsLeft) {
  const size_t reserved = paged_.range.heap.reserved_bytes() / kPageSize;
  Large(reserved - 300);
  TakeAll();
  Large(1);
  EXPECT_EQ(stats().committed.pages, reserved);
}

// Nodes that must not be overdrawn: the node's free memory decides.
TEST_F(PageHeapTest, ChecksTheNodeBeforeItGrows) {
  Large(64 * kMiB / kPageSize);
  kernel().SetFreeBytes({3}, 3 * kMiB);
  ASSERT_NE(Large(1), nullptr) << "not told to look yet";
  EXPECT_EQ(stats().committed.bytes(), 72 * kMiB);
  TakeAll();

  heap().CheckNodeBeforeGrowth({3});
  const int commits = kernel().count(FakeKernel::kCommit);
  EXPECT_EQ(Large(3 * kMiB / kPageSize + 1), nullptr);
  EXPECT_EQ(kernel().count(FakeKernel::kCommit), commits) << "not even asked";
  EXPECT_EQ(stats().failed_growths, 1u);
  Span* fits = Large(3 * kMiB / kPageSize);
  ASSERT_NE(fits, nullptr);
  EXPECT_EQ(stats().committed.bytes(), 75 * kMiB) << "no more than the need";

  kernel().SetFreeBytes({3}, 0);
  EXPECT_EQ(Large(1), nullptr);
  EXPECT_FALSE(heap().GrowInPlace(fits, fits->length() + Length{1}));
  heap().Free(fits);
  EXPECT_NE(Large(1), nullptr) << "what is committed may be used";
  TakeAll();
  heap().CheckNodeBeforeGrowth(kNoNode);
  EXPECT_NE(Large(1), nullptr) << "told to look no more";
}

TEST_F(PageHeapTest, ACheckedNodePutsMemoryBehindPagesFirst) {
  kernel().SetFreeBytes({3}, 100 * kMiB);
  heap().CheckNodeBeforeGrowth({3});
  Span* span = Large(100);
  ASSERT_NE(span, nullptr);
  EXPECT_TRUE(span->zeroed);
  EXPECT_EQ(kernel().count(FakeKernel::kPopulate), 1);
  heap().Free(span);
  kernel().SetFreeBytes({3}, 0);
  span = Large(100);
  ASSERT_NE(span, nullptr) << "idle pages have memory";
  EXPECT_EQ(kernel().count(FakeKernel::kPopulate), 1);

  heap().Free(span);
  heap().ReleaseIdle(UINT64_MAX, kEverything);
  kernel().SetFreeBytes({3}, 100 * kPageSize - 1);
  EXPECT_EQ(Large(100), nullptr) << "released ones have not";
  kernel().SetFreeBytes({3}, 100 * kMiB);
  kernel().FailFrom(FakeKernel::kPopulate, 1, ENOMEM);
  EXPECT_EQ(Large(100), nullptr);
  kernel().FailFrom(FakeKernel::kPopulate, 1, EINVAL);
  EXPECT_NE(Large(100), nullptr) << "a kernel that can't do it";
}

// ---- Zero or not -------------------------------------------------------------------------------

TEST_F(PageHeapTest, ZeroedMeansEveryByte) {
  Span* span = Large(300);
  EXPECT_TRUE(span->zeroed) << "fresh";
  EXPECT_TRUE(Zero(span));
  Fill(span);
  heap().Free(span);

  span = Large(300);
  EXPECT_EQ(span->start, PageId{0});
  EXPECT_FALSE(span->zeroed) << "idle pages keep what was written";
  heap().Free(span);

  EXPECT_EQ(heap().ReleaseIdle(UINT64_MAX, kEverything), 300 * kPageSize);
  span = Large(300);
  EXPECT_EQ(span->start, PageId{0});
  EXPECT_TRUE(span->zeroed) << "released pages are as good as fresh";
  EXPECT_TRUE(Zero(span));
}

TEST_F(PageHeapTest, OnePageThatIsNotReleasedSpoilsTheSpan) {
  Span* spans[3] = {Large(4), Large(1), Large(4)};
  Large(1);
  for (Span* span : spans) Fill(span);
  heap().Free(spans[0]);
  heap().Free(spans[2]);
  heap().ReleaseIdle(UINT64_MAX, kEverything);
  heap().Free(spans[1]);  // idle, between released ones
  Span* whole = Large(9);
  EXPECT_EQ(whole->start, PageId{0});
  EXPECT_FALSE(whole->zeroed);
}

// The released bits say which pages of a cut span are zero.
TEST_F(PageHeapTest, CutsKnowWhichPagesAreReleased) {
  Span* spans[3] = {Large(4), Large(2), Large(4)};
  Large(1);
  TakeAll();
  for (Span* span : spans) Fill(span);
  heap().Free(spans[0]);
  heap().Free(spans[2]);
  heap().ReleaseIdle(UINT64_MAX, kEverything);
  heap().Free(spans[1]);
  // 4 released, 2 idle, 4 released.
  EXPECT_EQ(stats().released.pages, 8u);
  EXPECT_EQ(stats().idle.pages, 2u);
  EXPECT_EQ(ReleasedBits({0}, 4), 4u);
  EXPECT_EQ(ReleasedBits({4}, 2), 0u);
  EXPECT_EQ(ReleasedBits({6}, 4), 4u);

  Span* front = Large(3);
  EXPECT_TRUE(front->zeroed);
  EXPECT_TRUE(Zero(front));
  EXPECT_EQ(ReleasedBits({0}, 3), 0u) << "in use";
  Span* middle = Large(2);
  EXPECT_FALSE(middle->zeroed) << "a released page and an idle one";
  Span* rest = Large(1);
  EXPECT_FALSE(rest->zeroed);
  Span* back = Large(4);
  EXPECT_EQ(back->start, PageId{6});
  EXPECT_TRUE(back->zeroed);
  EXPECT_TRUE(Zero(back));
}

// ---- Growing and shrinking in place ------------------------------------------------------------

TEST_F(PageHeapTest, GrowsIntoTheFreePagesBehind) {
  Span* span = Large(10);
  Span* behind = Large(20);
  Large(1);
  Fill(span);
  heap().Free(behind);
  ASSERT_TRUE(heap().GrowInPlace(span, {25})) << "part of the hole";
  EXPECT_EQ(span->pages, 25u);
  EXPECT_EQ(stats().large.pages, 26u);
  EXPECT_EQ(heap().map().SpanAt({24}), span);
  EXPECT_NE(heap().map().SpanAt({25}), span);
  paged_.ExpectConsistent();
  ASSERT_TRUE(heap().GrowInPlace(span, {30})) << "all of it";
  paged_.ExpectConsistent();
  EXPECT_FALSE(heap().GrowInPlace(span, {31})) << "in use behind";
  EXPECT_EQ(span->pages, 30u);
  EXPECT_EQ(static_cast<unsigned char>(AddressOf(span)[10 * kPageSize - 1]), 0xa5);
  heap().Free(span);
}

TEST_F(PageHeapTest, DoesNotGrowIntoAHoleThatIsTooSmall) {
  Span* span = Large(10);
  Span* behind = Large(5);
  Large(1);
  heap().Free(behind);
  const PageHeapStats before = stats();
  EXPECT_FALSE(heap().GrowInPlace(span, {16}));
  EXPECT_FALSE(heap().GrowInPlace(span, {size_t{1} << 40}));
  EXPECT_EQ(span->pages, 10u);
  EXPECT_EQ(stats().in_use, before.in_use);
  EXPECT_EQ(stats().spans_free, before.spans_free);
  EXPECT_TRUE(heap().GrowInPlace(span, {15}));
}

TEST_F(PageHeapTest, AGrownSpanIsNotZeroed) {
  Span* span = Large(10);
  Span* behind = Large(10);
  Fill(behind);
  heap().Free(behind);
  EXPECT_TRUE(span->zeroed);
  ASSERT_TRUE(heap().GrowInPlace(span, {15}));
  EXPECT_FALSE(span->zeroed);
}

TEST_F(PageHeapTest, GrowsIntoPagesWithoutMemory) {
  Span* span = Large(10);
  Span* behind = Large(10);
  Large(1);
  Fill(behind);
  heap().Free(behind);
  heap().ReleaseIdle(UINT64_MAX, kEverything);
  EXPECT_EQ(ReleasedBits({10}, 10), 10u);
  ASSERT_TRUE(heap().GrowInPlace(span, {14}));
  EXPECT_EQ(ReleasedBits({10}, 4), 0u);
  EXPECT_EQ(ReleasedBits({14}, 6), 6u);
  EXPECT_TRUE(IsZero(AddressOf(span) + 10 * kPageSize, 4 * kPageSize));
  Fill(span);
}

TEST_F(PageHeapTest, GrowsPastTheCommittedEnd) {
  Span* span = Large(256);  // exactly what is committed
  ASSERT_EQ(stats().committed.pages, 256u);
  kernel().FailFrom(FakeKernel::kCommit, 1);
  EXPECT_FALSE(heap().GrowInPlace(span, {300}));
  EXPECT_EQ(stats().committed.pages, 256u);
  EXPECT_EQ(stats().failed_growths, 1u);
  kernel().FailNothing();
  ASSERT_TRUE(heap().GrowInPlace(span, {300}));
  EXPECT_EQ(span->pages, 300u);
  EXPECT_GT(stats().committed.pages, 300u);
  ASSERT_TRUE(heap().GrowInPlace(span, stats().committed)) << "to the end";
  ASSERT_TRUE(heap().GrowInPlace(span, span->length() + Length{1})) << "and by one page past it";
  Fill(span);
}

TEST_F(PageHeapTest, GrowsPastAShortRestAtTheCommittedEnd) {
  Span* span = Large(250);
  kernel().FailFrom(FakeKernel::kCommit, 1);
  EXPECT_FALSE(heap().GrowInPlace(span, {257}));
  EXPECT_EQ(span->pages, 250u);
  EXPECT_EQ(stats().spans_free, 1u);
  paged_.ExpectConsistent();
  kernel().FailNothing();
  ASSERT_TRUE(heap().GrowInPlace(span, {257}));
  EXPECT_EQ(span->pages, 257u);
  EXPECT_EQ(stats().spans_free, 1u);
  EXPECT_EQ(stats().growths, 2u);
}

TEST_F(NarrowHeapTest, DoesNotGrowPastTheRange) {
  const size_t reserved = paged_.range.heap.reserved_bytes() / kPageSize;
  Span* span = Large(reserved - 1);
  EXPECT_FALSE(heap().GrowInPlace(span, {reserved + 1}));
  ASSERT_TRUE(heap().GrowInPlace(span, {reserved}));
  EXPECT_EQ(stats().spans_free, 0u);
  EXPECT_FALSE(heap().GrowInPlace(span, {reserved + 1}));
  heap().Shrink(span, {1});
  EXPECT_EQ(stats().in_use.pages, 1u);
}

TEST_F(PageHeapTest, ShrinksAndGivesTheRestBack) {
  Span* span = Large(300);
  Span* next = Large(1);
  TakeAll();
  Fill(span);
  heap().Shrink(span, {200});
  EXPECT_EQ(span->pages, 200u);
  EXPECT_EQ(stats().idle.pages, 100u);
  EXPECT_EQ(stats().spans_free, 1u);
  EXPECT_EQ(heap().map().SpanAt({199}), span);
  paged_.ExpectConsistent();
  heap().Shrink(span, {1});
  EXPECT_EQ(stats().idle.pages, 299u);
  EXPECT_EQ(stats().spans_free, 1u) << "with what was cut off before";
  EXPECT_EQ(stats().spans_in_use, 3u);
  heap().Free(next);
  EXPECT_EQ(stats().spans_free, 1u) << "and with what is freed behind";
  EXPECT_EQ(static_cast<unsigned char>(AddressOf(span)[kPageSize - 1]), 0xa5);
  ASSERT_TRUE(heap().GrowInPlace(span, {301})) << "there and back";
}

TEST_F(PageHeapTest, WhatIsCutOffIsAsYoungAsTheCut) {
  Span* span = Large(10);
  TakeAll();
  kernel().SetNow(5'000'000);
  heap().Shrink(span, {4});
  EXPECT_EQ(heap().ReleaseIdle(4'999'999, kEverything), 0u);
  EXPECT_EQ(heap().ReleaseIdle(5'000'000, kEverything), 6 * kPageSize);
}

// ---- Without memory for records ----------------------------------------------------------------

TEST_F(PageHeapTest, WithoutRecordsOnlyWholeSpansMove) {
  const std::vector<Span*> spans = Separated({10, 20});
  TakeAll();
  Span* const first = spans[0];
  heap().Free(spans[1]);  // merges with nothing and keeps its record
  paged_.UseUpRecords(kernel());

  EXPECT_EQ(Large(5), nullptr) << "there is a hole, but it can't be cut";
  EXPECT_EQ(Large(5, 4), nullptr);
  heap().Shrink(first, {3});
  EXPECT_EQ(first->pages, 10u) << "the pages stay with the object";
  EXPECT_EQ(stats().spans_free, 1u);
  paged_.ExpectConsistent();
  heap().Free(separators_[0]);
  EXPECT_EQ(stats().spans_free, 1u) << "merged, which sets a record free";
  EXPECT_TRUE(heap().GrowInPlace(first, {12})) << "which this takes and returns";
  EXPECT_TRUE(heap().GrowInPlace(first, {31})) << "all of it, so this needs none";
  paged_.ExpectConsistent();
  kernel().FailNothing();
  heap().Shrink(first, {3});
  EXPECT_EQ(first->pages, 3u);
}

TEST_F(PageHeapTest, WithoutRecordsNothingGrowsByPart) {
  Span* span = Large(1);  // and 255 free pages behind
  paged_.UseUpRecords(kernel());
  EXPECT_FALSE(heap().GrowInPlace(span, {2}));
  EXPECT_EQ(span->pages, 1u);
  EXPECT_EQ(stats().in_use.pages, 1u);
  paged_.ExpectConsistent();
  EXPECT_TRUE(heap().GrowInPlace(span, {256}));
}

// An aligned span takes three cuts: off the hole, in front, behind. Each of them may be the one
// that fails.
TEST(PageHeapRecordsTest, AlignedCutsComeApartAgain) {
  for (size_t records = 0; records <= 3; ++records) {
    SmallSpace small(1, 28);
    PagedRange paged(small);
    PageHeap& heap = paged.pages;
    heap.Allocate({2}, kNoClass);
    std::vector<Span*> merged;
    for (size_t i = 0; i < records; ++i) merged.push_back(heap.Allocate({1}, kNoClass));
    paged.UseUpRecords(small.kernel);
    // Each that is freed into the hole behind leaves its record.
    for (; !merged.empty(); merged.pop_back()) heap.Free(merged.back());
    ASSERT_EQ(heap.stats().spans_free, 1u);

    Span* span = heap.Allocate({16}, kNoClass, {32});
    paged.ExpectConsistent();
    EXPECT_EQ(span != nullptr, records == 3) << records;
    EXPECT_EQ(heap.stats().in_use.pages, span != nullptr ? 18u : 2u);
    if (span != nullptr) {
      EXPECT_EQ(span->start, PageId{32});
      heap.Free(span);
    }
    EXPECT_EQ(heap.stats().spans_free, 1u);
    EXPECT_EQ(heap.map().SpanAt({2})->pages, 254u);
    paged.ExpectConsistent();
  }
}

// ---- Giving back to the kernel -----------------------------------------------------------------

TEST_F(PageHeapTest, ReleasesWhatIsOldEnough) {
  const std::vector<Span*> spans = Separated({3, 200, 5});
  TakeAll();
  kernel().SetNow(1'000);
  heap().Free(spans[0]);
  kernel().SetNow(2'000);
  heap().Free(spans[1]);
  kernel().SetNow(3'000);
  heap().Free(spans[2]);

  EXPECT_EQ(heap().ReleaseIdle(999, kEverything), 0u);
  EXPECT_EQ(kernel().count(FakeKernel::kRelease), 0);
  EXPECT_EQ(heap().ReleaseIdle(1'000, kEverything), 3 * kPageSize) << "the cutoff itself is old";
  EXPECT_EQ(heap().ReleaseIdle(2'999, kEverything), 200 * kPageSize);
  EXPECT_EQ(stats().idle.pages, 5u);
  EXPECT_EQ(stats().released.pages, 203u);
  EXPECT_EQ(stats().scavenged_bytes, 203 * kPageSize);
  EXPECT_EQ(kernel().released_bytes(), 203 * kPageSize);
  EXPECT_EQ(kernel().count(FakeKernel::kRelease), 2);
  EXPECT_EQ(heap().ReleaseIdle(UINT64_MAX, kEverything), 5 * kPageSize);
  EXPECT_EQ(heap().ReleaseIdle(UINT64_MAX, kEverything), 0u) << "nothing is released twice";
  EXPECT_EQ(kernel().count(FakeKernel::kRelease), 3);
}

TEST_F(PageHeapTest, StopsAfterTheSpanThatPassesTheLimit) {
  const std::vector<Span*> spans = Separated({4, 4, 4, 4});
  TakeAll();
  for (Span* span : spans) heap().Free(span);
  EXPECT_EQ(heap().ReleaseIdle(UINT64_MAX, 0), 0u);
  EXPECT_EQ(heap().ReleaseIdle(UINT64_MAX, 1), 4 * kPageSize);
  EXPECT_EQ(heap().ReleaseIdle(UINT64_MAX, 4 * kPageSize + 1), 8 * kPageSize);
  EXPECT_EQ(stats().idle.pages, 4u);
  EXPECT_EQ(heap().ReleaseIdle(UINT64_MAX, 4 * kPageSize), 4 * kPageSize);
}

TEST_F(PageHeapTest, AsksOnlyForWhatHasMemory) {
  Span* spans[5] = {Large(4), Large(3), Large(2), Large(3), Large(4)};
  Large(1);
  TakeAll();
  heap().Free(spans[1]);
  heap().Free(spans[3]);
  ASSERT_EQ(heap().ReleaseIdle(UINT64_MAX, kEverything), 6 * kPageSize);
  for (const int i : {0, 2, 4}) heap().Free(spans[i]);
  ASSERT_EQ(stats().spans_free, 1u);
  const int before = kernel().count(FakeKernel::kRelease);
  EXPECT_EQ(heap().ReleaseIdle(UINT64_MAX, kEverything), 10 * kPageSize);
  EXPECT_EQ(kernel().count(FakeKernel::kRelease) - before, 3) << "one call a run";
  EXPECT_EQ(kernel().released_bytes(), 16 * kPageSize);
  EXPECT_EQ(ReleasedBits({0}, 16), 16u);
}

TEST_F(PageHeapTest, WhatTheKernelRefusesStaysIdle) {
  Span* span = Large(10);
  TakeAll();
  Fill(span);
  kernel().SetNow(1'000);
  heap().Free(span);
  kernel().SetNow(9'000);
  kernel().FailFrom(FakeKernel::kRelease, 1, EINVAL);
  EXPECT_EQ(heap().ReleaseIdle(5'000, kEverything), 0u);
  EXPECT_EQ(stats().idle.pages, 10u);
  EXPECT_EQ(stats().released.pages, 0u);
  EXPECT_EQ(stats().scavenged_bytes, 0u);
  paged_.ExpectConsistent();
  const int before = kernel().count(FakeKernel::kRelease);
  EXPECT_EQ(heap().ReleaseIdle(5'000, kEverything), 0u);
  EXPECT_EQ(kernel().count(FakeKernel::kRelease), before) << "not asked again at once";
  kernel().FailNothing();
  span = Large(10);
  EXPECT_FALSE(span->zeroed);
  EXPECT_EQ(static_cast<unsigned char>(*AddressOf(span)), 0xa5);
  heap().Free(span);
  EXPECT_EQ(heap().ReleaseIdle(9'000, kEverything), 10 * kPageSize);
}

TEST_F(PageHeapTest, WhatWasReleasedBeforeARefusalStaysReleased) {
  Span* spans[3] = {Large(4), Large(3), Large(2)};
  Large(1);
  TakeAll();
  heap().Free(spans[1]);
  ASSERT_EQ(heap().ReleaseIdle(UINT64_MAX, kEverything), 3 * kPageSize);
  heap().Free(spans[0]);
  heap().Free(spans[2]);
  kernel().FailFrom(FakeKernel::kRelease, 2, EINVAL);
  EXPECT_EQ(heap().ReleaseIdle(UINT64_MAX, kEverything), 4 * kPageSize);
  EXPECT_EQ(stats().released.pages, 7u);
  EXPECT_EQ(stats().idle.pages, 2u);
  EXPECT_EQ(ReleasedBits({0}, 7), 7u);
  EXPECT_EQ(ReleasedBits({7}, 2), 0u);
}

TEST_F(PageHeapTest, MergedSpansAreAsOldAsTheirPagesOnAverage) {
  Span* spans[3] = {Large(10), Large(10), Large(60)};
  Large(1);
  TakeAll();
  kernel().SetNow(1'000);
  heap().Free(spans[0]);
  kernel().SetNow(2'000);
  heap().Free(spans[1]);
  EXPECT_EQ(heap().ReleaseIdle(1'499, kEverything), 0u);
  kernel().SetNow(3'100);
  heap().Free(spans[2]);  // (20 * 1500 + 60 * 3100) / 80
  EXPECT_EQ(heap().ReleaseIdle(2'699, kEverything), 0u);
  EXPECT_EQ(heap().ReleaseIdle(2'700, kEverything), 80 * kPageSize);
}

TEST_F(PageHeapTest, ReleasedPagesHaveNoAge) {
  Span* spans[2] = {Large(100), Large(10)};
  Large(1);
  TakeAll();
  kernel().SetNow(1'000);
  heap().Free(spans[0]);
  heap().ReleaseIdle(1'000, kEverything);
  kernel().SetNow(2'000);
  heap().Free(spans[1]);
  ASSERT_EQ(stats().spans_free, 1u);
  EXPECT_EQ(heap().ReleaseIdle(1'999, kEverything), 0u) << "its idle pages are young";
  EXPECT_EQ(heap().ReleaseIdle(2'000, kEverything), 10 * kPageSize);
}

// More young spans than are looked at in one hold of the lock, with old ones among them.
TEST_F(PageHeapTest, FindsOldSpansAmongManyYoungOnes) {
  const std::vector<Span*> spans = Separated(std::vector<size_t>(1000, 1));
  TakeAll();
  for (size_t i = 0; i < spans.size(); ++i) {
    kernel().SetNow(i % 400 == 399 ? 1'000 : 9'000);
    heap().Free(spans[i]);
  }
  EXPECT_EQ(heap().ReleaseIdle(5'000, kEverything), 2 * kPageSize);
  EXPECT_EQ(stats().idle.pages, 998u);
  EXPECT_EQ(heap().ReleaseIdle(5'000, kEverything), 0u);
  EXPECT_EQ(heap().ReleaseIdle(9'000, kEverything), 998 * kPageSize);
}

// A huge span goes back piece by piece; the rest can be had meanwhile.
TEST_F(PageHeapTest, ReleasesHugeSpansInPieces) {
  constexpr size_t kPiece = 32 * kMiB;
  Span* span = Large(100 * kMiB / kPageSize);
  Span* next = Large(1);
  TakeAll();
  heap().Free(span);
  EXPECT_EQ(heap().ReleaseIdle(UINT64_MAX, 1), kPiece);
  EXPECT_EQ(stats().spans_free, 1u) << "whole again";
  EXPECT_EQ(stats().released.bytes(), kPiece);
  EXPECT_EQ(ReleasedBits({0}, kPiece / kPageSize), kPiece / kPageSize);
  EXPECT_EQ(heap().ReleaseIdle(UINT64_MAX, kPiece), kPiece) << "the next one";
  EXPECT_EQ(kernel().count(FakeKernel::kRelease), 2);
  heap().Free(next);
  EXPECT_EQ(heap().ReleaseIdle(UINT64_MAX, kEverything), 36 * kMiB + kPageSize);
  EXPECT_EQ(kernel().count(FakeKernel::kRelease), 4);
  EXPECT_EQ(stats().idle.pages, 0u);
}

TEST_F(PageHeapTest, ARefusedPieceEndsTheRound) {
  Span* span = Large(100 * kMiB / kPageSize);
  TakeAll();
  heap().Free(span);
  kernel().FailFrom(FakeKernel::kRelease, 2, EINVAL);
  EXPECT_EQ(heap().ReleaseIdle(UINT64_MAX, kEverything), 32 * kMiB);
  EXPECT_EQ(kernel().count(FakeKernel::kRelease), 2);
  EXPECT_EQ(stats().idle.bytes(), 68 * kMiB);
  EXPECT_EQ(stats().spans_free, 1u);
}

TEST_F(PageHeapTest, WithoutRecordsAHugeSpanIsReleasedWhole) {
  Span* span = Large(100 * kMiB / kPageSize);
  TakeAll();
  heap().Free(span);
  paged_.UseUpRecords(kernel());
  EXPECT_EQ(heap().ReleaseIdle(UINT64_MAX, 1), 100 * kMiB);
  EXPECT_EQ(stats().idle.pages, 0u);
}

// ---- While the kernel takes memory back --------------------------------------------------------

// In front of the fake one: something happens during each Release().
class InterruptingKernel final : public Kernel {
 public:
  explicit InterruptingKernel(Kernel& kernel) : kernel_(kernel) {}
  std::function<void()> during_release = [] {};

  void* Reserve(void* at, size_t bytes, int* error) override {
    return kernel_.Reserve(at, bytes, error);
  }
  void Unreserve(void* start, size_t bytes) override { kernel_.Unreserve(start, bytes); }
  int MakeReadable(void* start, size_t bytes) override {
    return kernel_.MakeReadable(start, bytes);
  }
  int Commit(void* start, size_t bytes) override { return kernel_.Commit(start, bytes); }
  int Populate(void* start, size_t bytes) override { return kernel_.Populate(start, bytes); }
  int Release(void* start, size_t bytes) override {
    during_release();
    return kernel_.Release(start, bytes);
  }
  int Advise(void* start, size_t bytes, Advice advice) override {
    return kernel_.Advise(start, bytes, advice);
  }
  int SetPolicy(void* start, size_t bytes, Policy policy, const NodeId* nodes, int count) override {
    return kernel_.SetPolicy(start, bytes, policy, nodes, count);
  }
  uint64_t FreeBytes(NodeId node) override { return kernel_.FreeBytes(node); }
  int PageNodes(const void* const* pages, size_t count, int* nodes) override {
    return kernel_.PageNodes(pages, count, nodes);
  }
  int MovePages(const void* const* pages, size_t count, NodeId node, int* nodes) override {
    return kernel_.MovePages(pages, count, node, nodes);
  }
  int MappedBytes(const void* start, size_t bytes, NodeId node, uint64_t* there,
                  uint64_t* elsewhere) override {
    return kernel_.MappedBytes(start, bytes, node, there, elsewhere);
  }
  CpuId CurrentCpu() override { return kernel_.CurrentCpu(); }
  NodeId CurrentNode() override { return kernel_.CurrentNode(); }
  int InterruptSequences(CpuId cpu) override { return kernel_.InterruptSequences(cpu); }
  uint64_t NowMs() override { return kernel_.NowMs(); }

 private:
  Kernel& kernel_;
};

TEST(PageHeapDuringReleaseTest, TheHeapGoesOnAroundTheSpan) {
  SmallSpace small;
  InterruptingKernel kernel(small.kernel);
  PagedRange paged(small, kernel);
  PageHeap& heap = paged.pages;
  Span* before = heap.Allocate({10}, kNoClass);
  Span* span = heap.Allocate({20}, kNoClass);
  Span* behind = heap.Allocate({30}, kNoClass);
  Span* last = heap.Allocate({196}, kNoClass);  // to the committed end
  for (Span* each : {before, span, behind}) {
    std::memset(paged.AddressOf(each), 0xa5, each->length().bytes());
  }
  heap.Free(span);

  int releases = 0;
  kernel.during_release = [&] {
    if (++releases > 1) return;
    paged.ExpectConsistent();
    EXPECT_EQ(heap.stats().idle.pages, 20u) << "until the kernel has it, it is idle";
    EXPECT_FALSE(heap.GrowInPlace(before, {11})) << "the pages behind are not to be had";
    Span* other = heap.Allocate({20}, kNoClass);
    ASSERT_NE(other, nullptr);
    EXPECT_GE(other->start, last->start) << "the span is not handed out";
    heap.Free(before);
    heap.Free(behind);
    EXPECT_EQ(heap.ReleaseIdle(UINT64_MAX, SIZE_MAX), 40 * kPageSize) << "another scavenger, say";
    paged.ExpectConsistent();
    heap.Free(other);
  };
  EXPECT_EQ(heap.ReleaseIdle(UINT64_MAX, 1), 20 * kPageSize);
  EXPECT_EQ(heap.map().SpanAt({0}), heap.map().SpanAt({59})) << "merged when it came back";
  paged.ExpectConsistent();
  kernel.during_release = [] {};
  heap.ReleaseIdle(UINT64_MAX, SIZE_MAX);
  Span* whole = heap.Allocate({60}, kNoClass);
  ASSERT_NE(whole, nullptr);
  EXPECT_EQ(whole->start, PageId{0});
  EXPECT_TRUE(whole->zeroed);
  EXPECT_TRUE(IsZero(paged.AddressOf(whole), 60 * kPageSize));
}

TEST(PageHeapDuringReleaseTest, TheHeapGrowsBehindTheSpan) {
  SmallSpace small;
  InterruptingKernel kernel(small.kernel);
  PagedRange paged(small, kernel);
  PageHeap& heap = paged.pages;
  Span* span = heap.Allocate({256}, kNoClass);  // all that is committed
  heap.Free(span);
  Span* grown = nullptr;
  kernel.during_release = [&] { grown = heap.Allocate({256}, kNoClass); };
  EXPECT_EQ(heap.ReleaseIdle(UINT64_MAX, SIZE_MAX), 256 * kPageSize);
  ASSERT_NE(grown, nullptr);
  EXPECT_EQ(grown->start, PageId{256});
  kernel.during_release = [] {};
  heap.Free(grown);
  EXPECT_EQ(heap.stats().spans_free, 1u);
  paged.ExpectConsistent();
}

// ---- Faults everywhere -------------------------------------------------------------------------

// A life of a heap that asks the kernel for everything it ever asks for.
void LiveThrough(FakeKernel& kernel, PagedRange& paged) {
  PageHeap& heap = paged.pages;
  std::vector<Span*> spans;
  const auto keep = [&](Span* span) {
    if (span == nullptr) return;
    char* start = paged.AddressOf(span);
    const size_t bytes = span->length().bytes();
    EXPECT_TRUE(!span->zeroed || IsZero(start, bytes));
    std::memset(start, 0xa5, bytes);
    spans.push_back(span);
  };
  // So that the records need a second step of the arena.
  paged.arena.Allocate(56 << 10);
  for (int i = 0; i < 120; ++i) keep(heap.Allocate({1}, i % 2 == 0 ? kSomeClass : kNoClass));
  keep(heap.Allocate({300}, kNoClass));
  keep(heap.Allocate({10}, kNoClass, {512}));
  for (size_t i = 0; i < spans.size(); i += 3) {
    heap.Free(spans[i]);
    spans[i] = nullptr;
  }
  paged.ExpectConsistent();
  kernel.SetNow(kernel.NowMs() + 1'000);
  heap.ReleaseIdle(kernel.NowMs(), 64 * kPageSize);
  for (Span* span : spans) {
    if (span == nullptr || span->state != SpanState::kLarge) continue;
    const Length n = span->length();
    const bool grown = heap.GrowInPlace(span, n + Length{1});
    EXPECT_EQ(span->length(), n + Length{grown ? size_t{1} : size_t{0}});
  }
  for (Span* span : spans) {
    if (span != nullptr && span->state == SpanState::kLarge && span->pages > 1) {
      heap.Shrink(span, {1});
    }
  }
  paged.ExpectConsistent();
  heap.ReleaseIdle(kernel.NowMs(), SIZE_MAX);
  keep(heap.Allocate({350}, kNoClass));
  for (Span* span : spans) {
    if (span != nullptr) heap.Free(span);
  }
  paged.ExpectConsistent();
}

TEST(PageHeapFaultTest, TheNthCallOfALifeIsRefused) {
  for (int n = 1;; ++n) {
    SmallSpace small(1, 28);
    PagedRange paged(small);
    const int before = small.kernel.count_all();
    small.kernel.FailOnce(n);
    LiveThrough(small.kernel, paged);
    ASSERT_FALSE(testing::Test::HasFailure()) << n;
    const bool refused = small.kernel.count_all() - before >= n;
    small.kernel.FailNothing();

    const PageHeapStats stats = paged.pages.stats();
    EXPECT_EQ(stats.in_use.pages, 0u) << n;
    EXPECT_EQ(stats.large.pages, 0u) << n;
    EXPECT_EQ(stats.spans_free, stats.committed.pages > 0) << n << ": one free span";
    Span* whole = paged.pages.Allocate(stats.committed + Length{1}, kNoClass);
    ASSERT_NE(whole, nullptr) << n;
    EXPECT_EQ(whole->start, PageId{0}) << n;
    paged.ExpectConsistent();
    if (!refused) {
      EXPECT_GT(n, 20) << "a life of many calls";
      break;
    }
  }
}

// ---- Threads -----------------------------------------------------------------------------------

TEST(PageHeapThreadsTest, OwnersScavengersAndReaders) {
  SmallSpace small(1, 28);
  PagedRange paged(small);
  PageHeap& heap = paged.pages;
  constexpr int kOwners = 3;
  constexpr int kSteps = 4'000;
  std::atomic<int> owners_left{kOwners};

  const auto own = [&](int me) {
    std::mt19937 random(static_cast<unsigned>(me) + 1);
    std::vector<Span*> mine;
    const auto stamp = [&](Span* span) {
      for (uint32_t page = 0; page < span->pages; ++page) {
        std::memset(heap.map().AddressOf(span->start + Length{page}), me + 1, 8);
      }
    };
    const auto check = [&](Span* span, uint32_t pages) {
      const uint64_t expected = 0x0101010101010101u * static_cast<unsigned>(me + 1);
      for (uint32_t page = 0; page < pages; ++page) {
        uint64_t found;
        std::memcpy(&found, heap.map().AddressOf(span->start + Length{page}), 8);
        ASSERT_EQ(found, expected) << "someone else wrote into it";
      }
    };
    for (int step = 0; step < kSteps; ++step) {
      if (mine.size() < 30 && random() % 2 == 0) {
        const size_t pages = 1 + random() % (random() % 8 == 0 ? 300 : 8);
        const SizeClass c = random() % 2 == 0 && pages < 9 ? kSomeClass : kNoClass;
        Span* span = heap.Allocate({pages}, c, {size_t{1} << (random() % 4)});
        if (span == nullptr) continue;
        if (span->zeroed) {
          ASSERT_TRUE(IsZero(paged.AddressOf(span), span->length().bytes()));
        }
        stamp(span);
        mine.push_back(span);
        continue;
      }
      if (mine.empty()) continue;
      const size_t i = random() % mine.size();
      Span* span = mine[i];
      if (span->state == SpanState::kLarge && random() % 3 == 0) {
        const uint32_t pages = span->pages;
        if (random() % 2 == 0) {
          if (heap.GrowInPlace(span, span->length() + Length{1 + random() % 10})) stamp(span);
          check(span, pages);
        } else if (pages > 1) {
          heap.Shrink(span, {1 + random() % (pages - 1)});
          check(span, span->pages);
        }
        continue;
      }
      check(span, span->pages);
      ASSERT_EQ(heap.map().SpanAt(span->start), span);
      heap.Free(span);
      mine[i] = mine.back();
      mine.pop_back();
    }
    for (Span* span : mine) heap.Free(span);
    --owners_left;
  };

  std::vector<std::thread> threads;
  for (int i = 0; i < kOwners; ++i) threads.emplace_back(own, i);
  // Two at once: a span must be released by one of them only.
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      while (owners_left > 0) {
        small.kernel.SetNow(small.kernel.NowMs() + 1);
        heap.ReleaseIdle(small.kernel.NowMs(), i == 0 ? 1 : SIZE_MAX);
      }
    });
  }
  threads.emplace_back([&] {
    while (owners_left > 0) {
      const PageHeapStats stats = heap.stats();
      ASSERT_EQ(stats.in_use + stats.idle + stats.released, stats.committed);
      heap.CheckInvariants();
    }
  });
  for (std::thread& thread : threads) thread.join();

  paged.ExpectConsistent();
  const PageHeapStats stats = heap.stats();
  EXPECT_EQ(stats.in_use.pages, 0u);
  EXPECT_EQ(stats.spans_free, 1u);
  EXPECT_EQ(stats.scavenged_bytes, small.kernel.released_bytes());
}

}  // namespace
}  // namespace numaheap
