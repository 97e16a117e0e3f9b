// Finalizers: run once after free, before the memory is used again, wherever the block was and
// whoever freed it; what realloc, fork, exit and finalizers themselves do to that.
#include <errno.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "src/api/numaheap.h"
#include "tests/api/child.h"
#include "tests/api/cpu.h"
#include "tests/api/snapshot.h"

namespace numaheap {
namespace {

void* (*volatile const Malloc)(size_t) = malloc;
void (*volatile const Free)(void*) = free;
void* (*volatile const Realloc)(void*, size_t) = realloc;
void* (*volatile const AlignedAlloc)(size_t, size_t) = aligned_alloc;

constexpr size_t kMiB = size_t{1} << 20;

// Counts its calls; `argument` is an atomic<int>.
void CountCall(void*, void* argument) {
  ++*static_cast<std::atomic<int>*>(argument);
}

// The scavenger thread may be first, so this waits until all have run.
void RunUntil(const std::atomic<int>& count, int expected) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (count < expected && std::chrono::steady_clock::now() < deadline) {
    if (numaheap_run_finalizers() == 0) sched_yield();
  }
  EXPECT_EQ(count, expected);
}

// What a call was given and found.
struct Call {
  void* ptr;
  char content;
  int order;
};
std::atomic<int> calls_made{0};

void Record(void* ptr, void* argument) {
  auto* call = static_cast<Call*>(argument);
  call->ptr = ptr;
  call->content = *static_cast<char*>(ptr);
  call->order = calls_made++;
}

std::vector<void*> BlocksOfAllKinds() {
  std::vector<void*> blocks;
  for (size_t size : {size_t{0}, size_t{1}, size_t{100}, size_t{1000}, size_t{50'000},
                      size_t{300'000}, 3 * kMiB}) {
    blocks.push_back(Malloc(size));
    blocks.push_back(numaheap_malloc_interleaved(size));
  }
  for (size_t alignment : {64, 4096, 65536}) blocks.push_back(AlignedAlloc(alignment, 100));
  return blocks;
}

TEST(FinalizerTest, RunsOnceAfterFreeWithTheContentKept) {
  for (void* block : BlocksOfAllKinds()) {
    Call call = {nullptr, 0, -1};
    memset(block, 'x', 1);
    EXPECT_EQ(numaheap_add_finalizer(block, Record, &call), 0);
    numaheap_run_finalizers();
    EXPECT_EQ(call.order, -1) << "before it was freed";
    const int made = calls_made;
    Free(block);
    RunUntil(calls_made, made + 1);
    numaheap_run_finalizers();
    EXPECT_EQ(calls_made, made + 1);
    EXPECT_EQ(call.ptr, block);
    EXPECT_EQ(call.content, 'x');
  }
  EXPECT_TRUE(Snapshot().StatesAddUp());
}

TEST(FinalizerTest, TheMemoryIsNotUsedAgainBefore) {
  std::atomic<bool> may_end{false};
  void* block = Malloc(64);
  // Holds whichever thread runs it.
  ASSERT_EQ(numaheap_add_finalizer(
                block,
                [](void*, void* flag) {
                  while (!*static_cast<std::atomic<bool>*>(flag)) sched_yield();
                },
                &may_end),
            0);
  Free(block);
  std::vector<void*> others(20'000);
  for (void*& other : others) {
    other = Malloc(64);
    ASSERT_NE(other, block);
  }
  for (void* other : others) Free(other);
  may_end = true;
  numaheap_run_finalizers();
}

TEST(FinalizerTest, NeighboursAreFreedAsEver) {
  std::vector<void*> blocks(1000);
  for (void*& block : blocks) block = Malloc(48);
  std::atomic<int> count{0};
  for (size_t i = 0; i < blocks.size(); i += 100) {
    ASSERT_EQ(numaheap_add_finalizer(blocks[i], CountCall, &count), 0);
  }
  for (void* block : blocks) EXPECT_GE(malloc_usable_size(block), 48u);
  for (void* block : blocks) Free(block);
  RunUntil(count, 10);
  numaheap_release_memory();
  EXPECT_TRUE(Snapshot().StatesAddUp());
}

TEST(FinalizerTest, RemovedOnesDoNotRun) {
  for (void* block : BlocksOfAllKinds()) {
    std::atomic<int> count{0};
    EXPECT_EQ(numaheap_remove_finalizer(block), ENOENT);
    EXPECT_EQ(numaheap_add_finalizer(block, CountCall, &count), 0);
    EXPECT_EQ(numaheap_remove_finalizer(block), 0);
    EXPECT_EQ(numaheap_remove_finalizer(block), ENOENT);
    Free(block);
    numaheap_run_finalizers();
    EXPECT_EQ(count, 0);
  }
}

TEST(FinalizerTest, TheFirstOfTwoStays) {
  void* block = Malloc(100);
  std::atomic<int> first{0}, second{0};
  EXPECT_EQ(numaheap_add_finalizer(block, CountCall, &first), 0);
  EXPECT_EQ(numaheap_add_finalizer(block, CountCall, &second), EEXIST);
  Free(block);
  RunUntil(first, 1);
  EXPECT_EQ(second, 0);
}

TEST(FinalizerTest, RefusesWhatIsNoBlock) {
  std::atomic<int> count{0};
  int on_stack = 0;
  static int in_data;
  errno = 0;
  for (void* foreign : {static_cast<void*>(&on_stack), static_cast<void*>(&in_data),
                        reinterpret_cast<void*>(16), reinterpret_cast<void*>(~uintptr_t{15})}) {
    EXPECT_EQ(numaheap_add_finalizer(foreign, CountCall, &count), ENOENT);
    EXPECT_EQ(numaheap_remove_finalizer(foreign), ENOENT);
  }
  EXPECT_EQ(numaheap_add_finalizer(nullptr, CountCall, &count), EINVAL);
  for (size_t size : {size_t{100}, kMiB}) {
    char* block = static_cast<char*>(Malloc(size));
    EXPECT_EQ(numaheap_add_finalizer(block, nullptr, &count), EINVAL);
    EXPECT_EQ(numaheap_add_finalizer(block + 1, CountCall, &count), EINVAL);
    EXPECT_EQ(numaheap_add_finalizer(block + 16, CountCall, &count), EINVAL);
    EXPECT_EQ(numaheap_remove_finalizer(block + 16), ENOENT);
    Free(block);
    numaheap_release_memory();  // out of the caches, where it would not be recognised
    EXPECT_EQ(numaheap_add_finalizer(block, CountCall, &count), ENOENT);
  }
  EXPECT_EQ(errno, 0);
  numaheap_run_finalizers();
  EXPECT_EQ(count, 0);
}

TEST(FinalizerTest, ReallocInPlaceKeepsIt) {
  char* block = static_cast<char*>(Malloc(2 * kMiB));
  std::atomic<int> count{0};
  ASSERT_EQ(numaheap_add_finalizer(block, CountCall, &count), 0);
  ASSERT_EQ(Realloc(block, kMiB), block);
  ASSERT_EQ(Realloc(block, kMiB + 5000), block);
  EXPECT_EQ(numaheap_add_finalizer(block, CountCall, &count), EEXIST);
  numaheap_run_finalizers();
  EXPECT_EQ(count, 0);
  Free(block);
  RunUntil(count, 1);
}

TEST(FinalizerTest, ReallocThatMovesFreesTheOldBlock) {
  for (size_t size : {size_t{100}, size_t{300'000}}) {
    Call call = {nullptr, 0, -1};
    char* block = static_cast<char*>(Malloc(size));
    *block = 'm';
    ASSERT_EQ(numaheap_add_finalizer(block, Record, &call), 0);
    const int made = calls_made;
    char* moved = static_cast<char*>(Realloc(block, 16));
    ASSERT_NE(moved, block);
    EXPECT_EQ(*moved, 'm');
    RunUntil(calls_made, made + 1);
    EXPECT_EQ(call.ptr, block);
    EXPECT_EQ(numaheap_remove_finalizer(moved), ENOENT);
    Free(moved);
  }
}

TEST(FinalizerTest, ReallocToNothingFrees) {
  void* block = Malloc(100);
  std::atomic<int> count{0};
  ASSERT_EQ(numaheap_add_finalizer(block, CountCall, &count), 0);
  EXPECT_EQ(Realloc(block, 0), nullptr);
  RunUntil(count, 1);
}

// Each frees the next, which has a finalizer, too, and allocates on the way.
struct Chain {
  Chain* next;
  std::atomic<int>* count;
  int tried_again;
};

void FreeNext(void* ptr, void* argument) {
  auto* chain = static_cast<Chain*>(ptr);
  EXPECT_EQ(argument, chain);
  void* other = Malloc(100);
  EXPECT_EQ(numaheap_add_finalizer(other, CountCall, chain->count), 0);
  EXPECT_EQ(numaheap_add_finalizer(ptr, CountCall, chain->count), ENOENT);
  EXPECT_EQ(numaheap_remove_finalizer(ptr), ENOENT);
  Free(other);
  Free(chain->next);
  ++*chain->count;
}

TEST(FinalizerTest, FinalizersMayDoAllThat) {
  std::atomic<int> count{0};
  Chain* chain = nullptr;
  for (int i = 0; i < 100; ++i) {
    auto* next = static_cast<Chain*>(Malloc(sizeof(Chain)));
    *next = {chain, &count, 0};
    ASSERT_EQ(numaheap_add_finalizer(next, FreeNext, next), 0);
    chain = next;
  }
  Free(chain);
  RunUntil(count, 200);
}

// From another CPU, which is another node's where there are two.
TEST(FinalizerTest, FreedElsewhere) {
  for (size_t size : {size_t{100}, kMiB}) {
    for (int home : UsableCpus()) {
      for (int there : UsableCpus()) {
        std::atomic<int> count{0};
        std::vector<void*> blocks(200);
        {
          const PinnedTo pin(home);
          for (void*& block : blocks) block = Malloc(size);
        }
        const PinnedTo pin(there);
        for (size_t i = 0; i < blocks.size() / 2; ++i) Free(blocks[i]);
        for (size_t i = blocks.size() / 2; i < blocks.size(); ++i) {
          ASSERT_EQ(numaheap_add_finalizer(blocks[i], CountCall, &count), 0);
        }
        for (size_t i = blocks.size() / 2; i < blocks.size(); ++i) Free(blocks[i]);
        RunUntil(count, static_cast<int>(blocks.size() / 2));
      }
    }
  }
  numaheap_release_memory();
  EXPECT_TRUE(Snapshot().StatesAddUp());
}

// Blocks that wait to be sent home while a finalizer hides their class, and those freed then.
TEST(FinalizerTest, EveryByteThatGoesHomeIsCounted) {
  const char* options = getenv("NUMAHEAP_OPTIONS");
  if (options == nullptr || strstr(options, "numa:2") == nullptr || UsableCpus().size() < 2) {
    GTEST_SKIP() << "needs two nodes with CPUs";
  }
  const PinnedTo pin(UsableCpus()[1]);
  for (size_t size : {size_t{64}, size_t{1024}}) {
    const uint64_t before = FreedBytes(1, 0);
    std::vector<void*> blocks(40);
    for (void*& block : blocks) block = numaheap_malloc_onnode(size, 0);
    std::atomic<int> count{0};
    for (size_t i = 0; i < blocks.size(); ++i) {
      if (i == 20) {
        ASSERT_EQ(numaheap_add_finalizer(blocks.back(), CountCall, &count), 0);
        EXPECT_EQ(FreedBytes(1, 0) - before, i * size);
      }
      if (i == 30) numaheap_release_memory();
      Free(blocks[i]);
      EXPECT_EQ(FreedBytes(1, 0) - before, (i + 1) * size);
    }
    RunUntil(count, 1);
    numaheap_release_memory();
    EXPECT_EQ(FreedBytes(1, 0) - before, blocks.size() * size);
  }
}

TEST(FinalizerTest, AScavengerThreadRunsThemUnasked) {
  struct Seen {
    std::atomic<int> count{0};
    char thread[16] = {};
  } seen;
  void* block = Malloc(100);
  ASSERT_EQ(numaheap_add_finalizer(
                block,
                [](void*, void* argument) {
                  auto* seen = static_cast<Seen*>(argument);
                  pthread_getname_np(pthread_self(), seen->thread, sizeof seen->thread);
                  ++seen->count;
                },
                &seen),
            0);
  numaheap_owner_t owner;
  ASSERT_EQ(numaheap_owner(block, &owner), 0);
  Free(block);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (seen.count == 0 && std::chrono::steady_clock::now() < deadline) usleep(1000);
  ASSERT_EQ(seen.count, 1);
  EXPECT_EQ(std::string_view(seen.thread), "numaheap/" + std::to_string(owner.node));
}

// ---- Fork and exit -----------------------------------------------------------------------------

// Keeps any scavenger thread from running others: it waits in this one. The tests that use it are
// about what waits.
class HeldUp {
 public:
  HeldUp() {
    std::set<int> nodes;
    for (int cpu : UsableCpus()) {
      const PinnedTo pin(cpu);
      void* block = Malloc(100);
      numaheap_owner_t owner;
      EXPECT_EQ(numaheap_owner(block, &owner), 0);
      if (nodes.insert(owner.node).second) numaheap_add_finalizer(block, &Wait, this);
      Free(block);
    }
    while (waiting_ < static_cast<int>(nodes.size())) sched_yield();
  }
  ~HeldUp() {
    end_ = true;
    while (waiting_ > 0) sched_yield();
  }

 private:
  static void Wait(void*, void* argument) {
    auto* self = static_cast<HeldUp*>(argument);
    ++self->waiting_;
    while (!self->end_) sched_yield();
    --self->waiting_;
  }
  std::atomic<int> waiting_{0};
  std::atomic<bool> end_{false};
};

TEST(FinalizerForkTest, EachProcessRunsThoseThatWait) {
  const PinnedTo pin(UsableCpus().front());
  const HeldUp held;
  static std::atomic<int> count{0};
  void* freed = Malloc(100);
  void* live = Malloc(100);
  ASSERT_EQ(numaheap_add_finalizer(freed, CountCall, &count), 0);
  ASSERT_EQ(numaheap_add_finalizer(live, CountCall, &count), 0);
  Free(freed);
  const int before = count;
  EXPECT_EQ(StatusOfChild([&] {
              Free(live);
              while (count < before + 2) numaheap_run_finalizers();
              return numaheap_run_finalizers() == 0 && count == before + 2;
            }),
            0);
  EXPECT_EQ(count, before);
  Free(live);
  RunUntil(count, before + 2);
}

TEST(FinalizerForkTest, TheChildGetsAThreadForThem) {
  const HeldUp held;
  static std::atomic<int> count{0};
  void* live = Malloc(100);
  ASSERT_EQ(numaheap_add_finalizer(live, CountCall, &count), 0);
  EXPECT_EQ(StatusOfChild([&] {
              Free(live);
              while (count == 0) usleep(1000);
              return true;
            }),
            0);
  Free(live);
  RunUntil(count, 1);
}

TEST(FinalizerForkTest, ChildrenOfABusyParent) {
  std::atomic<bool> stop{false};
  std::atomic<int> added{0}, ran{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      while (!stop) {
        void* block = Malloc(random() % 64 == 0 ? 300'000 : 16 + random() % 2000);
        if (random() % 4 == 0 && numaheap_add_finalizer(block, CountCall, &ran) == 0) ++added;
        Free(block);
        if (random() % 64 == 0) numaheap_run_finalizers();
      }
    });
  }
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(StatusOfChild([&] {
                std::atomic<int> own{0};
                for (size_t size : {size_t{100}, kMiB}) {
                  void* block = Malloc(size);
                  if (numaheap_add_finalizer(block, CountCall, &own) != 0) return false;
                  Free(block);
                }
                while (own < 2) numaheap_run_finalizers();
                return Snapshot().StatesAddUp();
              }),
              0);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  RunUntil(ran, added);
}

TEST(FinalizerExitTest, ThoseThatWaitDoNotRun) {
  EXPECT_EXIT(
      {
        new HeldUp;
        void* block = Malloc(100);
        numaheap_add_finalizer(
            block, [](void*, void*) { _exit(7); }, nullptr);
        Free(block);
        exit(0);
      },
      testing::ExitedWithCode(0), "");
}

TEST(FinalizerExitTest, AHandlerOfAtexitMayRunThem) {
  EXPECT_EXIT(
      {
        new HeldUp;
        atexit([] { numaheap_run_finalizers(); });
        void* block = Malloc(100);
        numaheap_add_finalizer(
            block, [](void*, void*) { _exit(7); }, nullptr);
        Free(block);
        exit(0);
      },
      testing::ExitedWithCode(7), "");
}

// ---- Many threads ------------------------------------------------------------------------------

// Blocks of spans with and without finalizers go from thread to thread; each finalizer sees its
// block's content, and each runs once.
TEST(FinalizerStressTest, EachRunsOnce) {
  constexpr int kThreads = 4, kRounds = 30'000, kSlots = 512;
  static std::atomic<void*> slots[kSlots];
  static std::atomic<int> added, removed, ran;
  const auto finalize = [](void* ptr, void* argument) {
    if (*static_cast<void**>(ptr) != argument) abort();
    *static_cast<void**>(ptr) = nullptr;
    ++ran;
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      for (int i = 0; i < kRounds; ++i) {
        const size_t size = random() % 256 == 0 ? 300'000 : size_t{16} << random() % 6;
        void* block = Malloc(size);
        *static_cast<void**>(block) = block;
        if (random() % 8 == 0) {
          if (numaheap_add_finalizer(block, finalize, block) != 0) abort();
          ++added;
          if (random() % 8 == 0) {
            if (numaheap_remove_finalizer(block) != 0) abort();
            ++removed;
          }
        }
        void* other = slots[random() % kSlots].exchange(block);
        if (other != nullptr && *static_cast<void**>(other) != other) abort();
        Free(other);
        if (random() % 1024 == 0) numaheap_run_finalizers();
        if (random() % 8192 == 0) numaheap_release_memory();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::atomic<void*>& slot : slots) Free(slot.exchange(nullptr));
  RunUntil(ran, added - removed);
  EXPECT_GT(ran, kThreads * kRounds / 16);
  numaheap_release_memory();
  EXPECT_TRUE(Snapshot().StatesAddUp());
}

}  // namespace
}  // namespace numaheap
