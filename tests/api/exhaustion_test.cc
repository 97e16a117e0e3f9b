// When the kernel gives no more memory, every function says so, nothing is lost, and all goes on
// once there is memory again.
//
// The limit on data segments takes effect at once and stops each growth of a heap; what the heap
// has by then stays usable.
#include <errno.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "src/api/numaheap.h"
#include "tests/api/cpu.h"
#include "tests/api/snapshot.h"

namespace numaheap {
namespace {

using Node = numaheap_node_snapshot_t;

void* (*volatile const Malloc)(size_t) = malloc;
void (*volatile const Free)(void*) = free;
void* (*volatile const Calloc)(size_t, size_t) = calloc;
void* (*volatile const Realloc)(void*, size_t) = realloc;
void* (*volatile const AlignedAlloc)(size_t, size_t) = aligned_alloc;
int (*volatile const PosixMemalign)(void**, size_t, size_t) = posix_memalign;

constexpr size_t kMiB = size_t{1} << 20;

// While it lives, the kernel gives this process no more memory.
class Shortage {
 public:
  Shortage() {
    getrlimit(RLIMIT_DATA, &before_);
    const rlimit none = {1, before_.rlim_max};  // the kernel takes 0 for unlimited
    setrlimit(RLIMIT_DATA, &none);
  }
  ~Shortage() { setrlimit(RLIMIT_DATA, &before_); }
  Shortage(const Shortage&) = delete;
  Shortage& operator=(const Shortage&) = delete;

 private:
  rlimit before_;
};

// Blocks that hang together by their first word: keeping them takes no memory.
class Chain {
 public:
  ~Chain() { Clear(); }
  void Clear() {
    while (first_ != nullptr) {
      void** next = static_cast<void**>(*first_);
      Free(first_);
      first_ = next;
    }
  }
  // Whether there was one.
  bool Take(void* block) {
    if (block == nullptr) return false;
    ++size_;
    *static_cast<void**>(block) = first_;
    first_ = static_cast<void**>(block);
    return true;
  }
  size_t size() const { return size_; }

 private:
  void** first_ = nullptr;
  size_t size_ = 0;
};

// Takes what there is, from large to small; then there is nothing.
void TakeAll(Chain* chain) {
  for (size_t size : {64 * kMiB, kMiB, size_t{300'000}, size_t{30'000}, size_t{4096}, size_t{1000},
                      size_t{64}, size_t{16}}) {
    errno = 0;
    while (chain->Take(Malloc(size))) {
    }
    ASSERT_EQ(errno, ENOMEM) << size;
  }
}

// A call that must fail now. What it did is kept for later: to report it takes memory.
struct Refusal {
  const char* name;
  void* (*call)();
  void* block = nullptr;
  int error = 0;
};

TEST(ExhaustionTest, EveryFunctionSaysSo) {
  static int anything;
  void* const before = &anything;
  void* out = before;
  int memalign_error = 0;
  Refusal refusals[] = {
      {"malloc, large", [] { return Malloc(kMiB); }},
      {"malloc", [] { return Malloc(0); }},
      {"calloc", [] { return Calloc(1, 16); }},
      {"calloc, large", [] { return Calloc(1, kMiB); }},
      {"realloc", [] { return Realloc(nullptr, 16); }},
      {"reallocarray", [] { return reallocarray(nullptr, 2, kMiB); }},
      {"aligned_alloc", [] { return AlignedAlloc(4096, 4096); }},
      {"aligned_alloc, large", [] { return AlignedAlloc(kMiB, kMiB); }},
      {"memalign", [] { return memalign(64, 64); }},
      {"valloc", [] { return valloc(1); }},
      {"pvalloc", [] { return pvalloc(1); }},
      {"numaheap_malloc_onnode", [] { return numaheap_malloc_onnode(16, 0); }},
      {"numaheap_malloc_onnode, large", [] { return numaheap_malloc_onnode(kMiB, 0); }},
      {"numaheap_malloc_interleaved", [] { return numaheap_malloc_interleaved(16); }},
      {"numaheap_malloc_interleaved, large", [] { return numaheap_malloc_interleaved(kMiB); }},
  };
  {
    // Other CPUs may have blocks in their caches.
    const PinnedTo cpu(UsableCpus().front());
    Chain all;
    const Shortage shortage;
    TakeAll(&all);
    for (Refusal& refusal : refusals) {
      errno = 0;
      refusal.block = refusal.call();
      refusal.error = errno;
    }
    memalign_error = PosixMemalign(&out, 64, kMiB);
  }
  for (const Refusal& refusal : refusals) {
    EXPECT_EQ(refusal.block, nullptr) << refusal.name;
    EXPECT_EQ(refusal.error, ENOMEM) << refusal.name;
  }
  EXPECT_EQ(memalign_error, ENOMEM);
  EXPECT_EQ(out, before);
  EXPECT_GT(Snapshot().Sum(&Node::failed_growths), 0u);
  EXPECT_TRUE(Snapshot().StatesAddUp());
}

TEST(ExhaustionTest, ReallocKeepsTheBlock) {
  char* small = static_cast<char*>(Malloc(100));
  char* large = static_cast<char*>(Malloc(kMiB));
  memset(small, 1, 100);
  memset(large, 2, kMiB);
  void *moved_small, *moved_large, *shrunk;
  int error;
  {
    Chain all;
    const Shortage shortage;
    TakeAll(&all);
    moved_small = Realloc(small, 1000);
    errno = 0;
    moved_large = Realloc(large, 100 * kMiB);
    error = errno;
    shrunk = Realloc(large, kMiB / 2);
  }
  EXPECT_EQ(moved_small, nullptr);
  EXPECT_EQ(moved_large, nullptr);
  EXPECT_EQ(error, ENOMEM);
  EXPECT_EQ(shrunk, large);  // takes nothing
  EXPECT_EQ(small[0] + small[99], 2);
  EXPECT_EQ(large[0] + large[kMiB / 2 - 1], 4);
  Free(small);
  Free(large);
}

TEST(ExhaustionTest, WhatIsFreedCanBeHadAgain) {
  size_t bytes[3];
  {
    const Shortage shortage;
    for (size_t& had : bytes) {
      {
        Chain all;
        TakeAll(&all);
        had = Snapshot().Sum(&Node::in_use_bytes);
      }
      numaheap_release_memory();
    }
  }
  // Single pages are left between spans.
  const uint64_t committed = Snapshot().Sum(&Node::committed_bytes);
  const uint64_t crumbs = committed / 50 + (64 << 10);
  for (size_t had : bytes) EXPECT_GE(had + crumbs, committed);
}

TEST(ExhaustionTest, GoesOnWhenThereIsMemory) {
  Chain all;
  {
    const Shortage shortage;
    TakeAll(&all);
  }
  const uint64_t growths = Snapshot().Sum(&Node::growths);
  for (size_t size : {size_t{16}, size_t{1000}, size_t{100'000}, 10 * kMiB}) {
    void* block = Malloc(size);
    ASSERT_NE(block, nullptr) << size;
    memset(block, 0xa5, size);
    Free(block);
  }
  EXPECT_GT(Snapshot().Sum(&Node::growths), growths);
}

TEST(ExhaustionTest, ThreadsRunOutTogether) {
  std::atomic<bool> go{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      while (!go) {
      }
      for (int round = 0; round < 20; ++round) {
        Chain chain;
        const size_t size = size_t{16} << (round + i) % 16;
        errno = 0;
        while (chain.Take(Malloc(size))) {
        }
        wrong += errno != ENOMEM;
      }
    });
  }
  {
    const Shortage shortage;
    go = true;
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_TRUE(Snapshot().StatesAddUp());
  Free(Malloc(10 * kMiB));
}

// What one CPU has freed is there for another one, whose node may be another.
TEST(ExhaustionTest, FreesReachOtherCpus) {
  const std::vector<int>& cpus = UsableCpus();
  if (cpus.size() < 2) GTEST_SKIP() << "needs two CPUs";
  constexpr int kRounds = 6;
  size_t sizes[kRounds];
  // The CPUs have their caches, and both heaps records for more than a span.
  for (int cpu : {cpus[0], cpus[1]}) {
    const PinnedTo pinned(cpu);
    Chain chain;
    for (int i = 0; i < 1000; ++i) ASSERT_TRUE(chain.Take(Malloc(1000)));
  }
  {
    const Shortage shortage;
    for (int round = 0; round < kRounds; ++round) {
      Chain chain;
      {
        const PinnedTo cpu(cpus[round % 2]);
        while (chain.Take(Malloc(1000))) {
        }
      }
      sizes[round] = chain.size();
      const PinnedTo other(cpus[1 - round % 2]);
      chain.Clear();
    }
  }
  for (int round = 0; round < kRounds; ++round) {
    // What waits in the batches and caches of CPUs is little.
    EXPECT_GT(sizes[round], sizes[0] / 2) << round;
    EXPECT_GT(sizes[round], 100u) << round;
  }
  EXPECT_TRUE(Snapshot().StatesAddUp());
}

TEST(ExhaustionTest, ForkStillWorks) {
  int status = -1;
  {
    Chain all;
    const Shortage shortage;
    TakeAll(&all);
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);
      all.Clear();
      _exit(Malloc(1000) != nullptr ? 0 : 1);
    }
    waitpid(child, &status, 0);
  }
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace numaheap
