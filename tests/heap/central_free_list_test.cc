// The spans of one size class against a std::set of their free blocks, and what a program's
// mistakes look like where they come home.
#include "src/heap/central_free_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/heap/small_space.h"

namespace numaheap {
namespace {

using testing::Eq;
using testing::KilledBySignal;

constexpr NodeId kNode{3};

class CentralFreeListTest : public testing::Test {
 protected:
  CentralFreeListTest() : small_(1, 28), paged_(small_) {}

  void TearDown() override { paged_.ExpectConsistent(); }

  CentralFreeList NewList(SizeClass c) { return {paged_.pages, paged_.arena, kNode, c}; }
  FakeKernel& kernel() { return small_.kernel; }
  Span* SpanOf(void* block) { return paged_.pages.map().SpanAt(paged_.pages.map().PageOf(block)); }

  SmallSpace small_;
  PagedRange paged_;
};

std::vector<void*> Take(CentralFreeList& list, int n) {
  std::vector<void*> blocks(static_cast<size_t>(n));
  blocks.resize(static_cast<size_t>(list.RemoveBatch(blocks.data(), n)));
  return blocks;
}

// What the list hands out of a span that it fetches for it.
std::vector<void*> Fetch(CentralFreeList& list, int n) {
  std::vector<void*> blocks(static_cast<size_t>(n));
  blocks.resize(static_cast<size_t>(list.Populate(blocks.data(), n)));
  return blocks;
}

void Give(CentralFreeList& list, const std::vector<void*>& blocks) {
  list.InsertBatch(blocks.data(), static_cast<int>(blocks.size()));
}

SizeClass ClassOf(size_t size) {
  const SizeClass c = kSizeMap.ClassOf(size);
  EXPECT_EQ(kSizeMap[c].size, size) << "a class of its own";
  return c;
}

TEST_F(CentralFreeListTest, AnEmptyListGivesNothing) {
  CentralFreeList list = NewList(ClassOf(64));
  EXPECT_TRUE(Take(list, 10).empty());
  EXPECT_EQ(list.free_objects(), 0u);
  Give(list, {});
  list.CheckInvariants();
  EXPECT_EQ(paged_.pages.stats().committed.pages, 0u) << "RemoveBatch() never grows";
}

TEST_F(CentralFreeListTest, LowestAddressesLast) {
  CentralFreeList list = NewList(ClassOf(64));
  const std::vector<void*> fetched = Fetch(list, 3);
  char* const start = paged_.range.heap.start();
  EXPECT_EQ(fetched, (std::vector<void*>{start + 128, start + 64, start}));
  EXPECT_EQ(Take(list, 2), (std::vector<void*>{start + 256, start + 192}));
  Give(list, {start + 64, start + 192});
  EXPECT_EQ(Take(list, 3), (std::vector<void*>{start + 320, start + 192, start + 64}));
  EXPECT_TRUE(Take(list, 0).empty());
}

TEST_F(CentralFreeListTest, ABatchMayComeFromSeveralSpans) {
  const SizeClass c = ClassOf(16384);
  const int objects = kSizeMap[c].span_objects;
  ASSERT_LT(objects, 20);
  CentralFreeList list = NewList(c);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(Fetch(list, 1).size(), 1u);
  const auto left = static_cast<unsigned>(objects) - 1;
  EXPECT_EQ(list.free_objects(), 3 * left);
  const std::vector<void*> blocks = Take(list, objects);
  ASSERT_EQ(blocks.size(), left + 1);
  EXPECT_NE(SpanOf(blocks[0]), SpanOf(blocks[1])) << "the highest is the next span's first";
  EXPECT_TRUE(std::is_sorted(blocks.rbegin(), blocks.rend()));
  EXPECT_EQ(Take(list, 100).size(), 2 * left - 1) << "all there is";
  EXPECT_EQ(list.free_objects(), 0u);
  list.CheckInvariants();
}

TEST_F(CentralFreeListTest, AnEmptySpanGoesBackAtOnce) {
  for (const size_t size : {size_t{16}, size_t{256}, size_t{4096}, kMaxSmallSize}) {
    CentralFreeList list = NewList(ClassOf(size));
    std::vector<void*> blocks = Fetch(list, 5000);
    ASSERT_EQ(blocks.size(), kSizeMap[ClassOf(size)].span_objects);
    EXPECT_EQ(paged_.pages.stats().spans_in_use, 1u);
    while (blocks.size() > 1) {
      Give(list, {blocks.back()});
      blocks.pop_back();
    }
    EXPECT_EQ(paged_.pages.stats().spans_in_use, 1u) << "one block keeps it";
    Give(list, blocks);
    EXPECT_EQ(paged_.pages.stats().spans_in_use, 0u) << size;
    EXPECT_EQ(list.free_objects(), 0u);
    EXPECT_TRUE(Take(list, 1).empty());
    list.CheckInvariants();
    paged_.ExpectConsistent();
  }
}

// Nothing is written into blocks, whatever happens to them.
TEST_F(CentralFreeListTest, UserMemoryIsNotTouched) {
  const SizeClass c = ClassOf(48);
  CentralFreeList list = NewList(c);
  ASSERT_EQ(Fetch(list, 1).size(), 1u);  // keeps the span
  char* const start = paged_.range.heap.start();
  const size_t bytes = Length{kSizeMap[c].span_pages}.bytes();
  std::memset(start, 0x5a, bytes);
  Give(list, Take(list, 300));
  ASSERT_EQ(Take(list, 20).size(), 20u);
  EXPECT_EQ(start[0], 0x5a);
  EXPECT_EQ(std::memcmp(start, start + 1, bytes - 1), 0);
}

// ---- Against the model -------------------------------------------------------------------------

// All free blocks of one class, and how many each span has.
class FreeBlocks {
 public:
  FreeBlocks(CentralFreeList& list, PagedRange& paged, SizeClass c)
      : list_(list), paged_(paged), info_(kSizeMap[c]) {}

  void Populate() {
    const Length before = paged_.pages.stats().in_use;
    const std::vector<void*> fetched = Fetch(list_, 1);
    ASSERT_EQ(fetched.size(), 1u);
    ASSERT_EQ(paged_.pages.stats().in_use, before + Length{info_.span_pages});
    // The rest of the span is free, so a batch of everything finds it.
    std::vector<void*> all = Take(list_, static_cast<int>(list_.free_objects()));
    all.insert(all.end(), fetched.begin(), fetched.end());
    std::set<char*> taken;
    for (void* block : all) ASSERT_TRUE(taken.insert(static_cast<char*>(block)).second) << "twice";
    ASSERT_EQ(taken.size(), free_.size() + info_.span_objects);
    ASSERT_TRUE(std::includes(taken.begin(), taken.end(), free_.begin(), free_.end()));
    char* start = nullptr;
    for (char* block : taken) {
      if (free_.contains(block)) continue;
      if (start == nullptr) start = block;
      ASSERT_EQ((block - start) % info_.size, 0u);
      ASSERT_EQ(reinterpret_cast<uintptr_t>(block) & info_.alignment_mask, 0u);
      ASSERT_EQ(StartOf(block), start);
      in_use_.push_back(block);
    }
    used_of_span_[start] += info_.span_objects;
    // Back to where they were, all but one of the new span, which keeps it from going away.
    std::vector<void*> back(free_.begin(), free_.end());
    Give(list_, back);
  }

  void Remove(int n) {
    const std::vector<void*> blocks = Take(list_, n);
    ASSERT_EQ(blocks.size(), std::min(static_cast<size_t>(n), free_.size()));
    for (auto it = blocks.rbegin(); it != blocks.rend(); ++it) {
      ASSERT_EQ(*it, *free_.begin()) << "the lowest first";
      char* block = *free_.begin();
      free_.erase(free_.begin());
      ++used_of_span_[StartOf(block)];
      in_use_.push_back(block);
    }
  }

  template <typename Random>
  void Insert(int n, Random& random) {
    std::vector<void*> blocks;
    for (; n > 0 && !in_use_.empty(); --n) {
      const size_t i = random() % in_use_.size();
      std::swap(in_use_[i], in_use_.back());
      blocks.push_back(in_use_.back());
      in_use_.pop_back();
    }
    std::map<char*, size_t> used = used_of_span_;
    for (void* block : blocks) {
      char* place = static_cast<char*>(block);
      free_.insert(place);
      --used_of_span_[StartOf(place)];
    }
    Give(list_, blocks);
    // Spans without blocks in use are gone, with all their free blocks.
    for (const auto& [start, count] : used) {
      if (count == 0 || used_of_span_[start] != 0) continue;
      free_.erase(free_.lower_bound(start),
                  free_.lower_bound(start + size_t{info_.span_objects} * info_.size));
      used_of_span_.erase(start);
    }
  }

  void Check() {
    list_.CheckInvariants();
    ASSERT_EQ(list_.free_objects(), free_.size());
    ASSERT_EQ(paged_.pages.stats().spans_in_use, used_of_span_.size());
    ASSERT_EQ(paged_.pages.stats().in_use.pages, used_of_span_.size() * info_.span_pages);
  }

  size_t in_use() const { return in_use_.size(); }
  size_t free() const { return free_.size(); }

 private:
  char* StartOf(char* block) {
    const PageMap& map = paged_.pages.map();
    return map.AddressOf(map.SpanAt(map.PageOf(block))->start);
  }

  CentralFreeList& list_;
  PagedRange& paged_;
  const SizeClassInfo& info_;
  std::set<char*> free_;
  std::vector<char*> in_use_;
  std::map<char*, size_t> used_of_span_;
};

TEST_F(CentralFreeListTest, EveryClassAgainstTheModel) {
  std::mt19937 random(20240731);
  for (int c = 1; c < kSizeClasses; ++c) {
    const SizeClass cls{static_cast<uint8_t>(c)};
    SCOPED_TRACE(kSizeMap[cls].size);
    CentralFreeList list = NewList(cls);
    FreeBlocks model(list, paged_, cls);
    for (int step = 0; step < 80; ++step) {
      const int n = static_cast<int>(1 + random() % kMaxBatch);
      if (model.free() == 0 || random() % 20 == 0) {
        model.Populate();
      } else if (step % 20 < 12 ? random() % 3 != 0 : random() % 3 == 0) {
        model.Remove(n);
      } else {
        model.Insert(n, random);
      }
      if (HasFatalFailure()) return;
      if (step % 10 == 0) model.Check();
      if (HasFatalFailure()) return;
    }
    while (model.in_use() > 0) model.Insert(kMaxBatch, random);
    model.Check();
    ASSERT_EQ(model.free(), 0u);
    ASSERT_EQ(paged_.pages.stats().in_use.pages, 0u);
  }
  paged_.ExpectConsistent();
}

// More than kMaxBatch at once, out of order, over several spans that empty in between.
TEST_F(CentralFreeListTest, TakesBackAnyNumberAtOnce) {
  for (const size_t size : {size_t{16}, size_t{32}, size_t{640}, kMaxSmallSize}) {
    CentralFreeList list = NewList(ClassOf(size));
    std::vector<void*> blocks;
    for (int i = 0; i < 5; ++i) blocks.push_back(Fetch(list, 1).at(0));
    const std::vector<void*> rest = Take(list, 6000);
    blocks.insert(blocks.end(), rest.begin(), rest.end());
    std::shuffle(blocks.begin(), blocks.end(), std::mt19937(1));
    Give(list, blocks);
    EXPECT_EQ(list.free_objects(), 0u);
    EXPECT_EQ(paged_.pages.stats().spans_in_use, 0u);
    list.CheckInvariants();
  }
}

// ---- Out of memory -----------------------------------------------------------------------------

TEST_F(CentralFreeListTest, NoPagesNoSpan) {
  CentralFreeList list = NewList(ClassOf(64));
  kernel().FailFrom(FakeKernel::kCommit, 1);
  EXPECT_TRUE(Fetch(list, 1).empty());
  EXPECT_EQ(list.free_objects(), 0u);
  list.CheckInvariants();
  kernel().FailNothing();
  EXPECT_EQ(Fetch(list, 1).size(), 1u);
}

// Classes of more than 64 blocks a span need a bitmap of their own.
TEST_F(CentralFreeListTest, NoBitmapNoSpan) {
  const SizeClass small = ClassOf(16), middling = ClassOf(1024);
  ASSERT_GT(kSizeMap[small].span_objects, 64);
  ASSERT_LE(kSizeMap[middling].span_objects, 64);
  ASSERT_EQ(kSizeMap[small].span_pages, kSizeMap[middling].span_pages);
  CentralFreeList without = NewList(small), with = NewList(middling);
  // A hole of the right length, so that nothing needs to be cut.
  Span* hole = paged_.pages.Allocate({kSizeMap[small].span_pages}, kNoClass);
  paged_.pages.Allocate({1}, kNoClass);
  paged_.UseUpRecords(kernel());
  paged_.pages.Free(hole);
  const PageHeapStats before = paged_.pages.stats();
  EXPECT_TRUE(Fetch(without, 1).empty());
  EXPECT_EQ(without.free_objects(), 0u);
  EXPECT_EQ(paged_.pages.stats().in_use, before.in_use) << "the pages went back";
  EXPECT_EQ(Fetch(with, 1).size(), 1u);
  EXPECT_EQ(with.free_objects(), kSizeMap[middling].span_objects - 1u);
}

TEST_F(CentralFreeListTest, BitmapsAreReused) {
  const SizeClass c = ClassOf(16);
  CentralFreeList list = NewList(c);
  size_t used = 0;
  for (int i = 0; i < 50; ++i) {
    const std::vector<void*> one = Fetch(list, 1), other = Fetch(list, 1);
    if (i == 0) used = paged_.arena.used_bytes();
    EXPECT_EQ(paged_.arena.used_bytes(), used);
    Give(list, one);
    Give(list, other);
    ASSERT_EQ(paged_.pages.stats().spans_in_use, 0u);
  }
}

// ---- Mistakes ----------------------------------------------------------------------------------

class CentralFreeListDeathTest : public CentralFreeListTest {
 protected:
  // The one line and its end.
  static testing::Matcher<const std::string&> Line(const void* ptr, const std::string& what) {
    std::ostringstream line;
    line << "numaheap: free(" << ptr << "): " << what << "\n";
    return Eq(line.str());
  }
  static std::string AlreadyFree(size_t size) {
    return "already free (node 3, size class " + std::to_string(size) + " bytes)";
  }
  static std::string MiddleOf(const void* block, size_t size) {
    std::ostringstream what;
    what << "points into the middle of a block (node 3, size class " << size << " bytes, block "
         << block << ")";
    return what.str();
  }
};

TEST_F(CentralFreeListDeathTest, DoubleFree) {
  for (const size_t size : {size_t{16}, size_t{112}, size_t{8192}, size_t{16384}}) {
    CentralFreeList list = NewList(ClassOf(size));
    const std::vector<void*> blocks = Fetch(list, 3);
    void* const block = blocks[1];
    EXPECT_EXIT(Give(list, {block, block}), KilledBySignal(SIGABRT), Line(block, AlreadyFree(size)))
        << "in one batch";
    Give(list, {block});
    EXPECT_EXIT(Give(list, {block}), KilledBySignal(SIGABRT), Line(block, AlreadyFree(size)));
    EXPECT_EXIT(Give(list, {blocks[0], block}), KilledBySignal(SIGABRT),
                Line(block, AlreadyFree(size)))
        << "behind a good one";
    Give(list, {blocks[0], blocks[2]});
  }
}

TEST_F(CentralFreeListDeathTest, NeverHandedOut) {
  CentralFreeList list = NewList(ClassOf(64));
  char* const block = static_cast<char*>(Fetch(list, 1).at(0));
  EXPECT_EXIT(Give(list, {block + 64}), KilledBySignal(SIGABRT), Line(block + 64, AlreadyFree(64)));
}

TEST_F(CentralFreeListDeathTest, DoubleFreeAfterTheSpanIsGone) {
  CentralFreeList list = NewList(ClassOf(64));
  std::vector<void*> blocks = Fetch(list, 1000);
  Give(list, blocks);
  ASSERT_EQ(paged_.pages.stats().spans_in_use, 0u);
  for (void* block : {blocks.front(), blocks.back()}) {
    EXPECT_EXIT(Give(list, {block}), KilledBySignal(SIGABRT), Line(block, AlreadyFree(64)));
  }
  // The pages are an object of another kind by now.
  ASSERT_NE(paged_.pages.Allocate({2}, kNoClass), nullptr);
  EXPECT_EXIT(Give(list, {blocks.back()}), KilledBySignal(SIGABRT),
              Line(blocks.back(), AlreadyFree(64)));
}

TEST_F(CentralFreeListDeathTest, InteriorPointers) {
  for (const size_t size : {size_t{32}, size_t{48}, size_t{1152}, kMaxSmallSize}) {
    CentralFreeList list = NewList(ClassOf(size));
    char* const block = static_cast<char*>(Fetch(list, 1).at(0));
    for (const size_t offset : {size_t{1}, size_t{8}, size / 2, size - 1}) {
      EXPECT_EXIT(Give(list, {block + offset}), KilledBySignal(SIGABRT),
                  Line(block + offset, MiddleOf(block, size)));
    }
    // The second block of a span, from both sides.
    if (kSizeMap[ClassOf(size)].span_objects > 1) {
      EXPECT_EXIT(Give(list, {block + size + 1}), KilledBySignal(SIGABRT),
                  Line(block + size + 1, MiddleOf(block + size, size)));
    }
    Give(list, {block});
  }
}

TEST_F(CentralFreeListDeathTest, PointersOfAnotherClass) {
  CentralFreeList list = NewList(ClassOf(64)), other = NewList(ClassOf(128));
  ASSERT_EQ(Fetch(list, 1).size(), 1u);
  void* const block = Fetch(other, 1).at(0);
  EXPECT_EXIT(Give(list, {block}), KilledBySignal(SIGABRT), Line(block, AlreadyFree(64)));
  Span* large = paged_.pages.Allocate({3}, kNoClass);
  void* const object = paged_.AddressOf(large);
  EXPECT_EXIT(Give(list, {object}), KilledBySignal(SIGABRT), Line(object, AlreadyFree(64)));
}

TEST_F(CentralFreeListDeathTest, PointersPastTheCommittedPages) {
  CentralFreeList list = NewList(ClassOf(64));
  ASSERT_EQ(Fetch(list, 1).size(), 1u);
  char* const end = paged_.range.heap.start() + paged_.range.heap.committed_bytes();
  EXPECT_EXIT(Give(list, {end}), KilledBySignal(SIGABRT), Line(end, AlreadyFree(64)));
  char* const last = paged_.range.heap.start() + paged_.range.heap.reserved_bytes() - 64;
  EXPECT_EXIT(Give(list, {last}), KilledBySignal(SIGABRT), Line(last, AlreadyFree(64)));
}

// Behind the last block of a span is a tail that belongs to no block.
TEST_F(CentralFreeListDeathTest, TheTailOfASpan) {
  const SizeClass c = ClassOf(48);
  const SizeClassInfo& info = kSizeMap[c];
  const size_t blocks_end = size_t{info.span_objects} * info.size;
  ASSERT_LT(blocks_end, Length{info.span_pages}.bytes());
  CentralFreeList list = NewList(c);
  ASSERT_EQ(Fetch(list, 1).size(), 1u);
  char* const tail = paged_.range.heap.start() + blocks_end;
  const std::string foreign = "not a pointer of this heap (no node, no size class)";
  EXPECT_EXIT(Give(list, {tail}), KilledBySignal(SIGABRT), Line(tail, foreign));
  EXPECT_EXIT(Give(list, {tail + 8}), KilledBySignal(SIGABRT), Line(tail + 8, foreign));
}

TEST_F(CentralFreeListDeathTest, TheInterleavedHeapHasNoNode) {
  CentralFreeList list(paged_.pages, paged_.arena, kNoNode, ClassOf(64));
  void* const block = Fetch(list, 1).at(0);
  EXPECT_EXIT(Give(list, {block, block}), KilledBySignal(SIGABRT),
              Line(block, "already free (interleaved, size class 64 bytes)"));
}

// ---- Threads -----------------------------------------------------------------------------------

TEST(CentralFreeListThreadsTest, NoBlockIsHandedOutTwice) {
  for (const size_t size : {size_t{16}, size_t{1024}, kMaxSmallSize}) {
    SmallSpace small(1, 28);
    PagedRange paged(small);
    const SizeClass c = ClassOf(size);
    CentralFreeList list(paged.pages, paged.arena, kNode, c);
    const auto work = [&](uint64_t me) {
      std::mt19937 random(static_cast<unsigned>(me));
      std::vector<void*> mine;
      for (int step = 0; step < 2'000; ++step) {
        const int n = static_cast<int>(1 + random() % 20);
        if (mine.size() < 60 && random() % 2 == 0) {
          std::vector<void*> taken = Take(list, n);
          if (taken.empty()) taken = Fetch(list, n);
          ASSERT_FALSE(taken.empty());
          for (void* block : taken) {
            std::memcpy(block, &me, sizeof(me));
            mine.push_back(block);
          }
          continue;
        }
        std::shuffle(mine.begin(), mine.end(), random);
        const size_t keep = mine.size() - std::min(mine.size(), static_cast<size_t>(n));
        for (size_t i = keep; i < mine.size(); ++i) {
          ASSERT_EQ(std::memcmp(mine[i], &me, sizeof(me)), 0) << "someone else's";
        }
        Give(list, {mine.begin() + static_cast<ptrdiff_t>(keep), mine.end()});
        mine.resize(keep);
      }
      Give(list, mine);
    };
    std::vector<std::thread> threads;
    for (uint64_t i = 1; i <= 4; ++i) threads.emplace_back(work, i);
    for (std::thread& thread : threads) thread.join();
    list.CheckInvariants();
    paged.ExpectConsistent();
    // What is left are spans that were never touched.
    EXPECT_EQ(list.free_objects(), paged.pages.stats().spans_in_use * kSizeMap[c].span_objects);
  }
}

}  // namespace
}  // namespace numaheap
