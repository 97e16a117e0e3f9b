// After fork both sides go on: the child of a busy parent has a heap that is whole, no thread of
// its own until it needs one, and no metrics; handlers of others around fork may allocate.
#include <dirent.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <random>
#include <string_view>
#include <thread>
#include <vector>

#include "src/api/numaheap.h"
#include "tests/api/child.h"
#include "tests/api/snapshot.h"

namespace numaheap {
namespace {

void* (*volatile const Malloc)(size_t) = malloc;
void (*volatile const Free)(void*) = free;
void* (*volatile const Calloc)(size_t, size_t) = calloc;

constexpr size_t kMiB = size_t{1} << 20;

// Allocates, writes and frees in all ways, enough to miss every cache.
bool UseTheHeap() {
  constexpr int kBlocks = 150;
  void* blocks[kBlocks];
  for (size_t size : {16, 100, 1000, 20'000, 300'000}) {
    const int count = size > 10'000 ? 4 : kBlocks;
    for (int i = 0; i < count; ++i) {
      blocks[i] = Malloc(size);
      if (blocks[i] == nullptr) return false;
      memset(blocks[i], i, std::min<size_t>(size, 100));
    }
    for (int i = 0; i < count; ++i) Free(blocks[i]);
  }
  void* zeros = Calloc(3, kMiB);
  Free(realloc(zeros, 5 * kMiB));
  Free(numaheap_malloc_interleaved(100));
  numaheap_release_memory();
  return zeros != nullptr && Snapshot().StatesAddUp();
}

// Threads that allocate and free without a pause, in all sizes, and free each other's blocks.
class BusyThreads {
 public:
  explicit BusyThreads(int count) {
    for (int i = 0; i < count; ++i) threads_.emplace_back([this, i] { Work(i); });
  }
  ~BusyThreads() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
    for (std::atomic<void*>& block : blocks_) Free(block);
  }

 private:
  void Work(int seed) {
    std::mt19937 random(seed);
    while (!stop_.load(std::memory_order_relaxed)) {
      const unsigned draw = random();
      const size_t size = draw % 64 == 0 ? 300'000 : 16 << (draw % 11);
      Free(blocks_[random() % std::size(blocks_)].exchange(Malloc(size)));
      if (draw % 4096 == 0) numaheap_release_memory();
    }
  }

  std::atomic<bool> stop_{false};
  std::atomic<void*> blocks_[2000] = {};
  std::vector<std::thread> threads_;
};

// Those of libnumaheap, by their names.
int CountOwnThreads() {
  int count = 0;
  DIR* tasks = opendir("/proc/self/task");
  while (const dirent* task = readdir(tasks)) {
    char path[300], name[32] = {};
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
    if (FILE* file = fopen(path, "r")) {
      count += fgets(name, sizeof name, file) != nullptr &&
               std::string_view(name).substr(0, 8) == "numaheap";
      fclose(file);
    }
  }
  closedir(tasks);
  return count;
}

// How many sockets of this process accept connections.
int CountListeners() {
  int count = 0;
  for (int fd = 0; fd < 1024; ++fd) {
    int listens = 0;
    socklen_t size = sizeof listens;
    count += getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0;
  }
  return count;
}

bool WaitsFor(bool (*condition)()) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    usleep(1000);
  }
  return true;
}

bool ServesMetrics() {
  return Snapshot().all().metrics_address[0] != '\0';
}

bool ShouldServeMetrics() {
  const char* options = getenv("NUMAHEAP_OPTIONS");
  return options != nullptr && strstr(options, "metrics.listen=") != nullptr;
}

TEST(ForkTest, ChildAllocatesAndFreesAtOnce) {
  EXPECT_EQ(StatusOfChild(UseTheHeap), 0);
  EXPECT_TRUE(UseTheHeap());
}

TEST(ForkTest, ChildrenOfABusyParent) {
  const BusyThreads threads(4);
  for (int i = 0; i < 200; ++i) ASSERT_EQ(StatusOfChild(UseTheHeap), 0) << "fork " << i;
  EXPECT_TRUE(Snapshot().StatesAddUp());
}

TEST(ForkTest, GrandchildrenOfABusyParent) {
  const BusyThreads threads(2);
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(StatusOfChild([] { return UseTheHeap() && StatusOfChild(UseTheHeap) == 0; }), 0);
  }
}

TEST(ForkTest, ForksFromSeveralThreadsAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&failures] {
      for (int n = 0; n < 20; ++n) failures += StatusOfChild(UseTheHeap) != 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

TEST(ForkTest, BlocksOfTheParentAreTheChilds) {
  std::vector<char*> blocks;
  for (int i = 0; i < 1000; ++i) {
    const size_t size = i % 50 == 0 ? 300'000 : 100;
    blocks.push_back(static_cast<char*>(Malloc(size)));
    memset(blocks.back(), i % 251, size);
  }
  const uint64_t frees = Snapshot().Frees();
  EXPECT_EQ(StatusOfChild([&] {
              for (int i = 0; i < 1000; ++i) {
                if (blocks[i][99] != static_cast<char>(i % 251)) return false;
                memset(blocks[i], 0, 100);
                Free(blocks[i]);
              }
              return UseTheHeap();
            }),
            0);
  EXPECT_LT(Snapshot().Frees() - frees, 1000u) << "the parent's heap has changed";
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(blocks[i][99], static_cast<char>(i % 251));
    Free(blocks[i]);
  }
}

// Makes every heap larger than scavenger.start_at.
bool GrowEveryHeap() {
  const Snapshot snapshot;
  for (const numaheap_node_snapshot_t& node : snapshot) {
    if (node.node >= 0) Free(numaheap_malloc_onnode(100 * kMiB, node.node));
  }
  for (int i = 0; i < 2; ++i) Free(Malloc(100 * kMiB));
  return true;
}

TEST(ForkTest, ChildHasNoThreadUntilItNeedsOne) {
  GrowEveryHeap();
  ASSERT_TRUE(WaitsFor([] { return CountOwnThreads() > 0; }));
  EXPECT_EQ(StatusOfChild([] {
              if (CountOwnThreads() != 0) return false;
              GrowEveryHeap();
              return WaitsFor([] { return CountOwnThreads() > 0; });
            }),
            0);
}

TEST(ForkTest, ChildServesNoMetrics) {
  if (!ShouldServeMetrics()) GTEST_SKIP() << "for the variant with metrics.listen";
  Free(Malloc(kMiB));
  ASSERT_TRUE(WaitsFor(ServesMetrics));
  ASSERT_EQ(CountListeners(), 1);
  const BusyThreads threads(2);
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(StatusOfChild([] {
                if (ServesMetrics() || CountListeners() != 0) return false;
                // Nor when its heaps get threads of their own.
                GrowEveryHeap();
                return UseTheHeap() && WaitsFor([] { return CountOwnThreads() > 0; }) &&
                       !ServesMetrics() && CountListeners() == 0;
              }),
              0);
  }
  EXPECT_TRUE(ServesMetrics());
  EXPECT_EQ(CountListeners(), 1);
}

// A server that starts while the process forks.
TEST(ForkTest, ChildrenWhileTheServerStarts) {
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(StatusOfChild([] {
                return UseTheHeap() && !ServesMetrics() && CountListeners() == 0 &&
                       malloc_usable_size(nullptr) == 0;
              }),
              0);
  }
}

// ---- Handlers of others ------------------------------------------------------------------------

// A handler of others, which allocates while a test wants it to.
struct Handler {
  bool allocates = false;
  int calls = 0;
  void Call() {
    if (allocates && UseTheHeap()) ++calls;
  }
};

// Two of three handlers run on each side of a fork.
void ExpectCalls(Handler* handler) {
  *handler = {.allocates = true};
  EXPECT_EQ(StatusOfChild([=] { return handler->calls == 2 && UseTheHeap(); }), 0);
  EXPECT_EQ(handler->calls, 2);
  handler->allocates = false;
}

Handler late;
void Late() {
  late.Call();
}

TEST(ForkHandlerTest, RegisteredLater) {
  static const int error = pthread_atfork(Late, Late, Late);
  ASSERT_EQ(error, 0);
  ExpectCalls(&late);
}

Handler early;
void Early() {
  early.Call();
}

// Before any constructor has run, libnumaheap's among them: these are called within its own.
[[gnu::section(".preinit_array"), gnu::used]] void (*const register_early)() = [] {
  pthread_atfork(Early, Early, Early);
};

TEST(ForkHandlerTest, RegisteredEarlier) {
  ExpectCalls(&early);
}

}  // namespace
}  // namespace numaheap
