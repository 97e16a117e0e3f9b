// The arrays over the pages of one heap: what is found where, and that stale entries mislead
// nobody.
#include "src/heap/page_map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "src/heap/metadata_arena.h"
#include "tests/heap/small_space.h"

namespace numaheap {
namespace {

class PageMapTest : public testing::Test {
 protected:
  static constexpr size_t kPages = 4096;  // 32 MiB

  PageMapTest()
      : range_(small_.space.RangeStart(0), small_.space.range_bytes(), 0),
        arena_(small_.kernel, range_.arena),
        map_(range_) {
    EXPECT_EQ(small_.kernel.MakeReadable(range_.page_classes.start(),
                                         range_.page_classes.reserved_bytes()),
              0);
  }

  void CommitAll() {
    ASSERT_TRUE(map_.CommitUpTo(small_.kernel, kPages));
    ASSERT_TRUE(range_.heap.CommitUpTo(small_.kernel, kPages << kPageShift, kPageSize));
  }

  Span* NewSpan(uint32_t start, uint32_t pages) {
    Span* span = arena_.New<Span>();
    span->start = {start};
    span->pages = pages;
    return span;
  }

  FakeKernel& kernel() { return small_.kernel; }

  SmallSpace small_{1, 32};  // three steps of the arrays' growth and more
  NodeRange range_;
  MetadataArena arena_;
  PageMap map_;
};

TEST_F(PageMapTest, AddressesAndPages) {
  CommitAll();
  char* const heap = range_.heap.start();
  EXPECT_EQ(map_.AddressOf({0}), heap);
  EXPECT_EQ(map_.AddressOf({7}), heap + 7 * kPageSize);
  EXPECT_EQ(map_.PageOf(heap), PageId{0});
  EXPECT_EQ(map_.PageOf(heap + kPageSize - 1), PageId{0});
  EXPECT_EQ(map_.PageOf(heap + kPageSize), PageId{1});
  EXPECT_EQ(map_.OffsetOf(heap + 12345), 12345u);
  const PageId last{static_cast<uint32_t>((range_.heap.reserved_bytes() >> kPageShift) - 1)};
  EXPECT_EQ(map_.PageOf(map_.AddressOf(last)), last);
}

TEST_F(PageMapTest, CommittedIsWhatLiesInFrontOfTheEnd) {
  char* const heap = range_.heap.start();
  EXPECT_FALSE(map_.IsCommitted(heap)) << "nothing yet";
  CommitAll();
  EXPECT_EQ(map_.committed_pages(), kPages);
  EXPECT_TRUE(map_.IsCommitted(heap));
  EXPECT_TRUE(map_.IsCommitted(heap + (kPages << kPageShift) - 1));
  EXPECT_FALSE(map_.IsCommitted(heap + (kPages << kPageShift)));
  EXPECT_FALSE(map_.IsCommitted(heap - 1));
  EXPECT_FALSE(map_.IsCommitted(nullptr));
  EXPECT_FALSE(map_.IsCommitted(reinterpret_cast<void*>(UINTPTR_MAX)));
}

TEST_F(PageMapTest, NoSpanWhereNoneWasEntered) {
  EXPECT_EQ(map_.SpanAt({0}), nullptr) << "not even the arrays are there";
  EXPECT_EQ(map_.SpanAt({UINT32_MAX}), nullptr);
  CommitAll();
  for (const uint32_t page :
       {0u, 1u, 127u, 128u, uint32_t{kPages - 1}, uint32_t{kPages}, UINT32_MAX - 1, UINT32_MAX}) {
    EXPECT_EQ(map_.SpanAt({page}), nullptr) << page;
  }
}

TEST_F(PageMapTest, EveryPageOfAnEnteredSpanFindsIt) {
  CommitAll();
  // Lengths and starts around the stride.
  for (const uint32_t pages : {1u, 2u, 127u, 128u, 129u, 255u, 256u, 257u, 1000u}) {
    for (const uint32_t start : {1u, 127u, 128u, 129u, 300u}) {
      Span* before = NewSpan(0, start);
      Span* span = NewSpan(start, pages);
      Span* behind = NewSpan(start + pages, 2);
      map_.Enter(before);
      map_.Enter(behind);
      map_.Enter(span);
      for (uint32_t page = 0; page < start + pages + 2; ++page) {
        Span* const expected = page < start ? before : page < start + pages ? span : behind;
        ASSERT_EQ(map_.SpanAt({page}), expected) << page << " of " << start << "+" << pages;
      }
      for (Span* gone : {before, span, behind}) *gone = Span();
    }
  }
}

TEST_F(PageMapTest, EndsAreEnoughForNeighbours) {
  CommitAll();
  Span* span = NewSpan(130, 1000);
  map_.EnterEnds(span);
  EXPECT_EQ(map_.SpanAt({130}), span);
  EXPECT_EQ(map_.SpanAt({1129}), span);
  EXPECT_EQ(map_.SpanAt({129}), nullptr);
  EXPECT_EQ(map_.SpanAt({1130}), nullptr);
}

TEST_F(PageMapTest, DeadRecordsCoverNothing) {
  CommitAll();
  Span* span = NewSpan(10, 20);
  map_.Enter(span);
  *span = Span();
  for (uint32_t page = 0; page < 40; ++page) EXPECT_EQ(map_.SpanAt({page}), nullptr) << page;
}

// The pages are dealt out anew again and again among the same records, so that the map is full of
// stale entries, some of which name records that live elsewhere by now.
TEST_F(PageMapTest, StaleEntriesMisleadNobody) {
  CommitAll();
  std::mt19937 random(20240901);
  std::vector<Span*> records;
  for (int i = 0; i < 600; ++i) records.push_back(NewSpan(0, 0));
  for (int round = 0; round < 60; ++round) {
    std::shuffle(records.begin(), records.end(), random);
    for (Span* record : records) *record = Span();
    std::vector<Span*> model(kPages);
    std::vector<bool> entered_whole(kPages);
    size_t next = 0;
    for (uint32_t start = 0; start < kPages && next < records.size();) {
      // Mostly short, some longer than the stride.
      const uint32_t wanted = 1 + random() % (random() % 4 == 0 ? 700 : 9);
      const uint32_t pages = std::min<uint32_t>(wanted, static_cast<uint32_t>(kPages) - start);
      Span* span = records[next++];
      span->start = {start};
      span->pages = pages;
      const bool whole = random() % 2 == 0;
      whole ? map_.Enter(span) : map_.EnterEnds(span);
      for (uint32_t page = start; page < start + pages; ++page) {
        model[page] = span;
        entered_whole[page] = whole || page == start || page + 1 == start + pages;
      }
      start += pages;
    }
    for (uint32_t page = 0; page < kPages; ++page) {
      Span* const found = map_.SpanAt({page});
      if (entered_whole[page]) {
        ASSERT_EQ(found, model[page]) << page << " in round " << round;
      } else if (found != nullptr) {
        ASSERT_EQ(found, model[page]) << page << " in round " << round;
      }
    }
  }
}

TEST_F(PageMapTest, ClassesAreSetByRunsAndReadableEverywhere) {
  CommitAll();
  map_.SetClass({5}, {3}, SizeClass{17});
  EXPECT_EQ(map_.ClassAt({4}), kNoClass);
  for (const uint32_t page : {5u, 6u, 7u}) EXPECT_EQ(map_.ClassAt({page}), SizeClass{17});
  EXPECT_EQ(map_.ClassAt({8}), kNoClass);
  map_.SetClass({6}, {1}, kNoClass);
  EXPECT_EQ(map_.ClassAt({5}), SizeClass{17});
  EXPECT_EQ(map_.ClassAt({6}), kNoClass);
  EXPECT_EQ(map_.ClassAt({7}), SizeClass{17});
  // The fast path reads the class of any address of the range, committed or not.
  const uint32_t pages = static_cast<uint32_t>(range_.heap.reserved_bytes() >> kPageShift);
  for (uint32_t page = kPages; page < pages; page += 511) {
    ASSERT_EQ(map_.ClassAt({page}), kNoClass) << page;
  }
  EXPECT_EQ(map_.ClassAt({pages - 1}), kNoClass);
}

TEST_F(PageMapTest, CommitsInBigSteps) {
  for (size_t pages = 1; pages <= kPages; ++pages) {
    ASSERT_TRUE(map_.CommitUpTo(kernel(), pages));
  }
  EXPECT_EQ(kernel().count(FakeKernel::kCommit), 3) << "one call per array";
  EXPECT_GE(range_.page_classes.committed_bytes(), kPages);
  EXPECT_GE(range_.released_bits.committed_bytes() * 8, kPages);
  EXPECT_GE(range_.span_indices.committed_bytes(), kPages * sizeof(uint32_t));
}

TEST_F(PageMapTest, CommitsForTheWholeRange) {
  const size_t pages = range_.heap.reserved_bytes() >> kPageShift;
  ASSERT_TRUE(map_.CommitUpTo(kernel(), pages));
  ASSERT_TRUE(range_.heap.CommitUpTo(kernel(), pages << kPageShift, kPageSize));
  const uint32_t last = static_cast<uint32_t>(pages) - 1;
  Span* span = NewSpan(last, 1);
  map_.Enter(span);
  map_.SetClass({last}, {1}, SizeClass{3});
  EXPECT_EQ(map_.SpanAt({last}), span);
  EXPECT_EQ(map_.ClassAt({last}), SizeClass{3});
  EXPECT_EQ(map_.SpanAt({last - 1}), nullptr);
}

TEST_F(PageMapTest, ARefusedArrayIsAskedForAgain) {
  for (int refused = 1; refused <= 3; ++refused) {
    kernel().FailOnce(1);
    EXPECT_FALSE(map_.CommitUpTo(kernel(), 1)) << refused;
  }
  kernel().FailNothing();
  const int before = kernel().count(FakeKernel::kCommit);
  EXPECT_TRUE(map_.CommitUpTo(kernel(), 1));
  EXPECT_EQ(kernel().count(FakeKernel::kCommit), before + 3);
}

// Each of the three arrays in turn is the one that is refused.
TEST_F(PageMapTest, EachArrayMayBeRefused) {
  for (int refused = 1; refused <= 3; ++refused) {
    kernel().FailOnce(refused);
    const size_t pages = (static_cast<size_t>(refused) << 16) - 1;  // a step further each time
    EXPECT_FALSE(map_.CommitUpTo(kernel(), pages)) << refused;
    kernel().FailNothing();
    EXPECT_TRUE(map_.CommitUpTo(kernel(), pages)) << refused;
  }
}

}  // namespace
}  // namespace numaheap
