// numaheap_walk: a heap at rest has the sums of its snapshot, known objects are where the walk
// says, and neither threads nor a callback that allocates disturb it.
#include <errno.h>
#include <gtest/gtest.h>
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "src/api/numaheap.h"
#include "tests/api/snapshot.h"

namespace numaheap {
namespace {

using Node = numaheap_node_snapshot_t;

void* (*volatile const Malloc)(size_t) = malloc;
void (*volatile const Free)(void*) = free;

constexpr size_t kMiB = size_t{1} << 20;

// Calls visit(const numaheap_span_t&) for each span.
template <typename Visit>
int Walk(int node, Visit visit) {
  return numaheap_walk(
      node,
      [](const numaheap_span_t* span, void* argument) -> int {
        return (*static_cast<Visit*>(argument))(*span);
      },
      &visit);
}

// What a walk adds up to, and whether each span began where the last one ended. Allocates nothing.
struct Sums {
  explicit Sums(int node) {
    error = Walk(node, [this](const numaheap_span_t& span) {
      gapless &= next == nullptr || next == span.start;
      next = static_cast<char*>(span.start) + span.bytes;
      const bool is_free = span.state >= NUMAHEAP_SPAN_IDLE;
      switch (span.state) {
        case NUMAHEAP_SPAN_SMALL:
          in_use += span.bytes;
          live += span.object_size * span.live_objects;
          sound &=
              span.size_class > 0 && span.live_objects <= span.objects && span.released_bytes == 0;
          whole &= span.objects * span.object_size <= span.bytes;
          break;
        case NUMAHEAP_SPAN_LARGE:
          in_use += span.bytes;
          large += span.bytes;
          sound &= span.object_size <= span.bytes && span.live_objects == 1 && span.objects == 1 &&
                   span.released_bytes == 0;
          break;
        case NUMAHEAP_SPAN_IDLE:
          sound &= span.released_bytes == 0;
          break;
        case NUMAHEAP_SPAN_PARTLY_RELEASED:
          sound &= span.released_bytes > 0 && span.released_bytes < span.bytes;
          break;
        case NUMAHEAP_SPAN_RELEASED:
          sound &= span.released_bytes == span.bytes;
          break;
        case NUMAHEAP_SPAN_RESERVED:
          reserved += span.bytes;
          return 0;
        default:
          sound = false;
      }
      if (is_free) {
        sound &= span.object_size == 0 && span.objects == 0 && span.live_objects == 0;
        released += span.released_bytes;
        idle += span.bytes - span.released_bytes;
      }
      ++(is_free ? spans_free : spans_in_use);
      return 0;
    });
  }

  int error;
  char* next = nullptr;
  bool gapless = true, sound = true;
  bool whole = true;  // each small span had all its pages
  size_t in_use = 0, large = 0, live = 0, idle = 0, released = 0, reserved = 0;
  size_t spans_in_use = 0, spans_free = 0;
};

void ExpectSameAsSnapshot(const Node& node) {
  const Sums sums(node.node);
  EXPECT_EQ(sums.error, 0);
  EXPECT_TRUE(sums.gapless);
  EXPECT_TRUE(sums.sound && sums.whole);
  EXPECT_EQ(sums.in_use, node.in_use_bytes);
  EXPECT_EQ(sums.large, node.large_bytes);
  EXPECT_EQ(sums.idle, node.idle_bytes);
  EXPECT_EQ(sums.released, node.released_bytes);
  EXPECT_EQ(sums.spans_in_use, node.spans_in_use);
  EXPECT_EQ(sums.spans_free, node.spans_free);
  EXPECT_EQ(sums.in_use + sums.idle + sums.released, node.committed_bytes);
  EXPECT_EQ(sums.in_use + sums.idle + sums.released + sums.reserved, node.reserved_bytes);
}

// Blocks of many sizes, on all nodes and interleaved, of which a part is freed again.
class Blocks {
 public:
  Blocks() {
    std::mt19937 random(20261124);
    for (int i = 0; i < 4'000; ++i) {
      const size_t size = 1 + random() % (size_t{1} << random() % 20);
      Add(i % 10 == 0 ? numaheap_malloc_interleaved(size) : Malloc(size));
    }
    for (const Node& node : Snapshot()) {
      for (size_t size : {size_t{100}, size_t{5'000}, kMiB}) {
        if (node.node >= 0) Add(numaheap_malloc_onnode(size, node.node));
      }
    }
  }
  ~Blocks() {
    for (void* block : blocks_) Free(block);
  }
  void FreeMost() {
    for (size_t i = 0; i < count_; ++i) {
      if (i % 8 == 0) continue;
      Free(blocks_[i]);
      blocks_[i] = nullptr;
    }
  }
  void* const* begin() const { return blocks_; }
  void* const* end() const { return blocks_ + count_; }

 private:
  void Add(void* block) {
    ASSERT_NE(block, nullptr);
    blocks_[count_++] = block;
  }
  void* blocks_[5'000] = {};
  size_t count_ = 0;
};

TEST(WalkTest, OfAHeapAtRestHasTheSumsOfItsSnapshot) {
  static Blocks blocks;
  const auto check = [] {
    const Snapshot snapshot;
    for (const Node& node : snapshot) ExpectSameAsSnapshot(node);
  };
  check();
  blocks.FreeMost();
  check();
  numaheap_release_memory();
  check();
  void* large = Malloc(8 * kMiB);
  Free(large);
  check();
}

// What is live is what the program has and what caches hold.
TEST(WalkTest, CountsLiveObjects) {
  static Blocks blocks;
  numaheap_release_memory();  // nothing is cached
  const Snapshot snapshot;
  size_t small = 0, live = 0;
  for (const Node& node : snapshot) {
    const Sums sums(node.node);
    live += sums.live;
    ASSERT_EQ(node.cached_bytes, 0u);
    ASSERT_LE(sums.live, sums.in_use);
  }
  for (void* block : blocks) {
    numaheap_owner_t owner;
    ASSERT_EQ(numaheap_owner(block, &owner), 0);
    if (owner.size_class != 0) small += owner.object_size;
  }
  EXPECT_GE(live, small);
  EXPECT_LE(live, small + 2 * kMiB) << "the test program itself has little";
  blocks.FreeMost();
  numaheap_release_memory();
  const Snapshot after;
  size_t live_after = 0, small_after = 0;
  for (const Node& node : after) live_after += Sums(node.node).live;
  for (void* block : blocks) {
    numaheap_owner_t owner;
    if (block != nullptr && numaheap_owner(block, &owner) == 0 && owner.size_class != 0) {
      small_after += owner.object_size;
    }
  }
  EXPECT_EQ(live - live_after, small - small_after);
}

// What the snapshot has of each size class is what the spans add up to.
TEST(WalkTest, AddsUpToTheClassesOfTheSnapshot) {
  static Blocks blocks;
  blocks.FreeMost();
  static numaheap_class_snapshot_t classes[8 * 256];
  numaheap_node_snapshot_t nodes[8];
  numaheap_snapshot_t snapshot = {};
  snapshot.version = NUMAHEAP_SNAPSHOT_VERSION;
  snapshot.node_capacity = 8;
  snapshot.nodes = nodes;
  snapshot.class_capacity = 256;
  snapshot.classes = classes;
  ASSERT_EQ(numaheap_snapshot(&snapshot), 0);
  ASSERT_LE(snapshot.node_count, 8u);
  ASSERT_LE(snapshot.class_count, 256u);
  EXPECT_EQ(classes[0].object_size, 0u);
  for (uint32_t i = 0; i < snapshot.node_count; ++i) {
    static numaheap_class_snapshot_t sums[256];
    std::fill(std::begin(sums), std::end(sums), numaheap_class_snapshot_t());
    uint64_t large = 0;
    Walk(nodes[i].node, [&large](const numaheap_span_t& span) {
      large += span.state == NUMAHEAP_SPAN_LARGE;
      if (span.state != NUMAHEAP_SPAN_SMALL) return 0;
      numaheap_class_snapshot_t& sum = sums[span.size_class];
      sum.object_size = span.object_size;
      ++sum.spans;
      sum.live_objects += span.live_objects;
      sum.live_bytes += span.live_objects * span.object_size;
      return 0;
    });
    EXPECT_EQ(large, nodes[i].large_objects);
    uint64_t live = 0;
    for (uint32_t c = 1; c < snapshot.class_count; ++c) {
      const numaheap_class_snapshot_t& has = classes[i * 256 + c];
      EXPECT_EQ(has.spans, sums[c].spans) << c;
      EXPECT_EQ(has.live_objects, sums[c].live_objects) << c;
      EXPECT_EQ(has.live_bytes, sums[c].live_bytes) << c;
      EXPECT_GT(has.object_size, classes[i * 256 + c - 1].object_size);
      live += has.live_bytes;
    }
    EXPECT_LE(live, nodes[i].in_use_bytes - nodes[i].large_bytes);
    EXPECT_GT(live, 0u);
  }
  // With less room some are left out, and nothing is written behind it.
  const numaheap_class_snapshot_t untouched = classes[8];
  snapshot.class_capacity = 8;
  snapshot.node_capacity = 1;
  ASSERT_EQ(numaheap_snapshot(&snapshot), 0);
  EXPECT_EQ(memcmp(&classes[8], &untouched, sizeof untouched), 0);
}

TEST(WalkTest, ShowsEveryObjectWhereItIs) {
  static Blocks blocks;
  for (void* block : blocks) {
    numaheap_owner_t owner;
    ASSERT_EQ(numaheap_owner(block, &owner), 0);
    int found = 0;
    Walk(owner.node, [&](const numaheap_span_t& span) {
      const size_t offset = static_cast<char*>(block) - static_cast<char*>(span.start);
      if (offset >= span.bytes) return 0;
      ++found;
      EXPECT_EQ(span.size_class, owner.size_class);
      EXPECT_EQ(span.object_size, owner.object_size);
      EXPECT_EQ(offset % span.object_size, 0u);
      EXPECT_GT(span.live_objects, 0u);
      return 0;
    });
    ASSERT_EQ(found, 1);
  }
}

TEST(WalkTest, StopsAtWhatIsNotZero) {
  const int node = (Snapshot().end() - 1)->node;
  Free(Malloc(100));
  int calls = 0;
  errno = 4711;
  EXPECT_EQ(Walk(node, [&calls](const numaheap_span_t&) { return ++calls == 1 ? -77 : 0; }), -77);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(errno, 4711);
}

TEST(WalkTest, MissingHeaps) {
  const int behind = (Snapshot().end() - 1)->node + 1;
  if (Snapshot().Find(-1) == nullptr) {
    EXPECT_EQ(Walk(-1, [](const numaheap_span_t&) { return 1; }), ENOENT);
  }
  Free(numaheap_malloc_interleaved(100));  // has the range behind the last node, and no number
  for (int node : {-2, INT_MIN, behind, behind + 1, 100'000, INT_MAX}) {
    EXPECT_EQ(Walk(node, [](const numaheap_span_t&) { return 1; }), ENOENT) << node;
  }
  EXPECT_EQ(Walk(-1, [](const numaheap_span_t&) { return 1; }), 1);
}

TEST(WalkTest, TheCallbackMayAllocateAndFree) {
  static Blocks blocks;
  for (const Node& node : Snapshot()) {
    std::vector<void*> kept;
    char* next = nullptr;
    int spans = 0;
    EXPECT_EQ(Walk(node.node,
                   [&](const numaheap_span_t& span) {
                     EXPECT_TRUE(next == nullptr || next == span.start);
                     next = static_cast<char*>(span.start) + span.bytes;
                     Free(Malloc(kMiB));
                     if (++spans < 10'000) kept.push_back(Malloc(span.bytes % 100'000));
                     if (spans % 50 == 0) numaheap_release_memory();
                     return 0;
                   }),
              0);
    for (void* block : kept) Free(block);
  }
}

TEST(WalkTest, ThreadsGoOnMeanwhile) {
  std::atomic<int> left{3};
  std::vector<std::thread> threads;
  const Snapshot before;
  for (unsigned seed = 0; seed < 3; ++seed) {
    threads.emplace_back([&left, seed] {
      std::mt19937 random(seed);
      static thread_local void* blocks[500];
      for (int step = 0; step < 60'000; ++step) {
        void*& block = blocks[random() % 500];
        Free(block);
        block = Malloc(1 + random() % (size_t{1} << random() % 21));
      }
      for (void* block : blocks) Free(block);
      --left;
    });
  }
  int walks = 0;
  for (; left > 0; ++walks) {
    for (const Node& node : before) {
      const Sums sums(node.node);
      EXPECT_EQ(sums.error, 0);
      EXPECT_TRUE(sums.gapless && sums.sound);
      EXPECT_EQ(sums.in_use + sums.idle + sums.released + sums.reserved, node.reserved_bytes);
      EXPECT_GE(sums.in_use + sums.idle + sums.released, node.committed_bytes);
    }
  }
  EXPECT_GT(walks, 0);
  for (std::thread& thread : threads) thread.join();
  const Snapshot after;
  for (const Node& node : after) ExpectSameAsSnapshot(node);
}

}  // namespace
}  // namespace numaheap
