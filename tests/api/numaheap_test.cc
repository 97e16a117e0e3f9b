// What src/api/numaheap.h promises: placement on nodes, owners of addresses, giving memory back,
// and snapshots whose numbers are right.
#include "src/api/numaheap.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/api/cpu.h"
#include "tests/api/snapshot.h"

namespace numaheap {
namespace {

using Node = numaheap_node_snapshot_t;

void* (*volatile const Malloc)(size_t) = malloc;
void (*volatile const Free)(void*) = free;

constexpr size_t kMiB = size_t{1} << 20;
constexpr int kMark = 12345;  // an errno that nobody sets

// The options that the test was started with.
bool HasOption(std::string_view option) {
  const char* options = getenv("NUMAHEAP_OPTIONS");
  return options != nullptr && std::string_view(options).find(option) != std::string_view::npos;
}
bool HasTwoNodes() {
  return HasOption("numa:2");
}

long ResidentBytes() {
  char text[128] = {};
  FILE* file = fopen("/proc/self/statm", "r");
  EXPECT_NE(fgets(text, sizeof text, file), nullptr);
  fclose(file);
  long total = 0, resident = 0;
  EXPECT_EQ(sscanf(text, "%ld %ld", &total, &resident), 2);
  return resident * sysconf(_SC_PAGESIZE);
}

numaheap_owner_t OwnerOf(const void* ptr) {
  numaheap_owner_t owner = {-7, 0, nullptr, 0};
  EXPECT_EQ(numaheap_owner(ptr, &owner), 0) << ptr;
  return owner;
}

bool IsOwned(const void* ptr) {
  numaheap_owner_t owner;
  const int error = numaheap_owner(ptr, &owner);
  EXPECT_TRUE(error == 0 || error == ENOENT) << error;
  return error == 0;
}

// ---- Version -----------------------------------------------------------------------------------

TEST(VersionTest, IsThatOfTheHeader) {
  const std::string expected = std::to_string(NUMAHEAP_VERSION_MAJOR) + "." +
                               std::to_string(NUMAHEAP_VERSION_MINOR) + "." +
                               std::to_string(NUMAHEAP_VERSION_PATCH);
  EXPECT_EQ(numaheap_version(), expected);
}

// ---- Snapshot ----------------------------------------------------------------------------------

TEST(SnapshotTest, RefusesOtherVersions) {
  for (uint32_t version : {uint32_t{0}, uint32_t{NUMAHEAP_SNAPSHOT_VERSION + 1}, UINT32_MAX}) {
    numaheap_snapshot_t snapshot;
    memset(&snapshot, 0xa5, sizeof snapshot);
    numaheap_snapshot_t before = snapshot;
    before.version = snapshot.version = version;
    errno = kMark;
    EXPECT_EQ(numaheap_snapshot(&snapshot), EINVAL);
    EXPECT_EQ(errno, kMark);
    EXPECT_EQ(memcmp(&snapshot, &before, sizeof snapshot), 0);
  }
}

TEST(SnapshotTest, CapacityZeroAsksForTheNumber) {
  numaheap_snapshot_t snapshot = {};
  snapshot.version = NUMAHEAP_SNAPSHOT_VERSION;
  EXPECT_EQ(numaheap_snapshot(&snapshot), 0);
  EXPECT_EQ(snapshot.node_count, Snapshot().all().node_count);
  EXPECT_GE(snapshot.node_count, HasTwoNodes() ? 2u : 1u);
}

TEST(SnapshotTest, LeavesOutWhatDoesNotFit) {
  free(numaheap_malloc_interleaved(100));  // one more heap
  Node nodes[3];
  memset(nodes, 0xa5, sizeof nodes);
  const Node untouched = nodes[1];
  numaheap_snapshot_t snapshot = {};
  snapshot.version = NUMAHEAP_SNAPSHOT_VERSION;
  snapshot.node_capacity = 1;
  snapshot.nodes = nodes;
  EXPECT_EQ(numaheap_snapshot(&snapshot), 0);
  EXPECT_GE(snapshot.node_count, 2u);
  EXPECT_EQ(nodes[0].node, -1);
  EXPECT_EQ(memcmp(&nodes[1], &untouched, sizeof untouched), 0);
}

TEST(SnapshotTest, NodesRise) {
  free(numaheap_malloc_interleaved(100));
  const Snapshot snapshot;
  ASSERT_EQ(snapshot.error(), 0);
  EXPECT_EQ(snapshot.begin()->node, -1);
  for (const Node* node = snapshot.begin() + 1; node < snapshot.end(); ++node) {
    EXPECT_GT(node->node, node[-1].node);
  }
}

TEST(SnapshotTest, SaysHowItRuns) {
  const numaheap_snapshot_t all = Snapshot().all();
  if (HasOption("cache.mode=locked")) {
    EXPECT_EQ(all.cache_mode, uint32_t{NUMAHEAP_CACHE_LOCKED});
  } else {
    EXPECT_NE(all.cache_mode, uint32_t{NUMAHEAP_CACHE_BOOT});
  }
  EXPECT_EQ(all.placement_mode == NUMAHEAP_PLACEMENT_SYNTHETIC, HasTwoNodes());
  EXPECT_STREQ(all.metrics_address, "");
  EXPECT_EQ(all.reservation_halvings, 0u);
}

TEST(SnapshotTest, CpusAreThoseOfTheMachine) {
  uint32_t cpus = 0;
  for (const Node& node : Snapshot()) cpus += node.cpus;
  EXPECT_EQ(cpus, static_cast<uint32_t>(sysconf(_SC_NPROCESSORS_ONLN)));
}

TEST(SnapshotTest, SizesAreConsistent) {
  for (const Node& node : Snapshot()) {
    EXPECT_LE(node.committed_bytes, node.reserved_bytes);
    EXPECT_LE(node.cached_bytes + node.large_bytes, node.in_use_bytes);
    EXPECT_GT(node.metadata_bytes, 0u);
  }
}

// Counters of all heaps between two moments.
struct Difference {
  Difference(const Snapshot& before, const Snapshot& after)
      : allocations(Of(before, after, &Node::allocations)),
        allocated_bytes(Of(before, after, &Node::allocated_bytes)),
        frees_local(Of(before, after, &Node::frees_local)),
        frees_remote(Of(before, after, &Node::frees_remote)),
        large_bytes(Of(before, after, &Node::large_bytes)) {}
  static int64_t Of(const Snapshot& before, const Snapshot& after, uint64_t Node::*field) {
    return static_cast<int64_t>(after.Sum(field) - before.Sum(field));
  }
  int64_t allocations, allocated_bytes, frees_local, frees_remote, large_bytes;
};

TEST(SnapshotTest, CountersRiseByWhatHappened) {
  constexpr int kBlocks = 5000;
  static void* blocks[kBlocks];
  const size_t sizes[] = {1, 16, 100, 1000, 20'000, 300'000, 2 * kMiB};
  // At least twice: the first time blocks come from new spans, then from the caches.
  for (int round = 0; round < 3; ++round) {
    for (size_t size : sizes) {
      const PinnedTo cpu(UsableCpus().front());
      const int count = size > 10'000 ? 50 : kBlocks;
      const Snapshot before;
      for (int i = 0; i < count; ++i) blocks[i] = Malloc(size);
      const Snapshot between;
      const Difference made(before, between);
      const auto usable = static_cast<int64_t>(malloc_usable_size(blocks[0]));
      EXPECT_EQ(made.allocations, count) << size;
      EXPECT_EQ(made.allocated_bytes, count * usable) << size;
      EXPECT_EQ(made.frees_local + made.frees_remote, 0) << size;
      EXPECT_EQ(made.large_bytes, size > 256 * 1024 ? count * usable : 0) << size;
      for (int i = 0; i < count; ++i) Free(blocks[i]);
      const Snapshot after;
      const Difference freed(between, after);
      EXPECT_EQ(freed.allocations, 0) << size;
      EXPECT_EQ(freed.frees_local, count) << size;
      EXPECT_EQ(freed.frees_remote, 0) << size;
      EXPECT_EQ(freed.large_bytes, -made.large_bytes) << size;
      EXPECT_TRUE(before.StatesAddUp() && between.StatesAddUp() && after.StatesAddUp());
    }
  }
}

// Draining, releasing and snapshots in between change no count.
TEST(SnapshotTest, GivingBackCountsAsNothing) {
  static void* blocks[10'000];
  numaheap_release_memory();  // remote frees are counted when they come home
  const PinnedTo cpu(UsableCpus().front());
  for (void*& block : blocks) block = Malloc(64);
  for (void* block : blocks) Free(block);
  const Snapshot before;
  numaheap_release_memory();
  const Snapshot after;
  const Difference drained(before, after);
  EXPECT_EQ(drained.allocations, 0);
  EXPECT_EQ(drained.allocated_bytes, 0);
  EXPECT_EQ(drained.frees_local + drained.frees_remote, 0);
  EXPECT_EQ(after.Sum(&Node::cached_bytes), 0u);
  EXPECT_EQ(after.Sum(&Node::idle_bytes), 0u);
  EXPECT_GT(after.Sum(&Node::scavenged_bytes), before.Sum(&Node::scavenged_bytes));
}

TEST(SnapshotTest, RemoteFreesAreCountedAtHome) {
  if (!HasTwoNodes() || UsableCpus().size() < 2) GTEST_SKIP() << "needs two nodes with CPUs";
  constexpr int kBlocks = 1000;
  static void* blocks[kBlocks];
  int node;
  {
    const PinnedTo cpu(UsableCpus()[0]);
    for (void*& block : blocks) block = Malloc(100);
    node = OwnerOf(blocks[0]).node;
  }
  numaheap_release_memory();  // brings home what others have freed before
  const PinnedTo cpu(UsableCpus()[1]);
  const Snapshot before;
  for (void* block : blocks) Free(block);
  const Snapshot between;
  const Node& home = *between.Find(node);
  EXPECT_EQ(home.frees_local, before.Find(node)->frees_local);
  // Some still wait to be sent, some to be swept; those that were sent are counted.
  EXPECT_GT(home.frees_remote, before.Find(node)->frees_remote);
  EXPECT_GT(home.remote_pending, 0u);
  numaheap_release_memory();
  const Snapshot after;
  EXPECT_EQ(after.Find(node)->frees_remote - before.Find(node)->frees_remote, uint64_t{kBlocks});
  EXPECT_EQ(after.Find(node)->remote_pending, 0u);
}

// ---- Owner -------------------------------------------------------------------------------------

TEST(OwnerTest, KnowsEveryByteOfABlock) {
  for (size_t size : {size_t{1}, size_t{100}, size_t{5000}, size_t{200'000}, 3 * kMiB}) {
    char* block = static_cast<char*>(Malloc(size));
    const size_t usable = malloc_usable_size(block);
    errno = kMark;
    for (size_t offset : {size_t{0}, size_t{1}, usable / 3, usable / 2 + 1, usable - 1}) {
      const numaheap_owner_t owner = OwnerOf(block + offset);
      EXPECT_EQ(owner.object, block) << size << ", " << offset;
      EXPECT_EQ(owner.object_size, usable) << size;
      EXPECT_EQ(owner.size_class == 0, size > 256 * 1024) << size;
      EXPECT_NE(Snapshot().Find(owner.node), nullptr);
    }
    EXPECT_EQ(errno, kMark);
    Free(block);
  }
}

TEST(OwnerTest, NeighboursAreTold) {
  std::vector<char*> blocks(200);
  for (char*& block : blocks) block = static_cast<char*>(Malloc(96));
  for (char* block : blocks) {
    EXPECT_EQ(OwnerOf(block + 95).object, block);
    EXPECT_EQ(OwnerOf(block + 95).size_class, OwnerOf(blocks[0]).size_class);
  }
  for (char* block : blocks) Free(block);
}

TEST(OwnerTest, NotOfTheHeap) {
  static char in_data[100];
  char on_stack[100];
  void* mapping = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (const void* ptr : {static_cast<const void*>(in_data), static_cast<const void*>(on_stack),
                          static_cast<const void*>(mapping), static_cast<const void*>(nullptr),
                          reinterpret_cast<const void*>(&numaheap_owner)}) {
    EXPECT_FALSE(IsOwned(ptr)) << ptr;
  }
  munmap(mapping, 4096);
}

// Any address at all: null's neighbours, odd ones, ones that no mapping can have, and the ends and
// the insides of every range.
TEST(OwnerTest, OddAddresses) {
  free(numaheap_malloc_interleaved(100));
  for (uintptr_t address : {uintptr_t{1}, uintptr_t{7}, uintptr_t{4095}, uintptr_t{1} << 46,
                            uintptr_t{1} << 60, UINTPTR_MAX - 1, UINTPTR_MAX}) {
    EXPECT_FALSE(IsOwned(reinterpret_cast<const void*>(address))) << address;
  }
  void* block = Malloc(100);
  const auto inside = reinterpret_cast<uintptr_t>(block);
  for (int shift = 4; shift < 47; ++shift) {
    for (uintptr_t odd : {uintptr_t{0}, uintptr_t{3}}) {
      IsOwned(reinterpret_cast<const void*>(inside + (uintptr_t{1} << shift) + odd));
      IsOwned(reinterpret_cast<const void*>(inside - (uintptr_t{1} << shift) - odd));
    }
  }
  Free(block);
}

TEST(OwnerTest, FreedLargeBlockHasNone) {
  char* block = static_cast<char*>(Malloc(3 * kMiB));
  EXPECT_TRUE(IsOwned(block));
  Free(block);
  EXPECT_FALSE(IsOwned(block));
  EXPECT_FALSE(IsOwned(block + kMiB));
}

TEST(OwnerTest, FreedSmallBlocksHaveNoneOnceTheirPagesAreFree) {
  std::vector<char*> blocks(20'000);
  for (char*& block : blocks) block = static_cast<char*>(Malloc(448));
  for (char* block : blocks) Free(block);
  numaheap_release_memory();
  // A few may share a span with an object of somebody else that lives on.
  EXPECT_LT(std::count_if(blocks.begin(), blocks.end(), IsOwned), 200);
}

TEST(OwnerTest, FreedSmallBlockHasNoneOnceItLeftTheCaches) {
  std::vector<char*> blocks(100);
  for (char*& block : blocks) block = static_cast<char*>(Malloc(64));
  for (size_t i = 0; i < blocks.size(); i += 2) Free(blocks[i]);
  numaheap_release_memory();
  for (size_t i = 0; i < blocks.size(); ++i) EXPECT_EQ(IsOwned(blocks[i]), i % 2 == 1) << i;
  for (size_t i = 1; i < blocks.size(); i += 2) Free(blocks[i]);
}

// ---- Placement ---------------------------------------------------------------------------------

TEST(OnNodeTest, ComesFromThatNode) {
  for (const Node& node : Snapshot()) {
    if (node.node < 0) continue;
    for (size_t size : {size_t{0}, size_t{1}, size_t{100}, size_t{100'000}, 2 * kMiB}) {
      errno = kMark;
      char* block = static_cast<char*>(numaheap_malloc_onnode(size, node.node));
      ASSERT_NE(block, nullptr) << size;
      EXPECT_EQ(errno, kMark);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % 16, 0u);
      EXPECT_EQ(OwnerOf(block).node, node.node);
      ASSERT_GE(malloc_usable_size(block), size);
      memset(block, 0xa5, malloc_usable_size(block));
      Free(block);
    }
  }
}

TEST(OnNodeTest, IsCountedThere) {
  for (const Node& before : Snapshot()) {
    if (before.node < 0) continue;
    void* blocks[100];
    for (void*& block : blocks) block = numaheap_malloc_onnode(100, before.node);
    blocks[0] = realloc(blocks[0], 100);
    const Snapshot after;
    EXPECT_EQ(after.Find(before.node)->allocations - before.allocations, 100u);
    EXPECT_EQ(after.Find(before.node)->allocated_bytes - before.allocated_bytes,
              100 * malloc_usable_size(blocks[1]));
    for (void* block : blocks) Free(block);
  }
}

TEST(OnNodeTest, MissingNodes) {
  const int behind = (Snapshot().end() - 1)->node + 1;
  free(numaheap_malloc_interleaved(100));  // has the range behind the last node, and no number
  for (int node : {-1, -2, INT_MIN, behind, behind + 1, 100'000, INT_MAX}) {
    for (size_t size : {size_t{100}, kMiB}) {
      errno = kMark;
      EXPECT_EQ(numaheap_malloc_onnode(size, node), nullptr) << node;
      EXPECT_EQ(errno, EINVAL) << node;
    }
  }
}

TEST(OnNodeTest, TooLarge) {
  const int node = (Snapshot().end() - 1)->node;
  for (size_t size : {size_t{PTRDIFF_MAX}, size_t{PTRDIFF_MAX} + 1, SIZE_MAX}) {
    errno = kMark;
    EXPECT_EQ(numaheap_malloc_onnode(size, node), nullptr);
    EXPECT_EQ(errno, ENOMEM);
    errno = kMark;
    EXPECT_EQ(numaheap_malloc_interleaved(size), nullptr);
    EXPECT_EQ(errno, ENOMEM);
  }
}

// Allocates every kind of block and expects all of it from `node`, wherever this thread runs.
void ExpectAllFrom(int node) {
  for (int cpu : UsableCpus()) {
    const PinnedTo pin(cpu);
    std::vector<void*> blocks;
    for (int i = 0; i < 500; ++i) {
      for (size_t size : {size_t{1}, size_t{100}, size_t{2000}, size_t{300'000}}) {
        blocks.push_back(Malloc(size));
        ASSERT_EQ(OwnerOf(blocks.back()).node, node) << size << " bytes on CPU " << cpu;
      }
      blocks.push_back(calloc(1, 64));
      blocks.push_back(aligned_alloc(256, 1000));
      blocks.push_back(new char[33]);
      for (size_t k = blocks.size() - 3; k < blocks.size(); ++k) {
        ASSERT_EQ(OwnerOf(blocks[k]).node, node);
      }
      delete[] static_cast<char*>(blocks.back());
      blocks.pop_back();
    }
    for (void* block : blocks) Free(block);
  }
}

// The node of the CPU that runs the caller.
int NodeHere() {
  void* block = Malloc(48);
  const int node = OwnerOf(block).node;
  Free(block);
  return node;
}

TEST(ThreadNodeTest, AllComesFromIt) {
  EXPECT_EQ(numaheap_thread_node(), -1);
  for (const Node& node : Snapshot()) {
    if (node.node < 0) continue;
    errno = kMark;
    ASSERT_EQ(numaheap_set_thread_node(node.node), 0);
    EXPECT_EQ(errno, kMark);
    EXPECT_EQ(numaheap_thread_node(), node.node);
    ExpectAllFrom(node.node);
  }
  ASSERT_EQ(numaheap_set_thread_node(-1), 0);
  EXPECT_EQ(numaheap_thread_node(), -1);
  if (!HasTwoNodes()) return;
  const PinnedTo pin(UsableCpus()[1]);
  EXPECT_EQ(NodeHere(), 1) << "again that of the CPU";
}

TEST(ThreadNodeTest, OtherThreadsKeepToTheirCpus) {
  if (!HasTwoNodes()) GTEST_SKIP() << "needs two nodes";
  ASSERT_EQ(numaheap_set_thread_node(0), 0);
  std::thread([] {
    EXPECT_EQ(numaheap_thread_node(), -1);
    const PinnedTo pin(UsableCpus()[1]);
    for (int i = 0; i < 1000; ++i) ASSERT_EQ(NodeHere(), 1);
    // Ends with a node of its own, which counts for nobody else.
    EXPECT_EQ(numaheap_set_thread_node(0), 0);
  }).join();
  EXPECT_EQ(numaheap_thread_node(), 0);
  ASSERT_EQ(numaheap_set_thread_node(-1), 0);
  const PinnedTo pin(UsableCpus()[1]);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(NodeHere(), 1);
}

TEST(ThreadNodeTest, AChildKeepsItsThreadsNode) {
  const int node = (Snapshot().end() - 1)->node;
  ASSERT_EQ(numaheap_set_thread_node(node), 0);
  EXPECT_EXIT(
      {
        const bool kept = numaheap_thread_node() == node && NodeHere() == node;
        numaheap_set_thread_node(-1);
        Free(Malloc(100));
        _exit(kept ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
  ASSERT_EQ(numaheap_set_thread_node(-1), 0);
}

TEST(ThreadNodeTest, MissingNodesChangeNothing) {
  const int there = (Snapshot().end() - 1)->node;
  ASSERT_EQ(numaheap_set_thread_node(there), 0);
  for (int node : {-2, INT_MIN, there + 1, 100'000, INT_MAX}) {
    EXPECT_EQ(numaheap_set_thread_node(node), EINVAL) << node;
    EXPECT_EQ(numaheap_thread_node(), there);
  }
  ASSERT_EQ(numaheap_set_thread_node(-1), 0);
}

// ---- Who freed whose memory --------------------------------------------------------------------

TEST(FreedBytesTest, EveryPairIsExact) {
  if (!HasTwoNodes()) GTEST_SKIP() << "needs two nodes";
  for (int from : {0, 1}) {
    for (int home : {0, 1}) {
      void* blocks[300];
      uint64_t bytes = 0;
      for (int i = 0; i < 300; ++i) {
        blocks[i] = numaheap_malloc_onnode(i % 100 == 0 ? kMiB : size_t{16} << i % 10, home);
        bytes += malloc_usable_size(blocks[i]);
      }
      const PinnedTo pin(UsableCpus()[static_cast<size_t>(from)]);
      const uint64_t before = FreedBytes(from, home);
      for (void* block : blocks) Free(block);
      EXPECT_EQ(FreedBytes(from, home) - before, bytes) << from << " " << home;
    }
  }
}

// Read while blocks are freed, gathered and sent home.
TEST(FreedBytesTest, NeverGoesBack) {
  if (!HasTwoNodes() || UsableCpus().size() < 2) GTEST_SKIP() << "needs two nodes with CPUs";
  const PinnedTo pin(UsableCpus()[1]);  // the thread's own records are of this node, too
  std::atomic<bool> done{false};
  std::thread reading([&] {
    const PinnedTo elsewhere(UsableCpus()[0]);
    for (uint64_t last = 0; !done;) {
      const uint64_t now = FreedBytes(1, 0);
      EXPECT_GE(now, last);
      last = now;
    }
  });
  const uint64_t before = FreedBytes(1, 0);
  uint64_t bytes = 0;
  for (int round = 0; round < 300; ++round) {
    void* blocks[500];
    for (int i = 0; i < 500; ++i) {
      blocks[i] = numaheap_malloc_onnode(size_t{16} << i % 13, 0);
      bytes += malloc_usable_size(blocks[i]);
    }
    for (void* block : blocks) Free(block);
  }
  EXPECT_EQ(FreedBytes(1, 0) - before, bytes);
  done = true;
  reading.join();
}

TEST(InterleavedTest, HasAHeapOfItsOwn) {
  free(numaheap_malloc_interleaved(100));
  numaheap_release_memory();
  const Snapshot before;
  std::vector<char*> blocks;
  for (size_t size : {size_t{0}, size_t{100}, size_t{100'000}, 2 * kMiB}) {
    char* block = static_cast<char*>(numaheap_malloc_interleaved(size));
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(OwnerOf(block).node, -1);
    memset(block, 0xa5, malloc_usable_size(block));
    blocks.push_back(block);
  }
  const Snapshot between;
  ASSERT_NE(between.Find(-1), nullptr);
  EXPECT_EQ(between.Find(-1)->allocations - before.Find(-1)->allocations, blocks.size());
  EXPECT_EQ(between.Find(-1)->cpus, 0u);
  EXPECT_TRUE(between.StatesAddUp());
  for (char* block : blocks) Free(block);
  numaheap_release_memory();
  const Snapshot after;
  EXPECT_EQ(after.Find(-1)->frees_local + after.Find(-1)->frees_remote,
            after.Find(-1)->allocations);
  EXPECT_EQ(after.Find(-1)->in_use_bytes, 0u);
}

TEST(InterleavedTest, OpensOnceUnderThreads) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([] {
      for (int n = 0; n < 100; ++n) {
        void* block = numaheap_malloc_interleaved(100 + n);
        EXPECT_EQ(OwnerOf(block).node, -1);
        Free(block);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const Snapshot after;
  EXPECT_EQ(std::count_if(after.begin(), after.end(), [](const Node& n) { return n.node == -1; }),
            1);
}

// The pages of threads on each CPU come from that CPU's node.
TEST(PlacementTest, MallocIsLocal) {
  std::vector<int> nodes;
  for (int cpu : UsableCpus()) {
    const PinnedTo pinned(cpu);
    for (size_t size : {size_t{100}, size_t{50'000}, 2 * kMiB}) {
      void* block = Malloc(size);
      const int node = OwnerOf(block).node;
      if (size == 100) nodes.push_back(node);
      EXPECT_EQ(node, nodes.back()) << "cpu " << cpu << ", " << size;
      Free(block);
    }
  }
  std::sort(nodes.begin(), nodes.end());
  nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
  if (HasTwoNodes()) {
    EXPECT_EQ(nodes.size(), std::min<size_t>(2, UsableCpus().size()));
  }
}

// ---- Giving memory back ------------------------------------------------------------------------

TEST(ReleaseMemoryTest, LowersResidentMemoryAndKeepsWhatLives) {
  constexpr size_t kSmall = 2000;
  constexpr size_t kBlocks = 64 * kMiB / kSmall;
  static char* small[kBlocks];
  static char* large[64];
  const long empty = ResidentBytes();
  for (size_t i = 0; i < kBlocks; ++i) {
    small[i] = static_cast<char*>(Malloc(kSmall));
    memset(small[i], static_cast<int>(i % 251), kSmall);
  }
  for (size_t i = 0; i < 64; ++i) {
    large[i] = static_cast<char*>(Malloc(kMiB));
    memset(large[i], static_cast<int>(i), kMiB);
  }
  const long full = ResidentBytes();
  ASSERT_GT(full - empty, 120 * static_cast<long>(kMiB));

  // One in 1000 small blocks and one in 16 large ones live on.
  for (size_t i = 0; i < kBlocks; ++i) {
    if (i % 1000 != 0) Free(small[i]);
  }
  for (size_t i = 0; i < 64; ++i) {
    if (i % 16 != 0) Free(large[i]);
  }
  const uint64_t idle_before = Snapshot().Sum(&Node::idle_bytes);
  const uint64_t scavenged_before = Snapshot().Sum(&Node::scavenged_bytes);
  errno = kMark;
  const size_t returned = numaheap_release_memory();
  EXPECT_EQ(errno, kMark);
  const Snapshot after;
  EXPECT_GE(returned, idle_before);
  EXPECT_EQ(returned, after.Sum(&Node::scavenged_bytes) - scavenged_before);
  EXPECT_EQ(after.Sum(&Node::idle_bytes), 0u);
  EXPECT_EQ(numaheap_release_memory(), 0u);

  EXPECT_LT(ResidentBytes() - empty, (full - empty) / 5);
  const auto holds = [](const char* block, size_t size, int value) {
    return std::all_of(block, block + size, [=](char c) { return c == static_cast<char>(value); });
  };
  for (size_t i = 0; i < kBlocks; i += 1000) {
    EXPECT_TRUE(holds(small[i], kSmall, static_cast<int>(i % 251))) << i;
    Free(small[i]);
  }
  for (size_t i = 0; i < 64; i += 16) {
    EXPECT_TRUE(holds(large[i], kMiB, static_cast<int>(i))) << i;
    Free(large[i]);
  }
}

// What one CPU has cached is found by another one's call.
TEST(ReleaseMemoryTest, EmptiesTheCachesOfAllCpus) {
  for (int cpu : UsableCpus()) {
    const PinnedTo pinned(cpu);
    void* blocks[100];
    for (void*& block : blocks) block = Malloc(64);
    for (void* block : blocks) Free(block);
  }
  ASSERT_GT(Snapshot().Sum(&Node::cached_bytes), 0u);
  numaheap_release_memory();
  EXPECT_EQ(Snapshot().Sum(&Node::cached_bytes), 0u);
}

}  // namespace
}  // namespace numaheap
