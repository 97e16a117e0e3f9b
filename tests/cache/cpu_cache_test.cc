// The caches of all CPUs in both modes, over one node and over two: misses, overflows, capacities,
// remote frees, drains, memory that runs out, exact totals, forks; against a model, and with many
// threads.
#include "src/cache/cpu_cache.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <ostream>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "src/os/rseq.h"
#include "tests/cache/affinity.h"
#include "tests/cache/child.h"
#include "tests/cache/made_heaps.h"
#include "tests/cache/sanitizer.h"

namespace numaheap {
namespace {

using Blocks = std::vector<void*>;

constexpr SizeClass k64 = kSizeMap.ClassOf(64);
constexpr SizeClass k512 = kSizeMap.ClassOf(512);
constexpr SizeClass k1024 = kSizeMap.ClassOf(1024);
constexpr SizeClass k32Ki = kSizeMap.ClassOf(32 << 10);
constexpr SizeClass kLargest{kSizeClasses - 1};

constexpr size_t SizeOf(SizeClass c) {
  return kSizeMap[c].size;
}
constexpr int BatchOf(SizeClass c) {
  return kSizeMap[c].batch;
}

struct Variant {
  bool rseq;
  int nodes;
};

void PrintTo(const Variant& variant, std::ostream* out) {
  *out << (variant.rseq ? "rseq" : "locked") << ", " << variant.nodes << " nodes";
}

// CPUs are numbered by turn: turn k belongs to node k % nodes. In the locked mode they are made up
// (the kernel says where the caller is), in the rseq mode real.
class CpuCacheTest : public testing::TestWithParam<Variant> {
 protected:
  static constexpr size_t kBytesPerCpu = 1 << 20;

  void SetUp() override {
    if (!rseq()) return;
    if (RegisteredRseqOffset() == 0) GTEST_SKIP() << "no restartable sequences here";
    if (LinuxKernel().RegisterForInterrupts() != 0) GTEST_SKIP() << "no interrupts here";
    if (affinity_.cpus().size() < 2) GTEST_SKIP() << "one CPU";
  }

  void MakeHeaps() {
    std::vector<int> node_of_cpu(
        static_cast<size_t>(std::max(affinity_.cpus().back() + 1, rseq() ? 0 : 4)));
    for (size_t k = 0; k < (rseq() ? affinity_.cpus().size() : node_of_cpu.size()); ++k) {
      node_of_cpu[static_cast<size_t>(CpuOfTurn(static_cast<int>(k)))] =
          static_cast<int>(k) % nodes();
    }
    heaps_.emplace(node_of_cpu);
  }
  // Caches that no thread has used; the caller is on turn 0.
  void Open(size_t bytes_per_cpu = kBytesPerCpu) {
    MakeHeaps();
    ASSERT_TRUE(heaps_->OpenAll());
    ASSERT_TRUE(OpenCache(bytes_per_cpu));
    RunOn(0);
  }
  bool OpenCache(size_t bytes_per_cpu = kBytesPerCpu) {
    fast_.rseq_offset.store(FakeRseqOffset());
    fast_.slabs.store(no_slabs_ + 2);
    cache_.emplace(heaps_->kernel, heaps_->heaps, fast_);
    return cache_->Open(heaps_->topology, rseq() ? RegisteredRseqOffset() : 0, bytes_per_cpu);
  }

  static bool rseq() { return GetParam().rseq; }
  static int nodes() { return GetParam().nodes; }
  int CpuOfTurn(int turn) const { return rseq() ? affinity_.cpus()[turn] : turn; }
  int NodeOfTurn(int turn) const { return turn % nodes(); }
  int ServingTurn(int turn) { return heaps_->heaps.Serving({NodeOfTurn(turn)}).node().value; }
  void RunOn(int turn) {
    if (rseq()) {
      ASSERT_TRUE(Affinity::Pin(CpuOfTurn(turn)));
    } else {
      heaps_->kernel.SetCpu(turn);
    }
  }
  // On a CPU of another node, where there is one.
  void RunOnLast() { RunOn(1); }

  // As malloc and free use the fast path and what is behind it.
  void* Malloc(SizeClass c) {
    if (void* block = SlabPop(fast_, c)) return block;
    return cache_->Allocate(c);
  }
  void Free(void* block) {
    if (SlabPush(fast_, block) == PushResult::kDone) return;
    NodeHeap& home = Home(block);
    const SizeClass c = home.map().ClassAt(home.map().PageOf(block));
    ASSERT_NE(c, kNoClass);
    cache_->Free(home, c, block, "free");
  }
  Blocks MallocMany(SizeClass c, int n) {
    Blocks blocks;
    for (int i = 0; i < n; ++i) {
      blocks.push_back(Malloc(c));
      EXPECT_NE(blocks.back(), nullptr);
    }
    return blocks;
  }
  void FreeMany(const Blocks& blocks) {
    for (void* block : blocks) Free(block);
  }

  NodeHeap& heap(int node) { return (*heaps_)[node]; }
  NodeHeap& Home(void* block) { return *heaps_->heaps.HomeOf(block); }
  int NodeOf(void* block) { return Home(block).node().value; }

  CacheTotals Totals(int node) { return cache_->Totals({node}); }
  size_t Cached(int node = 0) { return Totals(node).cached_bytes; }
  uint64_t Allocations(int node) {
    return Totals(node).allocations + heap(node).counters().allocations.Get();
  }
  uint64_t LocalFrees(int node) {
    return Totals(node).frees_local + heap(node).counters().frees_local.Get();
  }
  uint64_t FreedBytes(int from, int home) {
    return heaps_->heaps.freed().Get(from, home) + cache_->RemotePendingBytes({from}, heap(home)) +
           (from == home ? Totals(home).freed_local_bytes : 0);
  }
  uint64_t RemoteFrees(int node) {
    return heap(node).counters().frees_remote.Get() + cache_->RemotePending(heap(node));
  }

  // How many blocks of a class are handed out before the cache asks for more.
  int Hits(SizeClass c, Blocks* out) {
    for (int hits = 0;; ++hits) {
      const size_t before = Cached();
      out->push_back(Malloc(c));
      if (Cached() + SizeOf(c) != before) return hits;
    }
  }

  // All blocks have been freed: with nothing cached any more, no page is in use.
  void ExpectAllBlocksCameBack() {
    cache_->CheckInvariants();
    cache_->DrainAll();
    for (int node = 0; node < nodes(); ++node) {
      cache_->DeliverRemoteFrees(heap(node));
      heap(node).SweepRemote();
      heap(node).FlushTransferCaches(/*only_unused=*/false);
      heap(node).CheckInvariants();
      EXPECT_EQ(heap(node).page_stats().in_use, Length{0}) << "node " << node;
      EXPECT_EQ(Cached(node), 0u);
      EXPECT_EQ(Allocations(node), LocalFrees(node) + RemoteFrees(node));
    }
    cache_->CheckInvariants();
  }

  // As around fork(), in the order of the ranks.
  void LockAll() {
    Lock::BeginFork();
    cache_->LockForFork();
    for (const LockRank rank : kHeapRanks) {
      heaps_->heaps.ForEach([rank](NodeHeap& heap) { heap.LockRankForFork(rank); });
    }
  }
  void UnlockAll() {
    for (auto rank = std::rbegin(kHeapRanks); rank != std::rend(kHeapRanks); ++rank) {
      heaps_->heaps.ForEach([rank](NodeHeap& heap) { heap.UnlockRankAfterFork(*rank); });
    }
    cache_->UnlockAfterFork();
    Lock::EndFork();
  }

  static constexpr LockRank kHeapRanks[] = {LockRank::kRemoteInbox, LockRank::kTransferCache,
                                            LockRank::kCentralFreeList, LockRank::kPageHeap,
                                            LockRank::kMetadata};

  Affinity affinity_;
  std::optional<MadeHeaps> heaps_;
  CpuSlab no_slab_;
  CpuSlab* const no_slabs_[2] = {&no_slab_, &no_slab_};
  FastPath fast_{};
  std::optional<CpuCache> cache_;
};

INSTANTIATE_TEST_SUITE_P(Modes, CpuCacheTest,
                         testing::Values(Variant{false, 1}, Variant{false, 2}, Variant{true, 1},
                                         Variant{true, 2}),
                         [](const auto& info) {
                           return std::string(info.param.rseq ? "Rseq" : "Locked") +
                                  (info.param.nodes == 1 ? "OneNode" : "TwoNodes");
                         });

// ---- Hits, misses, overflows -------------------------------------------------------------------

TEST_P(CpuCacheTest, OpensTheFastPathInTheRseqModeOnly) {
  Open();
  EXPECT_EQ(cache_->uses_rseq(), rseq());
  EXPECT_EQ(fast_.rseq_offset.load(), rseq() ? RegisteredRseqOffset() : FakeRseqOffset());
  EXPECT_EQ(SlabPop(fast_, k64), nullptr);
  void* const block = cache_->Allocate(k64);
  EXPECT_EQ(SlabPop(fast_, k64) != nullptr, rseq());
  EXPECT_EQ(SlabPush(fast_, block), rseq() ? PushResult::kDone : PushResult::kElsewhere);
}

TEST_P(CpuCacheTest, AMissBringsHalfTheCapacity) {
  Open();
  unsigned taken = 0;
  // The class starts with a quarter of a batch of capacity, which doubles.
  for (const int capacity : {BatchOf(k64) / 4, BatchOf(k64) / 2}) {
    ASSERT_NE(Malloc(k64), nullptr);
    ++taken;
    for (int left = capacity / 2; left > 0; --left) {
      EXPECT_EQ(Cached(), left * SizeOf(k64));
      ASSERT_NE(Malloc(k64), nullptr);
      ++taken;
    }
    EXPECT_EQ(Cached(), 0u);
  }
  ASSERT_NE(Malloc(k64), nullptr);
  ++taken;
  EXPECT_EQ(Cached(), (BatchOf(k64) - 1) * SizeOf(k64)) << "the third in a row: all it may hold";
  EXPECT_EQ(Totals(0).allocations, taken);
  EXPECT_EQ(Totals(0).allocated_bytes, taken * SizeOf(k64));
  EXPECT_EQ(Totals(0).frees_local, 0u);
  cache_->CheckInvariants();
}

TEST_P(CpuCacheTest, TheLastBlockFreedComesFirst) {
  Open();
  void* const first = Malloc(k64);
  void* const second = Malloc(k64);
  EXPECT_NE(first, second);
  Free(first);
  Free(second);
  EXPECT_EQ(Malloc(k64), second);
  EXPECT_EQ(Malloc(k64), first);
}

TEST_P(CpuCacheTest, AllClasses) {
  Open();
  for (int i = 1; i < kSizeClasses; ++i) {
    const SizeClass c{static_cast<uint8_t>(i)};
    const Blocks blocks = MallocMany(c, 3);
    for (void* block : blocks) {
      const Block found = Home(block).Find(block);
      ASSERT_EQ(found.start, block);
      ASSERT_EQ(found.size_class, c);
      std::memset(block, i, SizeOf(c));
    }
    FreeMany(blocks);
  }
  ExpectAllBlocksCameBack();
}

TEST_P(CpuCacheTest, AnOverflowGoesOnToTheHeap) {
  Open();
  constexpr int kMany = 5'000;  // more than a class may have slots
  constexpr int kWaves = 40;
  for (int wave = 0; wave < kWaves; ++wave) {
    const Blocks blocks = MallocMany(k64, kMany);
    FreeMany(Blocks(blocks.rbegin(), blocks.rend()));
  }
  EXPECT_LE(Cached(), 2u * BatchOf(k64) * SizeOf(k64));
  EXPECT_GT(Cached(), 0u);
  EXPECT_EQ(Totals(0).frees_local, static_cast<uint64_t>(kWaves * kMany));
  cache_->CheckInvariants();
  ExpectAllBlocksCameBack();
}

TEST_P(CpuCacheTest, WavesThatNearlyFitAreMadeToFit) {
  Open();
  const int wave = 3 * BatchOf(k64);
  for (int i = 0; i < 20; ++i) FreeMany(MallocMany(k64, wave));
  EXPECT_GE(Cached(), wave * SizeOf(k64));
  cache_->CheckInvariants();
  ExpectAllBlocksCameBack();
}

// Where blocks only come or only go, more capacity would hold more of them and spare no trip.
TEST_P(CpuCacheTest, OneWayTrafficStaysSmall) {
  Open();
  constexpr int kMany = 5'000;
  const size_t most = size_t{2} * static_cast<size_t>(BatchOf(k64)) * SizeOf(k64);
  const Blocks blocks = MallocMany(k64, kMany);
  EXPECT_LE(Cached(), most);
  for (int i = 0; i < kMany; ++i) {
    Free(blocks[static_cast<size_t>(i)]);
    // The one batch more is what it got when it turned from empty to full.
    ASSERT_LE(Cached(), most + most / 2);
  }
  ExpectAllBlocksCameBack();
}

TEST_P(CpuCacheTest, BlocksLieOnTheNodeOfTheCpu) {
  Open();
  for (int round = 0; round < 3; ++round) {
    for (int turn = 0; turn < 2; ++turn) {
      RunOn(turn);
      for (const SizeClass c : {k64, k1024, k32Ki, kLargest}) {
        for (void* block : MallocMany(c, 10)) ASSERT_EQ(NodeOf(block), NodeOfTurn(turn));
      }
      EXPECT_EQ(cache_->LocalHeap().node().value, NodeOfTurn(turn));
    }
  }
  EXPECT_EQ(Allocations(0) + (nodes() == 2 ? Allocations(1) : 0), 3u * 2 * 4 * 10);
}

// ---- Capacities --------------------------------------------------------------------------------

TEST_P(CpuCacheTest, CapacitiesStayWithinTheBudget) {
  constexpr size_t kSmallBudget = 64 << 10;
  Open(kSmallBudget);
  std::mt19937 random(20240506);
  Blocks live;
  for (int step = 0; step < 3'000; ++step) {
    const SizeClass c{static_cast<uint8_t>(1 + random() % (kSizeClasses - 9))};
    for (int n = static_cast<int>(random() % 20); n > 0; --n) live.push_back(Malloc(c));
    for (int n = static_cast<int>(random() % 20); n > 0 && !live.empty(); --n) {
      std::swap(live[random() % live.size()], live.back());
      Free(live.back());
      live.pop_back();
    }
    ASSERT_LE(Cached(), kSmallBudget);
    if (step % 50 == 0) cache_->CheckInvariants();
    while (live.size() > 150) {
      Free(live.back());
      live.pop_back();
    }
  }
  FreeMany(live);
  ExpectAllBlocksCameBack();
}

TEST_P(CpuCacheTest, CapacityMovesToWhatIsUsed) {
  Open(64 << 10);
  // One class takes the whole budget,
  for (int round = 0; round < 8; ++round) FreeMany(MallocMany(k1024, 60));
  EXPECT_GT(Cached(), size_t{32} << 10);
  Blocks before;
  EXPECT_LT(Hits(k512, &before), 16);
  // and loses it to one that is used while it rests.
  Blocks after;
  for (int round = 0; round < 16; ++round) FreeMany(MallocMany(k512, 100));
  EXPECT_GE(Hits(k512, &after), 64);
  cache_->CheckInvariants();
  FreeMany(before);
  FreeMany(after);
  ExpectAllBlocksCameBack();
}

TEST_P(CpuCacheTest, ClassesInUseShare) {
  Open(64 << 10);
  for (int round = 0; round < 100; ++round) {
    for (const SizeClass c : {k1024, k512}) FreeMany(MallocMany(c, 20));
  }
  Blocks blocks;
  EXPECT_GE(Hits(k1024, &blocks), 8);
  EXPECT_GE(Hits(k512, &blocks), 8);
  cache_->CheckInvariants();
}

TEST_P(CpuCacheTest, ABlockLargerThanTheBudgetGoesPast) {
  Open(64 << 10);
  for (int round = 0; round < 5; ++round) {
    const Blocks blocks = MallocMany(kLargest, 3);
    EXPECT_EQ(Cached(), 0u);
    FreeMany(blocks);
    EXPECT_EQ(Cached(), 0u);
  }
  EXPECT_EQ(Totals(0).allocations, 15u);
  EXPECT_EQ(Totals(0).allocated_bytes, 15u * SizeOf(kLargest));
  EXPECT_EQ(Totals(0).frees_local, 15u);
  ExpectAllBlocksCameBack();
}

// ---- Remote frees ------------------------------------------------------------------------------

TEST_P(CpuCacheTest, AnotherCpuOfTheNodeKeepsWhatItFrees) {
  if (nodes() == 2) GTEST_SKIP() << "of one node";
  Open();
  const Blocks blocks = MallocMany(k64, 10);
  RunOnLast();
  for (void* block : blocks) {
    Free(block);
    EXPECT_EQ(Malloc(k64), block);
  }
  EXPECT_EQ(RemoteFrees(0), 0u);
  EXPECT_EQ(Totals(0).frees_local, 10u);
}

TEST_P(CpuCacheTest, RemoteFreesGoHomeInBatches) {
  if (nodes() == 1) GTEST_SKIP() << "nothing is remote";
  Open();
  const Blocks blocks = MallocMany(k64, kRemoteSlots + 10);
  const size_t cached = Cached(0);
  RunOnLast();
  for (int n = 1; n <= kRemoteSlots + 10; ++n) {
    Free(blocks[static_cast<size_t>(n - 1)]);
    const int home = n > kRemoteSlots ? kRemoteSlots : 0;
    ASSERT_EQ(cache_->RemotePending(heap(0)), static_cast<uint64_t>(n - home));
    ASSERT_EQ(heap(0).remote_waiting(), static_cast<size_t>(home));
  }
  EXPECT_EQ(heap(0).counters().frees_remote.Get(), static_cast<uint64_t>(kRemoteSlots));
  EXPECT_EQ(LocalFrees(0) + LocalFrees(1), 0u);
  EXPECT_EQ(Cached(1), 0u) << "nothing of another node is kept here";
  EXPECT_EQ(NodeOf(Malloc(k64)), 1) << "or handed out";
  cache_->DeliverRemoteFrees(heap(1));
  EXPECT_EQ(cache_->RemotePending(heap(0)), 10u) << "another home";
  cache_->DeliverRemoteFrees(heap(0));
  EXPECT_EQ(cache_->RemotePending(heap(0)), 0u);
  EXPECT_EQ(heap(0).counters().frees_remote.Get(), static_cast<uint64_t>(kRemoteSlots + 10));
  EXPECT_EQ(heap(0).remote_waiting(), static_cast<size_t>(kRemoteSlots + 10));
  EXPECT_EQ(Cached(0), cached);
  cache_->CheckInvariants();
}

TEST_P(CpuCacheTest, RemoteBytesAreCountedByWhoFreed) {
  if (nodes() == 1) GTEST_SKIP() << "nothing is remote";
  Open();
  const Blocks small = MallocMany(k64, 300), large = MallocMany(k32Ki, 3);
  RunOnLast();
  FreeMany(small);
  FreeMany(large);
  EXPECT_EQ(FreedBytes(1, 0), 300 * SizeOf(k64) + 3 * SizeOf(k32Ki)) << "on their way";
  EXPECT_EQ(FreedBytes(0, 1) + FreedBytes(0, 0) + FreedBytes(1, 1), 0u);
  cache_->DeliverRemoteFrees(heap(0));
  EXPECT_EQ(cache_->RemotePendingBytes({1}, heap(0)), 0u);
  EXPECT_EQ(FreedBytes(1, 0), 300 * SizeOf(k64) + 3 * SizeOf(k32Ki)) << "and at home";
}

// However large they are.
TEST_P(CpuCacheTest, WhatIsGatheredIsBoundedInBytes) {
  if (nodes() == 1) GTEST_SKIP() << "nothing is remote";
  Open();
  for (const SizeClass c :
       {k1024, kSizeMap.ClassOf(1025), kSizeMap.ClassOf(6000), k32Ki, kLargest}) {
    const Blocks blocks = MallocMany(c, 300);
    RunOnLast();
    uint64_t most = 0;
    for (void* block : blocks) {
      Free(block);
      most = std::max(most, cache_->RemotePendingBytes({1}, heap(0)));
      ASSERT_LE(most, kRemoteSlots * kRemoteSlotBytes);
    }
    EXPECT_EQ(most > kRemoteSlots * kRemoteSlotBytes / 2, SizeOf(c) <= 16 << 10)
        << SizeOf(c) << ": those go at once";
    cache_->CheckInvariants();
    cache_->DeliverRemoteFrees(heap(0));
    EXPECT_EQ(cache_->RemotePending(heap(0)), 0u);
    heap(0).SweepRemote();
    RunOn(0);
  }
  ExpectAllBlocksCameBack();
}

// What could not be taken out of the cache of an idle CPU is not put into it.
TEST_P(CpuCacheTest, AKernelThatCannotInterruptGathersNothing) {
  if (nodes() == 1) GTEST_SKIP() << "nothing is remote";
  Open();
  const Blocks blocks = MallocMany(k64, 20);
  heaps_->kernel.FailFrom(FakeKernel::kInterrupt, 1, EPERM);
  RunOnLast();
  FreeMany(blocks);
  EXPECT_EQ(cache_->RemotePending(heap(0)), rseq() ? 0u : 20u);
  EXPECT_EQ(heaps_->kernel.count(FakeKernel::kInterrupt), rseq() ? 1 : 0) << "it is asked once";
  cache_->DeliverRemoteFrees(heap(0));
  EXPECT_EQ(heap(0).remote_waiting(), 20u);
  EXPECT_EQ(FreedBytes(1, 0), 20 * SizeOf(k64));
  heaps_->kernel.FailNothing();
  ExpectAllBlocksCameBack();
}

TEST_P(CpuCacheTest, OnlyCpusThatGatheredAreInterrupted) {
  if (nodes() == 1) GTEST_SKIP() << "nothing is remote";
  Open();
  const Blocks blocks = MallocMany(k64, 20);
  RunOnLast();
  FreeMany(blocks);
  const int before = heaps_->kernel.count(FakeKernel::kInterrupt);
  cache_->DeliverRemoteFrees(heap(1));
  EXPECT_EQ(heaps_->kernel.count(FakeKernel::kInterrupt), before);
  cache_->DeliverRemoteFrees(heap(0));
  EXPECT_EQ(heaps_->kernel.count(FakeKernel::kInterrupt), before + rseq());
  cache_->DeliverRemoteFrees(heap(0));
  EXPECT_EQ(heaps_->kernel.count(FakeKernel::kInterrupt), before + rseq()) << "nothing is left";
}

TEST_P(CpuCacheTest, TheHomeNodeSweepsBeforeItGrows) {
  if (nodes() == 1) GTEST_SKIP() << "nothing is remote";
  Open();
  // All blocks of some spans, so that the next one has to come from somewhere else.
  Blocks blocks;
  do {
    blocks.push_back(Malloc(k32Ki));
  } while (Cached(0) > 0 || blocks.size() < 32);
  RunOnLast();
  FreeMany(blocks);
  ASSERT_GT(heap(0).remote_waiting(), 0u);
  const Length before = heap(0).page_stats().in_use;
  RunOn(0);
  // As many as are still there: not a page more.
  for (size_t n = 0; n < blocks.size(); ++n) ASSERT_EQ(NodeOf(Malloc(k32Ki)), 0);
  EXPECT_LE(heap(0).page_stats().in_use, before);
  EXPECT_EQ(heap(0).remote_waiting(), 0u);
}

// ---- Mistakes ----------------------------------------------------------------------------------

std::string Line(const void* ptr, std::string_view what, int node, SizeClass c,
                 const void* block = nullptr) {
  std::ostringstream regex;
  regex << "^numaheap: free\\(" << ptr << "\\): " << what << " \\(node " << node << ", size class "
        << SizeOf(c) << " bytes";
  if (block != nullptr) regex << ", block " << block;
  regex << "\\)\n$";
  return regex.str();
}

class CpuCacheDeathTest : public CpuCacheTest {};

INSTANTIATE_TEST_SUITE_P(Modes, CpuCacheDeathTest,
                         testing::Values(Variant{false, 1}, Variant{false, 2}, Variant{true, 1},
                                         Variant{true, 2}));

TEST_P(CpuCacheDeathTest, Misaligned) {
  Open();
  for (const SizeClass c : {k64, k1024, kLargest}) {
    char* const block = static_cast<char*>(Malloc(c));
    EXPECT_DEATH(Free(block + 8),
                 Line(block + 8, "points into the middle of a block", 0, c, block));
  }
}

TEST_P(CpuCacheDeathTest, MisalignedWhereNothingIsCached) {
  Open(64 << 10);
  char* const block = static_cast<char*>(Malloc(kLargest));
  EXPECT_DEATH(Free(block + 8),
               Line(block + 8, "points into the middle of a block", 0, kLargest, block));
}

TEST_P(CpuCacheDeathTest, FreedJustNow) {
  Open();
  void* const block = Malloc(k64);
  Free(block);
  EXPECT_DEATH(Free(block), Line(block, "already free", 0, k64));
}

TEST_P(CpuCacheDeathTest, FreedAndDrained) {
  Open();
  void* const other = Malloc(k64);  // keeps the span
  void* const block = Malloc(k64);
  Free(block);
  cache_->DrainAll();
  heap(0).FlushTransferCaches(/*only_unused=*/false);
  const auto free_again = [&] {
    Free(block);
    cache_->DrainAll();
    heap(0).FlushTransferCaches(/*only_unused=*/false);
  };
  EXPECT_DEATH(free_again(), Line(block, "already free", 0, k64));
  Free(other);
}

TEST_P(CpuCacheDeathTest, RemoteMisaligned) {
  if (nodes() == 1) GTEST_SKIP() << "nothing is remote";
  Open();
  char* const block = static_cast<char*>(Malloc(k64));
  RunOnLast();
  EXPECT_DEATH(Free(block + 8),
               Line(block + 8, "points into the middle of a block", 0, k64, block));
}

TEST_P(CpuCacheDeathTest, RemoteFreedTwice) {
  if (nodes() == 1) GTEST_SKIP() << "nothing is remote";
  Open();
  void* const block = Malloc(k64);
  RunOnLast();
  const auto free_twice = [&] {
    Free(block);
    Free(block);
    cache_->DeliverRemoteFrees(heap(0));
    heap(0).SweepRemote();
  };
  EXPECT_DEATH(free_twice(), Line(block, "already free", 0, k64));
}

// ---- Drains ------------------------------------------------------------------------------------

TEST_P(CpuCacheTest, DrainAllEmptiesEveryCpu) {
  Open();
  for (int turn = 0; turn < 2; ++turn) {
    RunOn(turn);
    for (const SizeClass c : {k64, k512, k32Ki}) FreeMany(MallocMany(c, 20));
  }
  EXPECT_GT(Cached(0), 0u);
  const uint64_t allocations = Allocations(0), frees = LocalFrees(0);
  cache_->DrainAll();
  for (int node = 0; node < nodes(); ++node) EXPECT_EQ(Cached(node), 0u);
  EXPECT_EQ(Allocations(0), allocations);
  EXPECT_EQ(LocalFrees(0), frees) << "a drain is no free";
  cache_->CheckInvariants();
  EXPECT_EQ(heaps_->kernel.count(FakeKernel::kInterrupt), rseq() ? 2 : 0);
  // It goes on as before.
  EXPECT_NE(Malloc(k64), nullptr);
  EXPECT_GT(Cached(nodes() - 1), 0u);
  cache_->CheckInvariants();
}

TEST_P(CpuCacheTest, DrainUnusedTakesOnlyWhatRests) {
  Open();
  RunOnLast();
  FreeMany(MallocMany(k64, 10));
  const size_t elsewhere = nodes() == 2 ? Cached(1) : 0;
  RunOn(0);
  FreeMany(MallocMany(k512, 10));
  const size_t with_one = Cached();
  FreeMany(MallocMany(k1024, 10));
  const size_t with_both = Cached();

  cache_->DrainUnused({0});
  EXPECT_EQ(Cached(), with_both) << "used since the caches were made";
  Free(Malloc(k1024));
  cache_->DrainUnused({0});
  EXPECT_EQ(Cached(), with_both - with_one);
  Free(Malloc(k1024));
  cache_->DrainUnused({nodes() == 2 ? 1 : 5});
  EXPECT_EQ(Cached(), with_both - with_one) << "another node";
  cache_->DrainUnused({0});
  EXPECT_EQ(Cached(), with_both - with_one) << "used since";
  cache_->DrainUnused({0});
  EXPECT_EQ(Cached(), 0u);
  EXPECT_EQ(nodes() == 2 ? Cached(1) : 0, elsewhere);
  ExpectAllBlocksCameBack();
}

TEST_P(CpuCacheTest, DrainUnusedLooksAtNothingTwice) {
  Open();
  FreeMany(MallocMany(k64, 10));
  cache_->DrainUnused({0});
  cache_->DrainUnused({0});
  const int interrupts = heaps_->kernel.count(FakeKernel::kInterrupt);
  EXPECT_EQ(interrupts, rseq() ? 1 : 0);
  cache_->DrainUnused({0});
  EXPECT_EQ(heaps_->kernel.count(FakeKernel::kInterrupt), interrupts) << "no capacity, no drain";
}

TEST_P(CpuCacheTest, AKernelThatCannotInterruptLeavesCachesAsTheyAre) {
  Open();
  FreeMany(MallocMany(k64, 10));
  void* const next = Malloc(k64);
  Free(next);
  const size_t cached = Cached();
  heaps_->kernel.FailFrom(FakeKernel::kInterrupt, 1, EPERM);
  cache_->DrainAll();
  EXPECT_EQ(Cached(), rseq() ? cached : 0);
  cache_->DrainUnused({0});
  cache_->DrainUnused({0});
  EXPECT_EQ(Cached(), rseq() ? cached : 0);
  cache_->CheckInvariants();
  if (rseq()) {
    EXPECT_EQ(Malloc(k64), next) << "the slab is back on its CPU";
    Free(next);
    heaps_->kernel.FailNothing();
    cache_->DrainAll();
    EXPECT_EQ(Cached(), 0u);
  }
  ExpectAllBlocksCameBack();
}

// ---- Nodes that are lost and come back ---------------------------------------------------------

class CpuCacheTwoNodesTest : public CpuCacheTest {};

INSTANTIATE_TEST_SUITE_P(Modes, CpuCacheTwoNodesTest,
                         testing::Values(Variant{false, 2}, Variant{true, 2}));

TEST_P(CpuCacheTwoNodesTest, ALostNodesCpusAreServedByAnother) {
  Open();
  RunOn(1);
  const Blocks old = MallocMany(k64, 100);
  FreeMany(MallocMany(k512, 20));
  const uint64_t allocations = Allocations(1), frees = LocalFrees(1);

  heap(1).SetUsable(false);
  cache_->Rehome();
  cache_->CheckInvariants();
  EXPECT_EQ(Cached(1), 0u) << "drained";
  EXPECT_EQ(&cache_->LocalHeap(), &heap(0));
  const Blocks blocks = MallocMany(k64, 100);
  for (void* block : blocks) EXPECT_EQ(NodeOf(block), 0);
  EXPECT_GT(Cached(0), 0u) << "from a cache";
  FreeMany(blocks);
  EXPECT_EQ(heaps_->heaps.spilled().Get(1, 0), 0u) << "that was its node's choice";
  FreeMany(old);
  EXPECT_EQ(RemoteFrees(1), old.size());
  EXPECT_EQ(Allocations(1), allocations);
  EXPECT_EQ(LocalFrees(1), frees);

  heap(1).SetUsable(true);
  cache_->Rehome();
  EXPECT_EQ(&cache_->LocalHeap(), &heap(1));
  void* const back = Malloc(k64);
  EXPECT_EQ(NodeOf(back), 1);
  Free(back);
  EXPECT_EQ(LocalFrees(1), frees + 1);
  ExpectAllBlocksCameBack();
}

// The records are kept: what is lost and found over and over costs them once.
TEST_P(CpuCacheTwoNodesTest, RecordsAreMadeOnce) {
  Open();
  RunOn(1);
  size_t used = 0;
  for (int round = 0; round < 10; ++round) {
    for (const bool usable : {false, true}) {
      heap(1).SetUsable(usable);
      cache_->Rehome();
      void* const block = Malloc(k64);
      EXPECT_EQ(NodeOf(block), usable ? 1 : 0);
      Free(block);
      if (round < 2) used = heap(0).metadata_bytes() + heap(1).metadata_bytes();
    }
  }
  EXPECT_EQ(heap(0).metadata_bytes() + heap(1).metadata_bytes(), used);
  cache_->Rehome();
  ExpectAllBlocksCameBack();
}

TEST_P(CpuCacheTwoNodesTest, ACpuSeenAfterTheLossIsServedAtOnce) {
  Open();
  RunOn(0);
  Free(Malloc(k64));
  heap(1).SetUsable(false);
  cache_->Rehome();
  RunOn(1);
  void* const block = Malloc(k64);
  EXPECT_EQ(NodeOf(block), 0);
  heap(1).SetUsable(true);
  cache_->Rehome();
  void* const other = Malloc(k64);
  EXPECT_EQ(NodeOf(other), 1);
  FreeMany({block, other});
  ExpectAllBlocksCameBack();
}

// Slower, but right: the lost node's cache stays, and what it lacks comes from others.
TEST_P(CpuCacheTwoNodesTest, AKernelThatCannotInterruptLeavesCpusWhereTheyAre) {
  Open();
  RunOn(1);
  FreeMany(MallocMany(k64, 10));
  heap(1).SetUsable(false);
  heaps_->kernel.FailFrom(FakeKernel::kInterrupt, 1, EPERM);
  cache_->Rehome();
  cache_->CheckInvariants();
  EXPECT_EQ(&cache_->LocalHeap(), &heap(rseq() ? 1 : 0));
  const Blocks blocks = MallocMany(k64, 200);
  EXPECT_EQ(NodeOf(blocks.back()), 0);
  FreeMany(blocks);
  heaps_->kernel.FailNothing();
  cache_->Rehome();
  EXPECT_EQ(&cache_->LocalHeap(), &heap(0));
  ExpectAllBlocksCameBack();
}

TEST_P(CpuCacheTwoNodesTest, WithoutMemoryForRecordsCpusStayWhereTheyAre) {
  Open();
  RunOn(1);
  FreeMany(MallocMany(k64, 10));
  heap(1).SetUsable(false);
  // No room for a slab in the arena of the heap that is to serve.
  while (heap(0).arena().Allocate(64 << 10) != nullptr) {
  }
  cache_->Rehome();
  EXPECT_EQ(&cache_->LocalHeap(), &heap(1));
  cache_->CheckInvariants();
}

// A CPU that the topology doesn't know: the kernel is asked where it is.
TEST_P(CpuCacheTwoNodesTest, ACpuThatWasPluggedInLater) {
  MakeHeaps();
  ASSERT_TRUE(heaps_->OpenAll());
  heaps_->topology.synthetic = false;
  heaps_->cpus[static_cast<size_t>(CpuOfTurn(0))] = {.online = false, .node = {0}};
  ASSERT_TRUE(OpenCache());
  RunOn(0);
  heaps_->kernel.SetNode(1);
  void* const block = Malloc(k64);
  EXPECT_EQ(NodeOf(block), 1);
  Free(block);
  EXPECT_EQ(&cache_->LocalHeap(), &heap(1));
  heaps_->kernel.SetNode(7);
  heaps_->cpus[static_cast<size_t>(CpuOfTurn(1))] = {.online = false, .node = {0}};
  RunOn(1);
  void* const other = Malloc(k64);
  EXPECT_EQ(NodeOf(other), 0) << "a node that has no heap";
  Free(other);
  ExpectAllBlocksCameBack();
}

// ---- Memory that runs out ----------------------------------------------------------------------

TEST_P(CpuCacheTest, SpillsWhenTheNodeIsFullAndFailsWhenAllAre) {
  Open();
  Blocks blocks[2];
  uint64_t spilled = 0;
  while (void* block = Malloc(kLargest)) {
    const int node = NodeOf(block);
    blocks[node].push_back(block);
    spilled += node == 1;
    ASSERT_EQ(heaps_->heaps.spilled().Get(0, 1), spilled);
    ASSERT_TRUE(node == 1 || spilled == 0) << "its own node first";
  }
  EXPECT_GT(blocks[0].size(), 100u);
  EXPECT_EQ(blocks[1].size() > 100, nodes() == 2);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Malloc(kLargest), nullptr);
  EXPECT_EQ(heaps_->heaps.spilled().Get(0, 1), spilled);
  for (int node = 0; node < nodes(); ++node) {
    EXPECT_EQ(Allocations(node), blocks[node].size());
    EXPECT_EQ(Totals(node).allocated_bytes + heap(node).counters().allocated_bytes.Get(),
              blocks[node].size() * SizeOf(kLargest));
    heap(node).CheckInvariants();
  }
  cache_->CheckInvariants();

  // What is freed is to be had again, here
  void* const block = blocks[0].back();
  Free(block);
  EXPECT_EQ(Malloc(kLargest), block);
  EXPECT_EQ(Malloc(kLargest), nullptr);
  // and, freed by another node, there.
  if (nodes() == 2) {
    Free(blocks[1].back());
    RunOnLast();
    EXPECT_EQ(Malloc(kLargest), blocks[1].back());
    EXPECT_EQ(Malloc(kLargest), nullptr);
  }
  for (const Blocks& of_node : blocks) FreeMany(of_node);
  ExpectAllBlocksCameBack();
}

TEST_P(CpuCacheTest, GoesOnWhenTheKernelGivesAgain) {
  Open();
  heaps_->kernel.FailFrom(FakeKernel::kCommit, 1);
  EXPECT_EQ(Malloc(k64), nullptr) << "neither records nor pages";
  EXPECT_EQ(Totals(0).allocations, 0u);
  heaps_->kernel.FailNothing();
  void* const block = Malloc(k64);
  ASSERT_NE(block, nullptr);
  EXPECT_EQ(NodeOf(block), 0);
  EXPECT_GT(Cached(), 0u);
  Free(block);
  ExpectAllBlocksCameBack();
}

TEST_P(CpuCacheTest, ACpuWithoutRecordsIsServedPastTheCache) {
  if (nodes() == 2) GTEST_SKIP() << "the other node has no pages either";
  Open();
  void* const first = Malloc(k64);
  heaps_->kernel.FailFrom(FakeKernel::kCommit, 1);
  RunOnLast();
  void* const block = Malloc(k64);
  ASSERT_NE(block, nullptr);
  EXPECT_EQ(heap(0).counters().allocations.Get(), 1u);
  EXPECT_EQ(heap(0).counters().allocated_bytes.Get(), SizeOf(k64));
  Free(block);
  EXPECT_EQ(heap(0).counters().frees_local.Get(), 1u);
  Free(first);
  EXPECT_EQ(heap(0).counters().frees_local.Get(), 2u);
  heaps_->kernel.FailNothing();
  Free(Malloc(k64));
  EXPECT_EQ(heap(0).counters().frees_local.Get(), 2u) << "now it has a cache";
  ExpectAllBlocksCameBack();
}

TEST_P(CpuCacheTest, ACpuBeyondTheTableIsServedPastTheCache) {
  if (rseq()) GTEST_SKIP() << "the kernel gives no such number";
  Open();
  heaps_->kernel.SetCpu(heaps_->topology.cpu_limit);
  void* const block = Malloc(k64);
  ASSERT_NE(block, nullptr);
  EXPECT_EQ(NodeOf(block), 0) << "the first heap";
  Free(block);
  EXPECT_EQ(Totals(0).allocations, 0u);
  EXPECT_EQ(Allocations(0), 1u);
  EXPECT_EQ(LocalFrees(0), 1u);
  RunOn(0);
  ExpectAllBlocksCameBack();
}

TEST_P(CpuCacheTest, ANodeWithoutHeapUsesTheFirst) {
  if (nodes() == 1) GTEST_SKIP() << "it always has one";
  MakeHeaps();
  heaps_->kernel.FailOnce(1);
  ASSERT_FALSE(heaps_->OpenAll());
  heaps_->kernel.FailNothing();
  ASSERT_EQ(heaps_->heaps.heap({1}), nullptr);
  ASSERT_TRUE(OpenCache());
  RunOnLast();
  void* const block = Malloc(k64);
  ASSERT_NE(block, nullptr);
  EXPECT_EQ(NodeOf(block), 0);
  Free(block);
  EXPECT_EQ(Totals(0).frees_local, 1u);
  EXPECT_EQ(Malloc(k64), block);
}

TEST_P(CpuCacheTest, WithoutMemoryForTheTablesTheFastPathStaysClosed) {
  MakeHeaps();
  ASSERT_TRUE(heaps_->OpenAll());
  heaps_->kernel.FailFrom(FakeKernel::kCommit, 1);
  for (NodeHeap* heap : {&this->heap(0), &this->heap(nodes() - 1)}) {
    while (heap->arena().Allocate(16) != nullptr) {
    }
  }
  EXPECT_FALSE(OpenCache());
  EXPECT_EQ(fast_.rseq_offset.load(), FakeRseqOffset());
  EXPECT_EQ(fast_.slabs.load(), no_slabs_ + 2);
}

// ---- Against a model ---------------------------------------------------------------------------

TEST_P(CpuCacheTest, RandomOperationsMatchAModel) {
  Open(256 << 10);
  std::mt19937 random(20240507);
  constexpr SizeClass kClasses[] = {{1}, k64, kSizeMap.ClassOf(48), k512, k1024, k32Ki, kLargest};
  struct Live {
    SizeClass c;
    uint64_t mark;
  };
  std::map<char*, Live> live;
  uint64_t allocations[2] = {}, bytes[2] = {}, local_frees[2] = {}, remote_frees[2] = {};
  uint64_t freed_bytes[2][2] = {};
  int turn = 0;
  const auto free_one = [&](std::map<char*, Live>::iterator block) {
    ASSERT_EQ(std::memcmp(block->first, &block->second.mark, sizeof block->second.mark), 0);
    const int node = NodeOf(block->first);
    ++(node == ServingTurn(turn) ? local_frees : remote_frees)[node];
    freed_bytes[ServingTurn(turn)][node] += SizeOf(block->second.c);
    Free(block->first);
    live.erase(block);
  };
  for (int step = 0; step < 30'000; ++step) {
    switch (random() % 64) {
      case 0:
      case 1:
        turn = static_cast<int>(random() % 2);
        RunOn(turn);
        break;
      case 2:
        cache_->DrainUnused({static_cast<int>(random() % 2)});
        break;
      case 3:
        if (random() % 8 == 0) cache_->DrainAll();
        break;
      case 4:
        for (int node = 0; node < nodes(); ++node) {
          cache_->DeliverRemoteFrees(heap(node));
          if (random() % 2 == 0) heap(node).SweepRemote();
        }
        break;
      case 5:
        heap(static_cast<int>(random() % nodes())).FlushTransferCaches(random() % 2 == 0);
        break;
      case 6:
        heap(static_cast<int>(random() % nodes())).ReleaseIdle(UINT64_MAX, SIZE_MAX);
        break;
      case 7:
        if (nodes() == 2) {
          heap(1).SetUsable(!heap(1).usable());
          cache_->Rehome();
        }
        break;
      default: {
        // In waves, so that classes fill up and run empty.
        const bool more = random() % 100 < (step / 1000 % 2 == 0 ? 70 : 30);
        if (more && live.size() < 1500) {
          const SizeClass c = kClasses[random() % (random() % 4 == 0 ? 7 : 5)];
          auto* const block = static_cast<char*>(Malloc(c));
          ASSERT_NE(block, nullptr);
          ASSERT_EQ(NodeOf(block), ServingTurn(turn));
          const auto next = live.upper_bound(block);
          ASSERT_TRUE(next == live.end() || block + SizeOf(c) <= next->first);
          ASSERT_TRUE(next == live.begin() ||
                      std::prev(next)->first + SizeOf(std::prev(next)->second.c) <= block);
          const uint64_t mark = random();
          std::memcpy(block, &mark, sizeof mark);
          live.emplace(block, Live{c, mark});
          ++allocations[NodeOf(block)];
          bytes[NodeOf(block)] += SizeOf(c);
        } else if (!live.empty()) {
          auto block = live.lower_bound(
              std::next(live.begin(), random() % std::min<size_t>(live.size(), 40))->first);
          if (random() % 2 == 0) block = std::prev(live.end());
          free_one(block);
        }
      }
    }
    for (int node = 0; node < nodes(); ++node) {
      const CacheTotals totals = Totals(node);
      ASSERT_EQ(totals.allocations, allocations[node]);
      ASSERT_EQ(totals.allocated_bytes, bytes[node]);
      ASSERT_EQ(totals.frees_local, local_frees[node]);
      ASSERT_EQ(RemoteFrees(node), remote_frees[node]);
      for (int from = 0; from < nodes(); ++from) {
        ASSERT_EQ(FreedBytes(from, node), freed_bytes[from][node]);
      }
    }
    if (step % 200 == 0) cache_->CheckInvariants();
  }
  while (!live.empty()) free_one(live.begin());
  ExpectAllBlocksCameBack();
}

// ---- Threads -----------------------------------------------------------------------------------

// Threads that allocate, hand blocks on and free; in the locked mode they move each other to other
// made-up CPUs, in the rseq mode themselves to real ones.
class CpuCacheThreadsTest : public CpuCacheTest {
 protected:
  static constexpr int kThreads = 4;

  void SetUp() override {
    if (rseq() && kUnderThreadSanitizer) GTEST_SKIP() << "see sanitizer.h";
    CpuCacheTest::SetUp();
  }

  struct Given {
    uint64_t* block;
    SizeClass c;
    uint64_t mark;
  };

  void Check(const Given& given) const {
    CHECK(given.block[0] == given.mark && given.block[SizeOf(given.c) / 8 - 1] == given.mark);
  }

  void Work(int thread, int rounds) {
    std::mt19937 random(20240508 + thread);
    constexpr SizeClass kClasses[] = {{1}, k64, k512, k1024, k32Ki};
    std::vector<Given> held;
    for (int round = 0; round < rounds; ++round) {
      if (random() % 64 == 0) RunOn(static_cast<int>(random() % 2));
      if (random() % 2 == 0 && held.size() < 200) {
        const SizeClass c = kClasses[random() % (random() % 16 == 0 ? 5 : 4)];
        auto* const block = static_cast<uint64_t*>(Malloc(c));
        CHECK(block != nullptr);
        const uint64_t mark = reinterpret_cast<uintptr_t>(block) ^ random();
        block[0] = block[SizeOf(c) / 8 - 1] = mark;
        held.push_back({block, c, mark});
        allocated_.fetch_add(1, std::memory_order_relaxed);
        allocated_bytes_.fetch_add(SizeOf(c), std::memory_order_relaxed);
      } else if (!held.empty()) {
        std::swap(held[random() % held.size()], held.back());
        Given given = held.back();
        held.pop_back();
        if (random() % 4 == 0) {
          std::lock_guard holder(exchange_lock_);
          std::swap(given, exchange_[random() % std::size(exchange_)]);
        }
        if (given.block == nullptr) continue;
        Check(given);
        Free(given.block);
      }
    }
    for (const Given& given : held) {
      Check(given);
      Free(given.block);
    }
  }
  void FreeExchanged() {
    for (Given& given : exchange_) {
      if (given.block != nullptr) Free(given.block);
      given = {};
    }
  }

  std::mutex exchange_lock_;
  Given exchange_[64] = {};
  std::atomic<uint64_t> allocated_{0}, allocated_bytes_{0};
};

INSTANTIATE_TEST_SUITE_P(Modes, CpuCacheThreadsTest,
                         testing::Values(Variant{false, 1}, Variant{false, 2}, Variant{true, 1},
                                         Variant{true, 2}));

TEST_P(CpuCacheThreadsTest, NothingIsLostWhileADrainerWorks) {
  Open(128 << 10);
  constexpr int kRounds = kUnderThreadSanitizer ? 20'000 : 60'000;
  std::atomic<int> running{kThreads};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Work(t, kRounds);
      --running;
    });
  }
  std::thread drainer([&] {
    for (int round = 0; running > 0; ++round) {
      for (int node = 0; node < nodes(); ++node) {
        cache_->DrainUnused({node});
        cache_->DeliverRemoteFrees(heap(node));
        heap(node).SweepRemote();
        heap(node).FlushTransferCaches(round % 2 == 0);
        heap(node).ReleaseIdle(UINT64_MAX, SIZE_MAX);
        cache_->RemotePending(heap(node));
        Totals(node);
      }
      if (round % 4 == 0) cache_->DrainAll();
    }
  });
  for (std::thread& thread : threads) thread.join();
  drainer.join();
  FreeExchanged();

  uint64_t allocations = 0, bytes = 0, frees = 0;
  for (int node = 0; node < nodes(); ++node) {
    allocations += Allocations(node);
    bytes += Totals(node).allocated_bytes + heap(node).counters().allocated_bytes.Get();
    frees += LocalFrees(node) + RemoteFrees(node);
    for (int to = 0; to < nodes(); ++to) EXPECT_EQ(heaps_->heaps.spilled().Get(node, to), 0u);
  }
  uint64_t freed_bytes = 0;
  for (int node = 0; node < nodes(); ++node) {
    for (int from = 0; from < nodes(); ++from) freed_bytes += FreedBytes(from, node);
  }
  EXPECT_EQ(allocations, allocated_);
  EXPECT_EQ(bytes, allocated_bytes_);
  EXPECT_EQ(frees, allocated_);
  EXPECT_EQ(freed_bytes, allocated_bytes_);
  ExpectAllBlocksCameBack();
}

class CpuCacheTwoNodesThreadsTest : public CpuCacheThreadsTest {};

INSTANTIATE_TEST_SUITE_P(Modes, CpuCacheTwoNodesThreadsTest,
                         testing::Values(Variant{false, 2}, Variant{true, 2}));

TEST_P(CpuCacheTwoNodesThreadsTest, NothingIsLostWhileANodeComesAndGoes) {
  Open(128 << 10);
  std::atomic<int> running{kThreads};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Work(t, 40'000);
      --running;
    });
  }
  std::thread cpuset([&] {
    for (int round = 0; running > 0; ++round) {
      heap(1).SetUsable(round % 2 != 0);
      cache_->Rehome();
      cache_->DrainUnused({round % 2});
      Totals(round % 2);
    }
    heap(1).SetUsable(true);
    cache_->Rehome();
  });
  std::thread drainer([&] {
    while (running > 0) {
      cache_->DrainAll();
      for (int node = 0; node < nodes(); ++node) {
        cache_->DeliverRemoteFrees(heap(node));
        heap(node).SweepRemote();
      }
    }
  });
  for (std::thread& thread : threads) thread.join();
  cpuset.join();
  drainer.join();
  FreeExchanged();
  EXPECT_EQ(Allocations(0) + Allocations(1), allocated_);
  EXPECT_EQ(LocalFrees(0) + RemoteFrees(0) + LocalFrees(1) + RemoteFrees(1), allocated_);
  ExpectAllBlocksCameBack();
}

TEST_P(CpuCacheThreadsTest, AChildOfABusyParentGoesOn) {
  Open(128 << 10);
  constexpr int kForks = 10;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      while (!stop) Work(t, 1000);
    });
  }
  for (int i = 0; i < kForks; ++i) {
    LockAll();
    Child child([&] {
      UnlockAll();
      cache_->CheckInvariants();
      for (int round = 0; round < 10; ++round) {
        for (const SizeClass c : {k64, k512, k32Ki}) {
          void* blocks[40];
          for (void*& block : blocks) {
            block = Malloc(c);
            if (block == nullptr) return 1;
            std::memset(block, round, SizeOf(c));
          }
          for (void* block : blocks) Free(block);
        }
        cache_->DrainAll();
        cache_->CheckInvariants();
      }
      for (int node = 0; node < nodes(); ++node) {
        if (cache_->Totals({node}).cached_bytes != 0) return 2;
      }
      return 0;
    });
    UnlockAll();
    EXPECT_EQ(child.Wait(), "exit 0");
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  FreeExchanged();
  cache_->CheckInvariants();
}

// Nothing is freed: whatever else moves meanwhile, no free may be seen.
TEST_P(CpuCacheThreadsTest, TotalsNeverWrapAround) {
  Open();
  RunOnLast();
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    while (!stop) {
      for (int node = 0; node < nodes(); ++node) {
        ASSERT_EQ(Totals(node).frees_local, 0u);
      }
    }
  });
  for (int round = 0; round < 200; ++round) {
    for (int c = 1; c < 60; ++c) MallocMany({static_cast<uint8_t>(c)}, 1);
    if (round % 10 == 0) cache_->DrainAll();
  }
  stop = true;
  reader.join();
  for (int node = 0; node < nodes(); ++node) EXPECT_EQ(Totals(node).frees_local, 0u);
}

}  // namespace
}  // namespace numaheap
