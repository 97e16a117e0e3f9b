// Restartable sequences: every exit of every operation, operations that are interrupted and start
// over, and many threads that race, migrate and take signals without losing or doubling a block.
#include "src/cache/slab_ops.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "src/os/rseq.h"
#include "tests/cache/affinity.h"
#include "tests/cache/made_slab.h"
#include "tests/cache/sanitizer.h"

namespace numaheap {
namespace {

using Blocks = std::vector<void*>;

constexpr SizeClass k16{1}, k48{3}, k64{4};
constexpr SizeClass kClasses[] = {k16, k48, k64};

// The table of slabs, as FastPath wants it: numbers -2 and -1 lead to a slab of zeros.
class SlabTable {
 public:
  explicit SlabTable(int cpus) : entries_(static_cast<size_t>(cpus) + 2, &zeros_) {
    fast.rseq_offset.store(RegisteredRseqOffset());
    fast.slabs.store(entries_.data() + 2);
  }
  void Enter(MadeSlab& slab) { entries_[static_cast<size_t>(slab->cpu) + 2] = slab.get(); }

  FastPath fast{};

 private:
  CpuSlab zeros_;
  std::vector<CpuSlab*> entries_;
};

// ---- Exits -------------------------------------------------------------------------------------

// On one CPU, whose slab has room for four blocks of each class in use.
class SlabOpsTest : public testing::Test {
 protected:
  static constexpr int kCapacity = 4;

  void SetUp() override {
    if (RegisteredRseqOffset() == 0) GTEST_SKIP() << "no restartable sequences here";
    ASSERT_TRUE(Affinity::Pin(cpu_));
    table_.Enter(slab_);
    for (const SizeClass c : kClasses) slab_.SetCapacity(c, kCapacity);
  }

  void* Pop(SizeClass c) { return SlabPop(table_.fast, c); }
  PushResult Push(void* block) { return SlabPush(table_.fast, block); }
  PushResult PushRemote(SizeClass c, void* block) { return SlabPushRemote(table_.fast, c, block); }
  BatchResult PushBatch(SizeClass c, const Blocks& blocks) {
    return SlabPushBatch(table_.fast, c, blocks.data(), static_cast<int>(blocks.size()));
  }
  Blocks PopBatch(SizeClass c, int n) {
    Blocks out(static_cast<size_t>(n));
    const BatchResult result = SlabPopBatch(table_.fast, c, out.data(), n);
    EXPECT_EQ(result.cpu, result.count == 0 ? -1 : cpu_);
    out.resize(static_cast<size_t>(result.count));
    return out;
  }
  bool LowerEnd(SizeClass c, int capacity) { return LowerEndOf(cpu_, c, capacity); }
  bool LowerEndOf(int cpu, SizeClass c, int capacity) {
    return SlabLowerEnd(table_.fast, cpu, c,
                        static_cast<uint16_t>(slab_->limits[c.value].begin + capacity));
  }

  // The n-th to m-th block of a class.
  Blocks Some(SizeClass c, int n, int m) const {
    Blocks blocks;
    for (; n < m; ++n) blocks.push_back(heap_.Block(c, n));
    return blocks;
  }
  uint64_t Pops(SizeClass c) { return CpuSlab::Pops(slab_->word(c)); }

  Affinity affinity_;
  const int cpu_ = affinity_.cpus().front();
  MadeHeap heap_;
  MadeHeap other_heap_{1};
  MadeSlab slab_{heap_, cpu_};
  SlabTable table_{cpu_ + 1};
};

TEST_F(SlabOpsTest, PopTakesTheTopAndCounts) {
  EXPECT_EQ(Pop(k64), nullptr);
  EXPECT_EQ(Pops(k64), 0u) << "an empty hand is no pop";
  PushBatch(k64, Some(k64, 0, 3));
  for (int n = 2; n >= 0; --n) EXPECT_EQ(Pop(k64), heap_.Block(k64, n));
  EXPECT_EQ(Pop(k64), nullptr);
  EXPECT_EQ(Pops(k64), 3u);
  EXPECT_EQ(Pops(k48), 0u);
  EXPECT_TRUE(slab_.IsValid(k64));
}

TEST_F(SlabOpsTest, PopOfAClassWithoutCapacity) {
  EXPECT_EQ(Pop({2}), nullptr);
  EXPECT_EQ(Pop({kSizeClasses - 1}), nullptr);
  EXPECT_EQ(Pop(kNoClass), nullptr);
}

TEST_F(SlabOpsTest, PushFindsTheClassByTheAddress) {
  for (const SizeClass c : kClasses) {
    EXPECT_EQ(Push(heap_.Block(c, 7)), PushResult::kDone);
    EXPECT_EQ(slab_.Blocks(c), Some(c, 7, 8));
    EXPECT_EQ(Pops(c), 0u);
  }
}

TEST_F(SlabOpsTest, PushElsewhere) {
  char* const start = reinterpret_cast<char*>(heap_.start);
  for (void* const block : {static_cast<void*>(nullptr), static_cast<void*>(start - 16),
                            static_cast<void*>(start + MadeHeap::bytes), other_heap_.Block(k64, 0),
                            reinterpret_cast<void*>(~uintptr_t{15}), static_cast<void*>(this)}) {
    EXPECT_EQ(Push(block), PushResult::kElsewhere) << block;
  }
  EXPECT_EQ(slab_->used(k64), 0);
}

TEST_F(SlabOpsTest, PushIntoAFullClass) {
  for (const SizeClass c : kClasses) {
    for (int n = 0; n < kCapacity; ++n) EXPECT_EQ(Push(heap_.Block(c, n)), PushResult::kDone);
    EXPECT_EQ(Push(heap_.Block(c, kCapacity)), PushResult::kFull);
    EXPECT_EQ(slab_.Blocks(c), Some(c, 0, kCapacity));
    EXPECT_TRUE(slab_.IsValid(c));
  }
}

TEST_F(SlabOpsTest, PushOfWhatIsNoSmallBlock) {
  const PushResult result = Push(reinterpret_cast<void*>(heap_.start + 64));
  EXPECT_EQ(result, PushResult::kFull) << "a page of class 0";
}

TEST_F(SlabOpsTest, PushMisaligned) {
  for (const SizeClass c : kClasses) {
    char* const block = static_cast<char*>(heap_.Block(c, 1));
    for (int offset = 1; offset <= kSizeMap[c].alignment_mask; ++offset) {
      EXPECT_EQ(Push(block + offset), PushResult::kMisaligned) << offset;
    }
    EXPECT_EQ(slab_->used(c), 0);
  }
}

TEST_F(SlabOpsTest, PushOfWhatWasPushedJustNow) {
  EXPECT_EQ(Push(heap_.Block(k64, 0)), PushResult::kDone);
  EXPECT_EQ(Push(heap_.Block(k64, 0)), PushResult::kDuplicate);
  EXPECT_EQ(Push(heap_.Block(k64, 1)), PushResult::kDone);
  EXPECT_EQ(Push(heap_.Block(k64, 1)), PushResult::kDuplicate);
  EXPECT_EQ(slab_.Blocks(k64), Some(k64, 0, 2));
  // What lies in a slot above the top is no longer there.
  EXPECT_EQ(Pop(k64), heap_.Block(k64, 1));
  EXPECT_EQ(Push(heap_.Block(k64, 1)), PushResult::kDone);
}

TEST_F(SlabOpsTest, BatchesStopAtTheEnds) {
  BatchResult pushed = PushBatch(k64, Some(k64, 0, 3));
  EXPECT_EQ(pushed.count, 3);
  EXPECT_EQ(pushed.cpu, cpu_);
  pushed = PushBatch(k64, Some(k64, 3, 6));
  EXPECT_EQ(pushed.count, 1) << "from the front";
  pushed = PushBatch(k64, Some(k64, 4, 6));
  EXPECT_EQ(pushed.count, 0);
  EXPECT_EQ(pushed.cpu, -1);
  EXPECT_EQ(slab_.Blocks(k64), Some(k64, 0, kCapacity));
  EXPECT_EQ(PopBatch(k64, 3), Some(k64, 1, 4)) << "as they lay";
  EXPECT_EQ(PopBatch(k64, 3), Some(k64, 0, 1));
  EXPECT_EQ(PopBatch(k64, 3), Blocks());
  EXPECT_EQ(Pops(k64), 0u) << "batches are no pops";
  EXPECT_TRUE(slab_.IsValid(k64));
}

TEST_F(SlabOpsTest, EmptyBatches) {
  EXPECT_EQ(SlabPushBatch(table_.fast, k64, nullptr, 0).count, 0);
  EXPECT_EQ(SlabPopBatch(table_.fast, k64, nullptr, 0).count, 0);
  EXPECT_EQ(PushBatch({2}, Some({2}, 0, 1)).count, 0) << "no capacity";
  EXPECT_EQ(PopBatch({2}, 1), Blocks());
}

TEST_F(SlabOpsTest, BatchOfAnotherHeap) {
  EXPECT_EQ(PushBatch(k64, {other_heap_.Block(k64, 0), other_heap_.Block(k64, 1)}).count, 0);
  EXPECT_EQ(slab_->used(k64), 0);
}

TEST_F(SlabOpsTest, BatchOfAllThatFits) {
  constexpr int kAll = MadeSlab::kMaxCapacity;
  slab_.SetCapacity(k16, kAll);
  EXPECT_EQ(PushBatch(k16, Some(k16, 0, kAll)).count, kAll);
  EXPECT_TRUE(slab_.IsValid(k16) && slab_.IsValid({2}));
  EXPECT_EQ(PopBatch(k16, kAll), Some(k16, 0, kAll));
}

TEST_F(SlabOpsTest, PushRemoteTakesWhatIsOfAnotherHeap) {
  void* const block = other_heap_.Block(k64, 1);
  EXPECT_EQ(PushRemote(k64, block), PushResult::kFull) << "no capacity";
  slab_.SetCapacity(kRemoteStack, 3);
  EXPECT_EQ(PushRemote(k64, block), PushResult::kDone);
  EXPECT_EQ(PushRemote(k64, heap_.Block(k64, 1)), PushResult::kOwn);
  EXPECT_EQ(PushRemote(k48, nullptr), PushResult::kDone) << "fills a slot";
  for (int offset = 1; offset <= kSizeMap[k64].alignment_mask; ++offset) {
    EXPECT_EQ(PushRemote(k64, static_cast<char*>(block) + offset), PushResult::kMisaligned);
  }
  void* const other = other_heap_.Block(k16, 3);
  EXPECT_EQ(PushRemote(k16, other), PushResult::kDone);
  EXPECT_EQ(PushRemote(k16, other_heap_.Block(k16, 4)), PushResult::kFull);
  EXPECT_EQ(slab_.Blocks(kRemoteStack), (Blocks{block, nullptr, other}));
  EXPECT_EQ(slab_->word(kRemoteStack) >> 16, 3u) << "pushes are counted";
  EXPECT_EQ(PopBatch(kRemoteStack, 9), (Blocks{block, nullptr, other}));
  EXPECT_EQ(slab_->word(kRemoteStack) >> 16, 3u) << "and pops are not";
  EXPECT_TRUE(slab_.IsValid(kRemoteStack));
}

TEST_F(SlabOpsTest, LowerEnd) {
  PushBatch(k64, Some(k64, 0, 2));
  EXPECT_FALSE(LowerEnd(k64, 1)) << "a block lies there";
  EXPECT_FALSE(LowerEndOf(cpu_ + 1, k64, 2)) << "not on this CPU";
  EXPECT_FALSE(LowerEndOf(-1, k64, 2));
  EXPECT_EQ(slab_->capacity(k64), kCapacity);
  EXPECT_TRUE(LowerEnd(k64, 2));
  EXPECT_EQ(slab_->capacity(k64), 2);
  EXPECT_EQ(Push(heap_.Block(k64, 2)), PushResult::kFull);
  PopBatch(k64, 2);
  EXPECT_TRUE(LowerEnd(k64, 0));
  EXPECT_EQ(PushBatch(k64, Some(k64, 0, 1)).count, 0);
  EXPECT_EQ(slab_->capacity(k48), kCapacity);
}

TEST_F(SlabOpsTest, WhatTheSlabHereCovers) {
  const CpuSlab& here = SlabHere(table_.fast);
  EXPECT_EQ(here.cpu, cpu_);
  EXPECT_EQ(here.ClassAt(heap_.Block(k64, 3)), k64);
  EXPECT_EQ(here.ClassAt(static_cast<char*>(heap_.Block(k48, 0)) + 5), k48) << "the page's";
  EXPECT_EQ(here.ClassAt(heap_.Block(kNoClass, 0)), kNoClass);
  EXPECT_TRUE(here.Covers(heap_.Block(k64, 3)));
  EXPECT_TRUE(here.Covers(reinterpret_cast<void*>(heap_.start + heap_.bytes - 1)));
  EXPECT_FALSE(here.Covers(nullptr));
  EXPECT_FALSE(here.Covers(reinterpret_cast<void*>(heap_.start - 1)));
  EXPECT_FALSE(here.Covers(reinterpret_cast<void*>(heap_.start + heap_.bytes)));
}

TEST_F(SlabOpsTest, WithdrawnSlabIsEmptyAndFull) {
  PushBatch(k64, Some(k64, 0, 2));
  SlabTable withdrawn(cpu_ + 1);
  void* out = nullptr;
  void* const block = heap_.Block(k64, 3);
  EXPECT_EQ(SlabPop(withdrawn.fast, k64), nullptr);
  EXPECT_EQ(SlabPush(withdrawn.fast, block), PushResult::kElsewhere);
  EXPECT_EQ(SlabPushBatch(withdrawn.fast, k64, &block, 1).count, 0);
  EXPECT_EQ(SlabPopBatch(withdrawn.fast, k64, &out, 1).count, 0);
  EXPECT_EQ(SlabPushRemote(withdrawn.fast, k64, block), PushResult::kFull);
  EXPECT_FALSE(SlabLowerEnd(withdrawn.fast, cpu_, k64, 0));
  EXPECT_FALSE(SlabHere(withdrawn.fast).Covers(block));
}

// Before start and in the locked mode.
TEST(SlabOpsFakeAreaTest, LeadsToTheSlabOfZeros) {
  const MadeHeap heap;
  SlabTable table(0);
  table.fast.rseq_offset.store(FakeRseqOffset());
  const auto check = [&] {
    void* out = nullptr;
    void* const block = heap.Block(k64, 3);
    EXPECT_EQ(SlabPop(table.fast, k64), nullptr);
    EXPECT_EQ(SlabPush(table.fast, block), PushResult::kElsewhere);
    EXPECT_EQ(SlabPush(table.fast, nullptr), PushResult::kElsewhere);
    EXPECT_EQ(SlabPushBatch(table.fast, k64, &block, 1).count, 0);
    EXPECT_EQ(SlabPopBatch(table.fast, k64, &out, 1).count, 0);
    EXPECT_EQ(SlabPushRemote(table.fast, k64, block), PushResult::kFull);
    EXPECT_FALSE(SlabLowerEnd(table.fast, 0, k64, 0));
    EXPECT_FALSE(SlabHere(table.fast).Covers(block));
  };
  check();
  std::thread(check).join();  // every thread has such an area, at the same offset
}

TEST_F(SlabOpsTest, RandomOperationsMatchVectors) {
  std::mt19937 random(20240502);
  const auto below = [&random](int n) { return static_cast<int>(random() % n); };
  Blocks model[3];
  int capacity[3] = {kCapacity, kCapacity, kCapacity};
  uint64_t pops[3] = {};
  for (int step = 0; step < 100'000; ++step) {
    const int i = below(3);
    const SizeClass c = kClasses[i];
    Blocks& cached = model[i];
    const int used = static_cast<int>(cached.size());
    switch (below(6)) {
      case 0:  // more
        capacity[i] += below(MadeSlab::kMaxCapacity + 1 - capacity[i]);
        slab_.SetCapacity(c, capacity[i]);
        break;
      case 1: {
        const int wanted = below(capacity[i] + 1);
        ASSERT_EQ(LowerEnd(c, wanted), wanted >= used);
        if (wanted >= used) capacity[i] = wanted;
        break;
      }
      case 2: {
        void* const block = heap_.Block(c, below(20));
        const PushResult expected = used == capacity[i]                  ? PushResult::kFull
                                    : used > 0 && cached.back() == block ? PushResult::kDuplicate
                                                                         : PushResult::kDone;
        ASSERT_EQ(Push(block), expected);
        if (expected == PushResult::kDone) cached.push_back(block);
        break;
      }
      case 3:
        ASSERT_EQ(Pop(c), cached.empty() ? nullptr : cached.back());
        pops[i] += !cached.empty();
        if (!cached.empty()) cached.pop_back();
        break;
      case 4: {
        const int first = below(80);
        const Blocks blocks = Some(c, first, first + below(12));
        const int n = std::min(static_cast<int>(blocks.size()), capacity[i] - used);
        ASSERT_EQ(PushBatch(c, blocks).count, n);
        cached.insert(cached.end(), blocks.begin(), blocks.begin() + n);
        break;
      }
      case 5: {
        const int n = below(12);
        const auto from = cached.end() - std::min(n, used);
        ASSERT_EQ(PopBatch(c, n), Blocks(from, cached.end()));
        cached.erase(from, cached.end());
        break;
      }
    }
    ASSERT_TRUE(slab_.IsValid(c));
    ASSERT_EQ(slab_.Blocks(c), cached);
    ASSERT_EQ(slab_->capacity(c), capacity[i]);
    ASSERT_EQ(Pops(c), pops[i]);
  }
}

// ---- Interruptions -----------------------------------------------------------------------------

#if defined(__x86_64__)

// Signals by single steps: the thread gets SIGTRAP after each instruction, so no sequence can end,
// until the sequence has started over as often as the test wants.
class SingleSteps {
 public:
  SingleSteps() {
    Install(kBegin, [](int, siginfo_t*, void* context) { SetTrapFlag(context, true); });
    Install(SIGTRAP, [](int, siginfo_t*, void* context) {
      auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
      // An abort handler lies behind the signature.
      uint32_t before;
      std::memcpy(&before, reinterpret_cast<char*>(registers[REG_RIP]) - sizeof before,
                  sizeof before);
      if (before == kSignature) restarts_left_ -= 1;
      if ((steps_left_ -= 1) <= 0 || restarts_left_ <= 0) SetTrapFlag(context, false);
    });
  }
  ~SingleSteps() {
    sigaction(kBegin, &before_[0], nullptr);
    sigaction(SIGTRAP, &before_[1], nullptr);
  }

  // Runs a slab operation that starts over so many times.
  template <typename Operation>
  static void Interrupt(int times, Operation operation) {
    steps_left_ = 1'000'000;
    restarts_left_ = times;
    raise(kBegin);
    operation();
    EXPECT_EQ(restarts_left_, 0);
  }

 private:
  static constexpr int kBegin = SIGUSR1;
  static constexpr uint32_t kSignature = 0x53053053;

  void Install(int signal, void (*handler)(int, siginfo_t*, void*)) {
    struct sigaction action = {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO;
    sigaction(signal, &action, &before_[signal == SIGTRAP]);
  }
  static void SetTrapFlag(void* context, bool on) {
    auto& flags = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL];
    flags = on ? flags | 0x100 : flags & ~0x100;
  }

  struct sigaction before_[2];
  static inline std::atomic<int> steps_left_ = 0;
  static inline std::atomic<int> restarts_left_ = 0;
};

TEST_F(SlabOpsTest, AnInterruptedOperationStartsOver) {
  if (kUnderThreadSanitizer) GTEST_SKIP() << "signals come late";
  SingleSteps single_steps;
  void* const block = heap_.Block(k64, 0);
  for (int times = 1; times <= kCapacity; ++times) {
    PushResult pushed = PushResult::kFull;
    single_steps.Interrupt(times, [&] { pushed = SlabPush(table_.fast, block); });
    EXPECT_EQ(pushed, PushResult::kDone);
    EXPECT_EQ(slab_.Blocks(k64), Blocks{block});

    void* popped = nullptr;
    single_steps.Interrupt(times, [&] { popped = SlabPop(table_.fast, k64); });
    EXPECT_EQ(popped, block);
    EXPECT_EQ(slab_->used(k64), 0);
    EXPECT_EQ(Pops(k64), static_cast<uint64_t>(times));

    BatchResult result;
    single_steps.Interrupt(times, [&] { result = SlabPushBatch(table_.fast, k64, &block, 1); });
    EXPECT_EQ(result.count, 1);
    EXPECT_EQ(slab_.Blocks(k64), Blocks{block});

    void* out = nullptr;
    single_steps.Interrupt(times, [&] { result = SlabPopBatch(table_.fast, k64, &out, 1); });
    EXPECT_EQ(result.count, 1);
    EXPECT_EQ(out, block);
    EXPECT_EQ(slab_->used(k64), 0);

    void* const remote = other_heap_.Block(k64, times);
    slab_.SetCapacity(kRemoteStack, times);
    single_steps.Interrupt(times, [&] { pushed = SlabPushRemote(table_.fast, k64, remote); });
    EXPECT_EQ(pushed, PushResult::kDone);
    EXPECT_EQ(slab_->used(kRemoteStack), times);
    EXPECT_EQ(slab_.Blocks(kRemoteStack).back(), remote);

    bool done = false;
    const auto end = static_cast<uint16_t>(slab_->limits[k48.value].end - 1);
    single_steps.Interrupt(times, [&] { done = SlabLowerEnd(table_.fast, cpu_, k48, end); });
    EXPECT_TRUE(done);
    EXPECT_EQ(slab_->capacity(k48), kCapacity - times);
  }
}

#endif  // x86-64

// ---- Races -------------------------------------------------------------------------------------

// Threads move blocks between the slabs of two CPUs and lists of their own, while signals hit them
// and they are sent from CPU to CPU. Handlers use the slabs too. At the end every block is in one
// place.
class SlabOpsRaceTest : public testing::TestWithParam<int> {  // heaps
 protected:
  static constexpr int kThreads = 8;
  static constexpr int kBlocks = 120;  // of each class and heap
  static constexpr int kRounds = 200'000;

  void SetUp() override {
    if (RegisteredRseqOffset() == 0) GTEST_SKIP() << "no restartable sequences here";
    if (kUnderThreadSanitizer) GTEST_SKIP() << "sees no store of a sequence; signals come late";
    for (size_t i = 0; i < std::min<size_t>(2, affinity_.cpus().size()); ++i) {
      const MadeHeap& heap = heaps_[i % static_cast<size_t>(GetParam())];
      slabs_.emplace_back(heap, affinity_.cpus()[i]);
    }
    for (MadeSlab& slab : slabs_) {
      table_.Enter(slab);
      for (const SizeClass c : kClasses) slab.SetCapacity(c, kCapacity);
      slab.SetCapacity(kRemoteStack, kCapacity);
    }
  }

  struct Worker {
    Blocks held[3];
    uint64_t pops[3] = {}, pushes[3] = {}, moved_in[3] = {}, moved_out[3] = {};
    uint64_t remote_pushes = 0, remote_pops = 0;

    // The handler's own, so that it may come at any moment: what it could not put back.
    std::atomic<bool> takes_signals{false};
    void* stuck[3][16];
    int stuck_count[3] = {};
    uint64_t handler_pops[3] = {}, handler_pushes[3] = {};
  };

  // Pops a block and pushes it again, in the middle of whatever the thread is doing.
  static void OnSignal(int) {
    Worker* worker = worker_;
    if (worker == nullptr || !worker->takes_signals.load(std::memory_order_relaxed)) return;
    for (int i = 0; i < 3; ++i) {
      if (worker->stuck_count[i] == 16) continue;
      void* block = SlabPop(*fast_, kClasses[i]);
      if (block == nullptr) continue;
      ++worker->handler_pops[i];
      if (SlabPush(*fast_, block) == PushResult::kDone) {
        ++worker->handler_pushes[i];
      } else {
        worker->stuck[i][worker->stuck_count[i]++] = block;
      }
    }
  }

  void Step(Worker& worker, std::mt19937& random) {
    const int i = static_cast<int>(random() % 3);
    const SizeClass c = kClasses[i];
    Blocks& held = worker.held[i];
    switch (random() % 8) {
      case 0:
      case 1:
        if (void* block = SlabPop(table_.fast, c)) {
          ++worker.pops[i];
          held.push_back(block);
        }
        break;
      case 2:
      case 3: {
        if (held.empty()) break;
        const PushResult result = SlabPush(table_.fast, held.back());
        ASSERT_TRUE(result == PushResult::kDone || result == PushResult::kFull ||
                    (GetParam() == 2 && result == PushResult::kElsewhere))
            << static_cast<int>(result);
        if (result == PushResult::kDone) {
          ++worker.pushes[i];
          held.pop_back();
        } else if (result == PushResult::kElsewhere &&
                   SlabPushRemote(table_.fast, c, held.back()) == PushResult::kDone) {
          ++worker.remote_pushes;
          held.pop_back();
        } else {
          std::swap(held[random() % held.size()], held.back());
        }
        break;
      }
      case 4: {
        // One heap's, from the end.
        const size_t most = std::min<size_t>(held.size(), random() % 16);
        size_t n = 0;
        while (n < most && HeapOf(held[held.size() - 1 - n]) == HeapOf(held.back())) ++n;
        const BatchResult result =
            SlabPushBatch(table_.fast, c, held.data() + held.size() - n, static_cast<int>(n));
        if (result.count == 0) break;
        ASSERT_TRUE(IsOurs(result.cpu)) << result.cpu;
        worker.moved_in[i] += static_cast<uint64_t>(result.count);
        const auto from = held.end() - static_cast<ptrdiff_t>(n);
        held.erase(from, from + result.count);
        break;
      }
      case 5: {
        void* out[16];
        const BatchResult result =
            SlabPopBatch(table_.fast, c, out, static_cast<int>(random() % 16));
        if (result.count == 0) break;
        ASSERT_TRUE(IsOurs(result.cpu)) << result.cpu;
        worker.moved_out[i] += static_cast<uint64_t>(result.count);
        held.insert(held.end(), out, out + result.count);
        break;
      }
      case 6: {  // as MakeRoom and TakeCapacity do it
        MadeSlab& slab = slabs_[random() % slabs_.size()];
        std::lock_guard holder(capacity_lock_);
        SlabLimits& limits = slab->limits[c.value];
        const int capacity = slab->capacity(c);
        if (capacity == kCapacity) {
          const int wanted = static_cast<int>(random() % kCapacity);
          const bool done =
              SlabLowerEnd(table_.fast, slab->cpu, c, static_cast<uint16_t>(limits.begin + wanted));
          ASSERT_EQ(slab->capacity(c), done ? wanted : capacity);
        } else {
          limits.end.store(static_cast<uint16_t>(limits.begin + kCapacity));
        }
        break;
      }
      case 7:
        if (random() % 16 == 0) Affinity::Pin(slabs_[random() % slabs_.size()]->cpu);
        if (random() % 8 == 0) TakeRemote(worker);
        break;
    }
  }

  void TakeRemote(Worker& worker) {
    void* out[kCapacity];
    const BatchResult result = SlabPopBatch(table_.fast, kRemoteStack, out, kCapacity);
    if (result.count == 0) return;
    ASSERT_TRUE(IsOurs(result.cpu)) << result.cpu;
    worker.remote_pops += static_cast<uint64_t>(result.count);
    for (int n = 0; n < result.count; ++n) {
      const MadeHeap& heap = heaps_[HeapOf(out[n])];
      const size_t page = (reinterpret_cast<uintptr_t>(out[n]) - heap.start) >> kPageShift;
      const auto* c =
          std::find(std::begin(kClasses), std::end(kClasses), SizeClass{heap.page_classes[page]});
      ASSERT_NE(c, std::end(kClasses));
      worker.held[c - kClasses].push_back(out[n]);
    }
  }

  bool IsOurs(int64_t cpu) const {
    for (size_t i = 0; i < slabs_.size(); ++i) {
      if (cpu == affinity_.cpus()[i]) return true;
    }
    return false;
  }
  int HeapOf(const void* block) const { return heaps_[0].Contains(block) ? 0 : 1; }

  static constexpr int kCapacity = 60;

  Affinity affinity_;
  MadeHeap heaps_[2] = {MadeHeap(0), MadeHeap(1)};
  std::vector<MadeSlab> slabs_;
  SlabTable table_{affinity_.cpus().back() + 1};
  std::mutex capacity_lock_;

  static inline FastPath* fast_ = nullptr;
  static inline thread_local Worker* worker_ = nullptr;
};

TEST_P(SlabOpsRaceTest, NoBlockIsLostOrDoubled) {
  fast_ = &table_.fast;
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;
  struct sigaction before;
  ASSERT_EQ(sigaction(SIGUSR2, &action, &before), 0);

  std::vector<Worker> workers(kThreads);
  for (int i = 0; i < 3; ++i) {
    for (int heap = 0; heap < GetParam(); ++heap) {
      for (int n = 0; n < kBlocks; ++n) {
        workers[static_cast<size_t>(n % kThreads)].held[i].push_back(
            heaps_[heap].Block(kClasses[i], n));
      }
    }
  }
  std::vector<std::thread> threads;
  std::vector<std::atomic<pid_t>> ids(kThreads);
  std::atomic<int> running{kThreads};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Worker& worker = workers[static_cast<size_t>(t)];
      std::mt19937 random(20240503 + t);
      Affinity::Pin(slabs_[static_cast<size_t>(t) % slabs_.size()]->cpu);
      worker_ = &worker;
      worker.takes_signals = true;
      ids[static_cast<size_t>(t)] = static_cast<pid_t>(syscall(SYS_gettid));
      for (int round = 0; round < kRounds && !HasFatalFailure(); ++round) Step(worker, random);
      ids[static_cast<size_t>(t)] = 0;
      worker.takes_signals = false;
      --running;
    });
  }
  // Until the last is done: signals to all, and moves that no thread asked for. Threads are joined
  // only afterwards, so what has ended still has a name.
  std::mt19937 random(20240504);
  while (running > 0) {
    const size_t t = random() % kThreads;
    pthread_kill(threads[t].native_handle(), SIGUSR2);
    const pid_t id = ids[random() % kThreads];
    if (id != 0) Affinity::Pin(slabs_[random() % slabs_.size()]->cpu, id);
  }
  for (std::thread& thread : threads) thread.join();
  sigaction(SIGUSR2, &before, nullptr);

  Blocks on_remote_stacks;
  uint64_t remote_pushes = 0, remote_pops = 0, counted_pushes = 0;
  for (MadeSlab& slab : slabs_) {
    EXPECT_TRUE(slab.IsValid(kRemoteStack));
    for (void* block : slab.Blocks(kRemoteStack)) {
      on_remote_stacks.push_back(block);
      EXPECT_GE(reinterpret_cast<uintptr_t>(block) - slab->heap_start, slab->heap_bytes);
    }
    counted_pushes += slab->word(kRemoteStack) >> 16;
  }
  for (const Worker& worker : workers) {
    remote_pushes += worker.remote_pushes;
    remote_pops += worker.remote_pops;
  }
  EXPECT_EQ(counted_pushes, remote_pushes);
  EXPECT_EQ(on_remote_stacks.size(), remote_pushes - remote_pops);
  EXPECT_EQ(remote_pops > 0, GetParam() == 2 && slabs_.size() == 2);

  for (int i = 0; i < 3; ++i) {
    const SizeClass c = kClasses[i];
    std::map<void*, int> seen;
    for (void* block : on_remote_stacks) {
      const size_t page =
          (reinterpret_cast<uintptr_t>(block) - heaps_[HeapOf(block)].start) >> kPageShift;
      if (page == c.value) ++seen[block];
    }
    uint64_t pops = 0, pushes = 0, moved_in = 0, moved_out = 0, counted_pops = 0, used = 0;
    for (MadeSlab& slab : slabs_) {
      EXPECT_TRUE(slab.IsValid(c));
      for (void* block : slab.Blocks(c)) {
        ++seen[block];
        EXPECT_LT(reinterpret_cast<uintptr_t>(block) - slab->heap_start, slab->heap_bytes);
      }
      counted_pops += CpuSlab::Pops(slab->word(c));
      used += static_cast<uint64_t>(slab->used(c));
    }
    for (const Worker& worker : workers) {
      for (void* block : worker.held[i]) ++seen[block];
      for (int n = 0; n < worker.stuck_count[i]; ++n) ++seen[worker.stuck[i][n]];
      pops += worker.pops[i] + worker.handler_pops[i];
      pushes += worker.pushes[i] + worker.handler_pushes[i];
      moved_in += worker.moved_in[i];
      moved_out += worker.moved_out[i];
    }
    EXPECT_EQ(std::ssize(seen), kBlocks * GetParam());
    for (const auto& [block, times] : seen) EXPECT_EQ(times, 1) << block;
    EXPECT_EQ(counted_pops, pops);
    EXPECT_EQ(used, pushes + moved_in - pops - moved_out);
  }
}

INSTANTIATE_TEST_SUITE_P(Heaps, SlabOpsRaceTest, testing::Values(1, 2));

}  // namespace
}  // namespace numaheap
