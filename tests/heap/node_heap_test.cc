// Everything one node owns, working together: where batches come from and go to, what Find() says
// of any address, large objects, what other nodes have freed, and forks.
#include "src/heap/node_heap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstring>
#include <functional>
#include <iterator>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/heap/small_space.h"

namespace numaheap {
namespace {

constexpr size_t kMiB = size_t{1} << 20;
constexpr NodeId kNode{2};
constexpr int kRingCapacity = 8192;  // blocks that wait for their home node

class NodeHeapTest : public testing::Test {
 protected:
  explicit NodeHeapTest(int shift = 28) : small_(1, shift) {
    heap_ = NodeHeap::Create(small_.kernel, small_.space.RangeStart(0), small_.space.range_bytes(),
                             1 << 20, kNode);
    EXPECT_NE(heap_, nullptr);
  }
  void SetUp() override { ASSERT_NE(heap_, nullptr); }
  void TearDown() override {
    if (heap_ == nullptr) return;
    heap_->CheckInvariants();
    heap_->CheckStatsAtRest();
  }

  FakeKernel& kernel() { return small_.kernel; }
  size_t SpansInUse() { return heap_->page_stats().spans_in_use; }

  std::vector<void*> Take(SizeClass c, int n, int domain = 0) {
    std::vector<void*> blocks(kMaxBatch);
    blocks.resize(static_cast<size_t>(heap_->AllocateBatch(c, domain, blocks.data(), n)));
    return blocks;
  }
  // Exactly `n` blocks, however many batches that takes.
  std::vector<void*> TakeMany(SizeClass c, size_t n) {
    std::vector<void*> blocks;
    while (blocks.size() < n) {
      const size_t left = std::min<size_t>(n - blocks.size(), kMaxBatch);
      const std::vector<void*> more = Take(c, static_cast<int>(left));
      if (more.empty()) break;
      blocks.insert(blocks.end(), more.begin(), more.end());
    }
    EXPECT_EQ(blocks.size(), n);
    return blocks;
  }
  void Give(SizeClass c, const std::vector<void*>& blocks, int domain = 0) {
    heap_->FreeBatch(c, domain, blocks.data(), static_cast<int>(blocks.size()));
  }
  void GiveRemote(const std::vector<void*>& blocks) {
    for (size_t i = 0; i < blocks.size(); i += kMaxBatch) {
      const size_t n = std::min<size_t>(kMaxBatch, blocks.size() - i);
      heap_->ReceiveRemote(blocks.data() + i, static_cast<int>(n));
    }
  }
  void UseUpRecords() {
    kernel().FailFrom(FakeKernel::kCommit, 1);
    for (const size_t bytes : {size_t{4096}, size_t{256}, size_t{16}}) {
      while (heap_->arena().Allocate(bytes) != nullptr) {
      }
    }
  }
  Span* SpanOf(const void* block) { return heap_->Find(block).span; }

  SmallSpace small_;
  NodeHeap* heap_ = nullptr;
};

SizeClass ClassOf(size_t size) {
  return kSizeMap.ClassOf(size);
}

// ---- Creation ----------------------------------------------------------------------------------

TEST_F(NodeHeapTest, LivesAtTheStartOfItsRange) {
  EXPECT_EQ(static_cast<void*>(heap_), small_.space.RangeStart(0));
  EXPECT_EQ(heap_->node(), kNode);
  EXPECT_GT(heap_->range().heap.start(), reinterpret_cast<char*>(heap_ + 1));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(heap_->range().heap.start()) % kHugePageSize, 0u);
  const char* end = small_.space.RangeStart(0) + small_.space.range_bytes();
  EXPECT_LE(heap_->range().heap.start() + heap_->range().heap.reserved_bytes(), end);
  EXPECT_EQ(heap_->page_stats().committed.pages, 0u);
  EXPECT_EQ(heap_->TransferCachedBytes(), 0u);
  EXPECT_EQ(heap_->remote_waiting(), 0u);
}

TEST(NodeHeapCreateTest, TooSmallARangeIsRefused) {
  SmallSpace small(1, 26);
  EXPECT_EQ(NodeHeap::Create(small.kernel, small.space.RangeStart(0), 12 * kMiB, 6 * kMiB, kNode),
            nullptr);
  EXPECT_EQ(NodeHeap::Create(small.kernel, small.space.RangeStart(0), 64 * kMiB, 60 * kMiB, kNode),
            nullptr)
      << "nothing left for pages";
  NodeHeap* heap = NodeHeap::Create(small.kernel, small.space.RangeStart(0), 64 * kMiB, 0, kNode);
  ASSERT_NE(heap, nullptr);
  bool zeroed;
  EXPECT_NE(heap->AllocateLarge(30 * kMiB, kPageSize, &zeroed), nullptr);
}

// Creation, and then a life that asks for all that is only made when it is needed.
void LiveThrough(FakeKernel& kernel, NodeHeap& heap) {
  heap.SetCacheDomains(3);
  std::vector<std::pair<SizeClass, void*>> blocks;
  const auto take = [&](size_t size, int rounds) {
    void* batch[kMaxBatch];
    const SizeClass c = ClassOf(size);
    for (int i = 0; i < rounds; ++i) {
      const int taken = heap.AllocateBatch(c, i % 3, batch, 20);
      for (int b = 0; b < taken; ++b) {
        std::memset(batch[b], 0x77, kSizeMap[c].size);
        blocks.emplace_back(c, batch[b]);
      }
    }
  };
  const auto give = [&](size_t keep, bool remote) {
    for (; blocks.size() > keep; blocks.pop_back()) {
      auto& [c, block] = blocks.back();
      if (remote) {
        heap.ReceiveRemote(&block, 1);
      } else {
        heap.FreeBatch(c, static_cast<int>(blocks.size() % 3), &block, 1);
      }
    }
  };
  take(16, 60);
  take(1000, 5);
  take(kMaxSmallSize, 1);
  give(blocks.size() / 2, false);
  bool zeroed = false;
  void* object = heap.AllocateLarge(3 * kMiB, kPageSize, &zeroed);
  if (object != nullptr) {
    Span* span = heap.Find(object).span;
    ASSERT_NE(span, nullptr);
    EXPECT_TRUE(!zeroed || IsZero(object, 3 * kMiB));
    heap.ResizeLarge(span, 5 * kMiB);
    EXPECT_TRUE(heap.ResizeLarge(span, kMiB));
    heap.FreeLarge(span);
  }
  take(16, 20);
  give(blocks.size() / 2, true);
  take(1000, 5);
  heap.SweepRemote();
  heap.FlushTransferCaches(false);
  kernel.SetNow(kernel.NowMs() + 1);
  heap.ReleaseIdle(kernel.NowMs(), SIZE_MAX);
  heap.CheckInvariants();
  give(0, true);
  heap.SweepRemote();
  heap.FlushTransferCaches(false);
}

TEST(NodeHeapCreateTest, TheNthCallOfALifeIsRefused) {
  for (int n = 1;; ++n) {
    SCOPED_TRACE(n);
    SmallSpace small(1, 27);
    FakeKernel& kernel = small.kernel;
    const int before = kernel.count_all();
    kernel.FailOnce(n);
    const auto create = [&] {
      return NodeHeap::Create(kernel, small.space.RangeStart(0), small.space.range_bytes(), 0,
                              kNode);
    };
    NodeHeap* heap = create();
    if (heap == nullptr) heap = create();  // refused once: it can be had now
    ASSERT_NE(heap, nullptr);
    LiveThrough(kernel, *heap);
    const bool refused = kernel.count_all() - before >= n;
    kernel.FailNothing();

    ASSERT_EQ(heap->page_stats().in_use.pages, 0u) << "everything came home";
    ASSERT_EQ(heap->TransferCachedBytes(), 0u);
    ASSERT_EQ(heap->remote_waiting(), 0u);
    heap->CheckInvariants();
    LiveThrough(kernel, *heap);
    ASSERT_EQ(heap->page_stats().in_use.pages, 0u);
    heap->CheckInvariants();
    if (HasFailure()) return;
    if (!refused) {
      EXPECT_GT(n, 10) << "a life of many calls";
      break;
    }
  }
}

// Advice is a wish, all else is needed.
TEST(NodeHeapCreateTest, WhatIsRefusedForGood) {
  for (int call = 0; call < FakeKernel::kCalls; ++call) {
    SmallSpace small(1, 26);
    small.kernel.FailFrom(static_cast<FakeKernel::Call>(call), 1);
    NodeHeap* heap = NodeHeap::Create(small.kernel, small.space.RangeStart(0),
                                      small.space.range_bytes(), 0, kNode);
    const bool needed = call == FakeKernel::kCommit || call == FakeKernel::kMakeReadable;
    EXPECT_EQ(heap == nullptr, needed) << call;
  }
}

// ---- Where batches come from -------------------------------------------------------------------

TEST_F(NodeHeapTest, TransferCacheThenCentralList) {
  const SizeClass c = ClassOf(256);
  std::vector<void*> blocks = Take(c, 10);
  ASSERT_EQ(blocks.size(), 10u);
  EXPECT_TRUE(std::is_sorted(blocks.rbegin(), blocks.rend())) << "low addresses go first";
  EXPECT_EQ(SpansInUse(), 1u);
  Give(c, {blocks[7], blocks[3]});
  EXPECT_EQ(heap_->TransferCachedBytes(), 512u);
  // The two that were given back, in the order of a stack, and then what the span has next.
  const std::vector<void*> again = Take(c, 4);
  ASSERT_EQ(again.size(), 4u);
  EXPECT_THAT((std::vector<void*>{again[0], again[1]}), testing::ElementsAre(blocks[7], blocks[3]));
  char* const highest = static_cast<char*>(blocks[0]);
  EXPECT_THAT((std::vector<void*>{again[2], again[3]}),
              testing::ElementsAre(highest + 512, highest + 256));
  EXPECT_EQ(heap_->TransferCachedBytes(), 0u);
  EXPECT_EQ(SpansInUse(), 1u);
}

TEST_F(NodeHeapTest, LessThanAskedForIsEnough) {
  const SizeClass c = ClassOf(1024);
  const size_t objects = kSizeMap[c].span_objects;
  ASSERT_LT(objects, size_t{kMaxBatch});
  EXPECT_EQ(Take(c, kMaxBatch).size(), objects) << "one span, not two";
  EXPECT_EQ(SpansInUse(), 1u);
  std::vector<void*> some = Take(c, 3);
  EXPECT_EQ(SpansInUse(), 2u);
  Give(c, some);
  EXPECT_EQ(Take(c, kMaxBatch).size(), objects) << "three from the cache, the rest from the span";
  EXPECT_EQ(SpansInUse(), 2u);
}

TEST_F(NodeHeapTest, RemoteFreesAreSweptBeforeASpanIsTaken) {
  const SizeClass c = ClassOf(1024);
  const int objects = kSizeMap[c].span_objects;
  const std::vector<void*> first = Take(c, objects);
  ASSERT_EQ(first.size(), static_cast<size_t>(objects));
  GiveRemote({first[1], first[5]});
  EXPECT_EQ(heap_->remote_waiting(), 2u);
  EXPECT_EQ(Take(c, 5), (std::vector<void*>{first[1], first[5]})) << "lowest address last";
  EXPECT_EQ(heap_->remote_waiting(), 0u);
  EXPECT_EQ(SpansInUse(), 1u);
  EXPECT_EQ(Take(c, 5).size(), 5u);
  EXPECT_EQ(SpansInUse(), 2u) << "nothing was waiting any more";
}

TEST_F(NodeHeapTest, RemoteFreesWaitWhileThereIsSomethingElse) {
  const SizeClass c = ClassOf(1024);
  std::vector<void*> first = Take(c, 4);
  GiveRemote({first[0]});
  EXPECT_EQ(Take(c, 4).size(), 4u);
  EXPECT_EQ(heap_->remote_waiting(), 1u);
}

// Sweeping may bring nothing for this class, but a whole span for it.
TEST_F(NodeHeapTest, SweptSpansServeOtherClasses) {
  const SizeClass c = ClassOf(1024), other = ClassOf(2048);
  ASSERT_EQ(kSizeMap[c].span_pages, kSizeMap[other].span_pages);
  const std::vector<void*> blocks = Take(c, kSizeMap[c].span_objects);
  GiveRemote(blocks);
  const std::vector<void*> others = Take(other, 2);
  ASSERT_EQ(others.size(), 2u);
  EXPECT_EQ(others[1], *std::min_element(blocks.begin(), blocks.end())) << "the same pages";
  EXPECT_EQ(SpansInUse(), 1u);
}

TEST_F(NodeHeapTest, WhatTheTransferCacheCannotKeepGoesToTheSpans) {
  const SizeClass c = ClassOf(kMaxSmallSize);
  const std::vector<void*> blocks = TakeMany(c, 10);
  EXPECT_EQ(SpansInUse(), 10u);
  Give(c, blocks);
  EXPECT_EQ(heap_->TransferCachedBytes(), 2 * kMaxSmallSize) << "one batch";
  EXPECT_EQ(SpansInUse(), 2u) << "the others went home to the page heap";
}

class NarrowNodeHeapTest : public NodeHeapTest {
 protected:
  NarrowNodeHeapTest() : NodeHeapTest(26) {}
};

TEST_F(NarrowNodeHeapTest, MemoryRunsOut) {
  const SizeClass c = ClassOf(65536);
  std::vector<void*> blocks;
  for (;;) {
    const std::vector<void*> more = Take(c, kMaxBatch);
    if (more.empty()) break;
    blocks.insert(blocks.end(), more.begin(), more.end());
  }
  EXPECT_GT(blocks.size() * 65536, heap_->range().heap.reserved_bytes() - 65536);
  bool zeroed = false;
  EXPECT_EQ(heap_->AllocateLarge(65536, kPageSize, &zeroed), nullptr);
  // What other nodes give back is found, whoever needs it.
  GiveRemote({blocks.begin(), blocks.begin() + 3});
  EXPECT_NE(heap_->AllocateLarge(65536, kPageSize, &zeroed), nullptr);
  EXPECT_EQ(heap_->remote_waiting(), 0u);
  EXPECT_FALSE(Take(c, 1).empty());
  EXPECT_FALSE(Take(c, 1).empty());
  EXPECT_TRUE(Take(c, 1).empty());
}

TEST_F(NodeHeapTest, EveryClassEveryBlockIsItsOwn) {
  std::map<char*, size_t> taken;
  std::vector<std::pair<SizeClass, std::vector<void*>>> batches;
  for (int round = 0; round < 2; ++round) {
    for (int i = 1; i < kSizeClasses; ++i) {
      const SizeClass c{static_cast<uint8_t>(i)};
      batches.emplace_back(c, Take(c, kSizeMap[c].batch));
      ASSERT_FALSE(batches.back().second.empty());
      for (void* block : batches.back().second) {
        ASSERT_TRUE(taken.emplace(static_cast<char*>(block), kSizeMap[c].size).second);
        const Block found = heap_->Find(block);
        ASSERT_EQ(found.start, block);
        ASSERT_EQ(found.size_class, c);
      }
    }
  }
  const char* end = nullptr;
  for (const auto& [block, size] : taken) {
    ASSERT_GE(block, end) << "overlap";
    end = block + size;
  }
  for (const auto& [c, blocks] : batches) Give(c, blocks);
  heap_->FlushTransferCaches(false);
  EXPECT_EQ(heap_->page_stats().in_use.pages, 0u);
}

// ---- What lies at an address -------------------------------------------------------------------

TEST_F(NodeHeapTest, FindsSmallBlocks) {
  const SizeClass c = ClassOf(48);
  char* const block = static_cast<char*>(Take(c, 2)[0]);
  for (const size_t offset : {size_t{0}, size_t{1}, size_t{16}, size_t{47}}) {
    const Block found = heap_->Find(block + offset);
    ASSERT_NE(found.span, nullptr);
    EXPECT_EQ(found.start, block) << offset;
    EXPECT_EQ(found.size, 48u);
    EXPECT_EQ(found.size_class, c);
  }
  EXPECT_EQ(heap_->Find(block - 1).start, block - 48);
  EXPECT_EQ(heap_->Find(block + 48).start, block + 48) << "free, but a block";
}

TEST_F(NodeHeapTest, FindsNothingInTheTailOfASpan) {
  const SizeClass c = ClassOf(48);
  const SizeClassInfo& info = kSizeMap[c];
  char* const start = static_cast<char*>(Take(c, 1)[0]);
  char* const tail = start + size_t{info.span_objects} * info.size;
  char* const end = start + Length{info.span_pages}.bytes();
  ASSERT_LT(tail, end);
  EXPECT_EQ(heap_->Find(tail - 1).start, tail - 48);
  for (char* ptr = tail; ptr < end; ++ptr) ASSERT_EQ(heap_->Find(ptr).span, nullptr);
}

TEST_F(NodeHeapTest, KnowsTheClassAtAnyAddress) {
  const SizeClass c = ClassOf(48);
  char* const block = static_cast<char*>(Take(c, 1)[0]);
  EXPECT_EQ(heap_->ClassAt(block), c);
  EXPECT_EQ(heap_->ClassAt(block + 1), c);
  bool zeroed;
  EXPECT_EQ(heap_->ClassAt(heap_->AllocateLarge(kMiB, kPageSize, &zeroed)), kNoClass);
  const Area& area = heap_->range().heap;
  EXPECT_EQ(heap_->ClassAt(area.start() + area.committed_bytes()), kNoClass);
  EXPECT_EQ(heap_->ClassAt(area.start() - 1), kNoClass);
  EXPECT_EQ(heap_->ClassAt(area.start() + area.reserved_bytes()), kNoClass);
  EXPECT_EQ(heap_->ClassAt(nullptr), kNoClass);
}

TEST_F(NodeHeapTest, FindsLargeObjects) {
  bool zeroed;
  char* const object = static_cast<char*>(heap_->AllocateLarge(3 * kMiB + 1, kPageSize, &zeroed));
  const size_t bytes = 3 * kMiB + kPageSize;
  for (const size_t offset : {size_t{0}, size_t{1}, kPageSize, kMiB + 12345, bytes - 1}) {
    const Block found = heap_->Find(object + offset);
    ASSERT_NE(found.span, nullptr) << offset;
    EXPECT_EQ(found.start, object);
    EXPECT_EQ(found.size, bytes);
    EXPECT_EQ(found.size_class, kNoClass);
  }
  EXPECT_EQ(heap_->Find(object + bytes).span, nullptr) << "free pages";
  Span* span = SpanOf(object);
  heap_->FreeLarge(span);
  for (const size_t offset : {size_t{0}, kMiB, bytes - 1}) {
    EXPECT_EQ(heap_->Find(object + offset).span, nullptr) << offset;
  }
}

TEST_F(NodeHeapTest, FindsNothingWhereThereIsNone) {
  Take(ClassOf(64), 1);
  const Area& area = heap_->range().heap;
  EXPECT_EQ(heap_->Find(area.start() + area.committed_bytes() - 1).span, nullptr) << "free";
  EXPECT_EQ(heap_->Find(area.start() + area.committed_bytes()).span, nullptr);
  EXPECT_EQ(heap_->Find(area.start() + area.reserved_bytes() - 1).span, nullptr);
  EXPECT_EQ(heap_->Find(area.start() - 1).span, nullptr);
  EXPECT_EQ(heap_->Find(heap_).span, nullptr) << "the heap itself";
  EXPECT_EQ(heap_->Find(heap_->arena().start() + 64).span, nullptr) << "a record";
}

TEST_F(NodeHeapTest, FindsNothingOnceTheSpanIsGone) {
  const SizeClass c = ClassOf(1024);
  const std::vector<void*> blocks = Take(c, kSizeMap[c].span_objects);
  Give(c, blocks);
  EXPECT_NE(SpanOf(blocks[0]), nullptr) << "in the transfer cache, of which a span knows nothing";
  heap_->FlushTransferCaches(false);
  EXPECT_EQ(SpanOf(blocks[0]), nullptr);
}

// ---- Large objects -----------------------------------------------------------------------------

TEST_F(NodeHeapTest, LargeObjectsAreAligned) {
  Take(ClassOf(64), 1);  // so that nothing is aligned by itself
  bool zeroed = false;
  for (size_t alignment = 16; alignment <= 16 * kMiB; alignment *= 2) {
    void* object = heap_->AllocateLarge(300'000, alignment, &zeroed);
    ASSERT_NE(object, nullptr) << alignment;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(object) % std::max(alignment, kPageSize), 0u);
    EXPECT_TRUE(zeroed);
    EXPECT_EQ(heap_->Find(object).size, LengthOf(300'000).bytes());
  }
}

TEST_F(NodeHeapTest, LargeObjectsSayWhetherTheyAreZero) {
  bool zeroed = false;
  void* object = heap_->AllocateLarge(kMiB, kPageSize, &zeroed);
  EXPECT_TRUE(zeroed);
  EXPECT_TRUE(IsZero(object, kMiB));
  std::memset(object, 1, kMiB);
  heap_->FreeLarge(SpanOf(object));
  ASSERT_EQ(heap_->AllocateLarge(kMiB, kPageSize, &zeroed), object);
  EXPECT_FALSE(zeroed);
  heap_->FreeLarge(SpanOf(object));
  EXPECT_EQ(heap_->ReleaseIdle(kernel().NowMs(), SIZE_MAX), kMiB);
  ASSERT_EQ(heap_->AllocateLarge(kMiB, kPageSize, &zeroed), object);
  EXPECT_TRUE(zeroed);
  EXPECT_TRUE(IsZero(object, kMiB));
}

TEST_F(NodeHeapTest, ResizesLargeObjectsWhereTheyAre) {
  bool zeroed;
  void* object = heap_->AllocateLarge(kMiB, kPageSize, &zeroed);
  void* behind = heap_->AllocateLarge(kMiB, kPageSize, &zeroed);
  Span* span = SpanOf(object);
  std::memset(object, 1, kMiB);
  const PageHeapStats before = heap_->page_stats();
  EXPECT_TRUE(heap_->ResizeLarge(span, kMiB - kPageSize + 1)) << "the same pages";
  EXPECT_EQ(heap_->page_stats().in_use, before.in_use);
  EXPECT_FALSE(heap_->ResizeLarge(span, kMiB + 1)) << "in use behind";
  EXPECT_EQ(heap_->Find(object).size, kMiB);
  EXPECT_TRUE(heap_->ResizeLarge(span, kMiB / 2));
  EXPECT_EQ(heap_->Find(object).size, kMiB / 2);
  EXPECT_EQ(heap_->Find(static_cast<char*>(object) + kMiB / 2).span, nullptr);
  EXPECT_TRUE(heap_->ResizeLarge(span, kMiB)) << "back into what it gave";
  heap_->FreeLarge(SpanOf(behind));
  EXPECT_TRUE(heap_->ResizeLarge(span, 20 * kMiB)) << "the heap grows behind it";
  EXPECT_EQ(heap_->Find(static_cast<char*>(object) + 20 * kMiB - 1).start, object);
  EXPECT_EQ(static_cast<char*>(object)[kMiB / 2 - 1], 1);
}

// ---- What other nodes have freed ---------------------------------------------------------------

TEST_F(NodeHeapTest, SweepsAllClassesHome) {
  std::vector<void*> blocks;
  for (const size_t size : {size_t{16}, size_t{112}, size_t{1024}, size_t{32768}}) {
    const std::vector<void*> more = TakeMany(ClassOf(size), 30);
    blocks.insert(blocks.end(), more.begin(), more.end());
  }
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937(5));
  GiveRemote(blocks);
  EXPECT_EQ(heap_->remote_waiting(), 120u);
  EXPECT_EQ(heap_->counters().frees_remote.Get(), 120u);
  EXPECT_EQ(heap_->SweepRemote(), 120u);
  EXPECT_EQ(heap_->SweepRemote(), 0u);
  EXPECT_EQ(heap_->remote_waiting(), 0u);
  EXPECT_EQ(heap_->TransferCachedBytes(), 0u) << "to the spans, not to the caches";
  EXPECT_EQ(heap_->page_stats().in_use.pages, 0u);
}

// What waits and what is swept, against a list of what was given: each block is free when it came
// home, and not before.
TEST_F(NodeHeapTest, RandomSweepsMatchAList) {
  std::mt19937 random(20240601);
  std::vector<void*> live, waiting;
  for (int step = 0; step < 300; ++step) {
    for (int n = static_cast<int>(random() % 20); n > 0; --n) {
      const SizeClass c{static_cast<uint8_t>(1 + random() % (kSizeClasses / 2))};
      const size_t before = heap_->remote_waiting();
      const std::vector<void*> more = Take(c, 1 + static_cast<int>(random() % 20));
      if (heap_->remote_waiting() < before) waiting.clear();  // it needed them
      live.insert(live.end(), more.begin(), more.end());
    }
    std::shuffle(live.begin(), live.end(), random);
    const size_t n = std::min<size_t>(live.size(), random() % 400);
    const std::vector<void*> given(live.end() - static_cast<long>(n), live.end());
    live.resize(live.size() - n);
    GiveRemote(given);
    waiting.insert(waiting.end(), given.begin(), given.end());
    ASSERT_EQ(heap_->remote_waiting(), waiting.size());
    if (random() % 4 != 0) continue;
    ASSERT_EQ(heap_->SweepRemote(), waiting.size());
    for (void* block : waiting) {
      const Block found = heap_->Find(block);
      ASSERT_TRUE(found.span == nullptr || heap_->IsFree(found));
    }
    for (void* block : live) ASSERT_FALSE(heap_->IsFree(heap_->Find(block)));
    waiting.clear();
    heap_->CheckInvariants();
  }
  GiveRemote(live);
  heap_->SweepRemote();
  EXPECT_EQ(heap_->page_stats().in_use.pages, 0u);
}

TEST_F(NodeHeapTest, WhoFreesSweepsWhenTheRingIsFull) {
  const std::vector<void*> blocks = TakeMany(ClassOf(16), kRingCapacity + kMaxBatch);
  GiveRemote({blocks.begin(), blocks.begin() + kRingCapacity});
  EXPECT_EQ(heap_->remote_waiting(), static_cast<size_t>(kRingCapacity));
  GiveRemote({blocks.begin() + kRingCapacity, blocks.end()});
  EXPECT_EQ(heap_->remote_waiting(), static_cast<size_t>(kMaxBatch)) << "all before are home";
  EXPECT_EQ(heap_->counters().frees_remote.Get(), blocks.size());
  EXPECT_EQ(heap_->SweepRemote(), static_cast<size_t>(kMaxBatch));
  EXPECT_EQ(heap_->page_stats().in_use.pages, 0u);
}

TEST_F(NodeHeapTest, WithoutMemoryForTheRingBlocksGoHomeAtOnce) {
  const SizeClass c = ClassOf(16), other = ClassOf(1024);
  std::vector<void*> blocks = TakeMany(c, 20), others = TakeMany(other, 3);
  void* const kept = blocks.back();
  void* const kept_too = others.back();
  blocks.pop_back();
  others.pop_back();
  UseUpRecords();
  blocks.insert(blocks.begin() + 7, others.begin(), others.end());
  heap_->ReceiveRemote(blocks.data(), static_cast<int>(blocks.size()));
  EXPECT_EQ(heap_->remote_waiting(), 0u);
  EXPECT_EQ(heap_->counters().frees_remote.Get(), 21u);
  heap_->ReceiveRemote(&kept, 1);
  heap_->ReceiveRemote(&kept_too, 1);
  EXPECT_EQ(heap_->page_stats().in_use.pages, 0u);
  // The ring is made when there is memory for it.
  kernel().FailNothing();
  blocks = Take(c, 5);
  GiveRemote(blocks);
  EXPECT_EQ(heap_->remote_waiting(), 5u);
}

class NodeHeapDeathTest : public NodeHeapTest {
 protected:
  static testing::Matcher<const std::string&> Line(const void* ptr, const std::string& what) {
    std::ostringstream line;
    line << "numaheap: free(" << ptr << "): " << what << "\n";
    return testing::Eq(line.str());
  }
};

// Mistakes that arrive with a batch from another node are found when they are swept.
TEST_F(NodeHeapDeathTest, RemoteMistakes) {
  const SizeClass c = ClassOf(64);
  const std::vector<void*> blocks = Take(c, 4);
  EXPECT_EXIT(
      {
        GiveRemote({blocks[0], blocks[1], blocks[0]});
        heap_->SweepRemote();
      },
      testing::KilledBySignal(SIGABRT),
      Line(blocks[0], "already free (node 2, size class 64 bytes)"));
  // The pages have no class any more.
  const std::vector<void*> all = Take(ClassOf(2048), 8);
  ASSERT_EQ(all.size(), 8u);
  Give(ClassOf(2048), all);
  heap_->FlushTransferCaches(false);
  EXPECT_EXIT(
      {
        GiveRemote({all[0]});
        heap_->SweepRemote();
      },
      testing::KilledBySignal(SIGABRT),
      Line(all[0], "already free (node 2, no size class: free pages)"));
}

// ---- Transfer caches ---------------------------------------------------------------------------

TEST_F(NodeHeapTest, FlushesAllOrOnlyWhatRested) {
  const SizeClass c = ClassOf(256), other = ClassOf(1024);
  Give(c, Take(c, 30));
  Give(other, Take(other, 10));
  EXPECT_EQ(heap_->TransferCachedBytes(), 30u * 256 + 10 * 1024);
  heap_->FlushTransferCaches(true);
  EXPECT_EQ(heap_->TransferCachedBytes(), 30u * 256 + 10 * 1024) << "the round only begins";
  const std::vector<void*> needed = Take(c, 12);
  Give(c, needed);
  heap_->FlushTransferCaches(true);
  EXPECT_EQ(heap_->TransferCachedBytes(), 12u * 256) << "12 were needed";
  heap_->FlushTransferCaches(true);
  EXPECT_EQ(heap_->TransferCachedBytes(), 0u);
  EXPECT_EQ(heap_->page_stats().in_use.pages, 0u);

  Give(c, Take(c, 30));
  heap_->FlushTransferCaches(false);
  EXPECT_EQ(heap_->TransferCachedBytes(), 0u);
  EXPECT_EQ(heap_->page_stats().in_use.pages, 0u);
}

TEST_F(NodeHeapTest, CacheDomainsKeepTheirBlocks) {
  heap_->SetCacheDomains(3);
  const SizeClass c = ClassOf(256);
  std::vector<void*> blocks = Take(c, 8);
  Give(c, {blocks[0], blocks[1]}, 0);
  Give(c, {blocks[2], blocks[3]}, 1);
  Give(c, {blocks[4], blocks[5]}, 2);
  EXPECT_EQ(heap_->TransferCachedBytes(), 6u * 256);
  EXPECT_EQ(Take(c, 2, 1), (std::vector<void*>{blocks[2], blocks[3]}));
  EXPECT_EQ(Take(c, 2, 2), (std::vector<void*>{blocks[4], blocks[5]}));
  EXPECT_EQ(Take(c, 2, 3), (std::vector<void*>{blocks[0], blocks[1]})) << "a fourth shares";
  Give(c, {blocks[6]}, 2);
  Give(c, {blocks[7]}, 1);
  heap_->FlushTransferCaches(false);
  EXPECT_EQ(heap_->TransferCachedBytes(), 0u) << "those of all domains";
}

TEST_F(NodeHeapTest, CacheDomainsOnlyRiseAndHaveALimit) {
  const SizeClass c = ClassOf(256);
  heap_->SetCacheDomains(1000);
  const std::vector<void*> blocks = Take(c, 3);
  Give(c, {blocks[0]}, 63);
  EXPECT_EQ(Take(c, 1, 127), (std::vector<void*>{blocks[0]})) << "64 there are, and more share";
  Give(c, {blocks[1]}, 63);
  heap_->SetCacheDomains(1);
  EXPECT_EQ(Take(c, 1, 63), (std::vector<void*>{blocks[1]})) << "none is taken away";
}

TEST_F(NodeHeapTest, WithoutMemoryDomainsShare) {
  UseUpRecords();
  heap_->SetCacheDomains(4);
  kernel().FailNothing();
  const SizeClass c = ClassOf(256);
  const std::vector<void*> blocks = Take(c, 2);
  Give(c, {blocks[0]}, 3);
  EXPECT_EQ(Take(c, 1, 0), (std::vector<void*>{blocks[0]}));
}

TEST_F(NodeHeapTest, MetadataIsCounted) {
  const size_t at_start = heap_->metadata_bytes();
  EXPECT_GE(at_start, sizeof(NodeHeap));
  void* record = heap_->arena().Allocate(1024);
  EXPECT_EQ(heap_->metadata_bytes(), at_start + 1024);
  heap_->arena().Free(record, 1024);
  EXPECT_EQ(heap_->metadata_bytes(), at_start);
  Take(ClassOf(64), 1);
  const size_t maps = heap_->map().used_bytes();
  EXPECT_GT(maps, 0u);
  EXPECT_GE(heap_->metadata_bytes(), at_start + maps + sizeof(Span));
  EXPECT_LT(heap_->metadata_bytes(), at_start + maps + 4096);
}

// ---- Forks -------------------------------------------------------------------------------------

constexpr LockRank kRanks[] = {LockRank::kStart,         LockRank::kCpuCreate,
                               LockRank::kCpuCache,      LockRank::kRemoteInbox,
                               LockRank::kTransferCache, LockRank::kCentralFreeList,
                               LockRank::kPageHeap,      LockRank::kMetadata};

void LockAll(NodeHeap& heap) {
  Lock::BeginFork();  // debug builds: many locks of one rank
  for (const LockRank rank : kRanks) heap.LockRankForFork(rank);
}

void UnlockAll(NodeHeap& heap) {
  for (auto rank = std::rbegin(kRanks); rank != std::rend(kRanks); ++rank) {
    heap.UnlockRankAfterFork(*rank);
  }
  Lock::EndFork();
}

// Whether another thread could have it now.
bool IsFree(Lock& lock) {
  bool free = false;
  std::thread([&] {
    if (!lock.TryAcquire()) return;
    free = true;
    lock.Release();
  }).join();
  return free;
}

TEST_F(NodeHeapTest, EveryLockIsHeldAroundFork) {
  heap_->SetCacheDomains(2);
  LockAll(*heap_);
  EXPECT_FALSE(IsFree(heap_->pages().lock()));
  EXPECT_FALSE(IsFree(heap_->arena().lock()));
  // Whatever a thread wants of the heap, it waits.
  std::atomic<int> done{0};
  std::vector<std::thread> threads;
  const std::vector<std::function<void()>> wishes = {
      [&] { Take(ClassOf(64), 1, 0); }, [&] { Take(ClassOf(kMaxSmallSize), 1, 1); },
      [&] { heap_->page_stats(); },     [&] { heap_->TransferCachedBytes(); },
      [&] { heap_->metadata_bytes(); }, [&] { heap_->FlushTransferCaches(true); }};
  for (const auto& wish : wishes) {
    threads.emplace_back([&done, &wish] {
      wish();
      ++done;
    });
  }
  EXPECT_EQ(done, 0);
  UnlockAll(*heap_);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(done, static_cast<int>(wishes.size()));
  EXPECT_TRUE(IsFree(heap_->pages().lock()));
  EXPECT_TRUE(IsFree(heap_->arena().lock()));
}

// A child of a busy parent has a heap that is whole.
TEST_F(NodeHeapTest, ForksWhileOthersWork) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      const SizeClass c = ClassOf(i == 0 ? 32 : 4096);
      while (!stop) {
        const std::vector<void*> blocks = Take(c, kSizeMap[c].batch);
        i == 0 ? Give(c, blocks) : GiveRemote(blocks);
      }
    });
  }
  for (int round = 0; round < 20; ++round) {
    LockAll(*heap_);
    const pid_t child = fork();
    UnlockAll(*heap_);
    if (child == 0) {
      void* blocks[8];
      const SizeClass c = ClassOf(64);
      const int taken = heap_->AllocateBatch(c, 0, blocks, 8);
      heap_->FreeBatch(c, 0, blocks, taken);
      heap_->SweepRemote();
      heap_->CheckInvariants();
      _exit(taken > 0 ? 0 : 1);
    }
    ASSERT_GT(child, 0);
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

// ---- Threads -----------------------------------------------------------------------------------

TEST_F(NodeHeapTest, HomeRemoteAndScavengingThreads) {
  heap_->SetCacheDomains(2);
  constexpr int kThreads = 4;
  std::atomic<int> left{kThreads};
  const auto work = [&](int me) {
    std::mt19937 random(static_cast<unsigned>(me));
    std::vector<std::pair<SizeClass, char*>> mine;
    std::vector<void*> objects;
    const auto stamp = [me](size_t size) {
      return static_cast<uint64_t>(me) << 32 | static_cast<uint64_t>(size);
    };
    for (int step = 0; step < 3'000; ++step) {
      const int what = static_cast<int>(random() % 8);
      if (what < 4 && mine.size() < 300) {
        const SizeClass c{static_cast<uint8_t>(1 + random() % (kSizeClasses / 2))};
        const uint64_t value = stamp(kSizeMap[c].size);
        for (void* block : Take(c, static_cast<int>(1 + random() % kMaxBatch), me % 2)) {
          std::memcpy(block, &value, sizeof(value));
          mine.emplace_back(c, static_cast<char*>(block));
        }
      } else if (what == 7) {
        bool zeroed;
        void* object = heap_->AllocateLarge(300'000, kPageSize, &zeroed);
        if (object == nullptr) continue;
        ASSERT_TRUE(!zeroed || IsZero(object, 300'000));
        std::memset(object, me, 300'000);
        ASSERT_EQ(heap_->Find(object).start, object);
        heap_->FreeLarge(heap_->Find(object).span);
      } else {
        for (int n = 0; n < 100 && !mine.empty(); ++n) {
          const size_t i = random() % mine.size();
          const auto [c, block] = mine[i];
          const uint64_t value = stamp(kSizeMap[c].size);
          ASSERT_EQ(std::memcmp(block, &value, sizeof(value)), 0) << "someone else's";
          void* const ptr = block;
          random() % 2 == 0 ? heap_->FreeBatch(c, me % 2, &ptr, 1) : heap_->ReceiveRemote(&ptr, 1);
          mine[i] = mine.back();
          mine.pop_back();
        }
      }
    }
    for (const auto& [c, block] : mine) {
      void* const ptr = block;
      heap_->FreeBatch(c, me % 2, &ptr, 1);
    }
    --left;
  };
  std::vector<std::thread> threads;
  for (int i = 1; i <= kThreads; ++i) threads.emplace_back(work, i);
  threads.emplace_back([&] {
    while (left > 0) {
      heap_->SweepRemote();
      heap_->FlushTransferCaches(true);
      heap_->ReleaseIdle(kernel().NowMs(), SIZE_MAX);
      const PageHeapStats stats = heap_->page_stats();
      ASSERT_EQ(stats.in_use + stats.idle + stats.released, stats.committed);
    }
  });
  for (std::thread& thread : threads) thread.join();
  heap_->SweepRemote();
  heap_->FlushTransferCaches(false);
  heap_->CheckInvariants();
  // All that may be left are spans that were made and then not needed: they go when a block of
  // theirs has been out and is back.
  for (int i = 1; i < kSizeClasses; ++i) {
    const SizeClass c{static_cast<uint8_t>(i)};
    const size_t spans = SpansInUse();
    std::vector<void*> all;
    while (SpansInUse() <= spans) {
      const std::vector<void*> more = Take(c, kMaxBatch);
      ASSERT_FALSE(more.empty());
      all.insert(all.end(), more.begin(), more.end());
    }
    GiveRemote(all);
    heap_->SweepRemote();
  }
  EXPECT_EQ(heap_->page_stats().in_use.pages, 0u);
}

}  // namespace
}  // namespace numaheap
