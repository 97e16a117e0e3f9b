// Everything at once, with numaheap as the program's malloc: threads that allocate, fill, hand
// over, check and free blocks of all sizes, threads that come and go, forks, memory that is
// released, snapshots, and walks. No two live blocks overlap, none loses its content, each lies on
// the node of the CPU that allocated it, no child hangs, every snapshot adds up, and every walk
// comes by each page once.
//
// What runs beside the workers goes by their progress, not by the clock.
#include <gtest/gtest.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <random>
#include <string_view>
#include <thread>
#include <vector>

#include "src/api/numaheap.h"
#include "tests/cache/affinity.h"
#include "tests/cache/child.h"
#include "tests/stress/registry.h"
#include "tests/stress/require.h"

namespace numaheap {
namespace {

constexpr int kMaxNodes = 64;
constexpr size_t kMaxSize = 1 << 20;

// The compiler must not see through an allocation that is freed at once.
void* (*volatile const Malloc)(size_t) = malloc;
void* (*volatile const Calloc)(size_t, size_t) = calloc;
void* (*volatile const Realloc)(void*, size_t) = realloc;
void* (*volatile const AlignedAlloc)(size_t, size_t) = aligned_alloc;
void (*volatile const Free)(void*) = free;

// ---- Snapshots ---------------------------------------------------------------------------------

struct Snapshot {
  Snapshot() {
    head.version = NUMAHEAP_SNAPSHOT_VERSION;
    head.node_capacity = kMaxNodes;
    head.nodes = nodes;
    Require(numaheap_snapshot(&head) == 0, "no snapshot");
    Require(head.node_count <= kMaxNodes, "more nodes than there are");
  }
  numaheap_node_snapshot_t nodes[kMaxNodes] = {};
  numaheap_snapshot_t head = {};
};

void RequireThatItAddsUp(const Snapshot& snapshot) {
  for (uint32_t i = 0; i < snapshot.head.node_count; ++i) {
    const numaheap_node_snapshot_t& node = snapshot.nodes[i];
    Require(node.in_use_bytes + node.idle_bytes + node.released_bytes == node.committed_bytes,
            "in use + idle + released is not what is committed");
    Require(node.committed_bytes <= node.reserved_bytes, "more is committed than reserved");
    Require(node.large_bytes <= node.in_use_bytes, "more is large than in use");
  }
}

void RequireThatNothingWentBack(const Snapshot& before, const Snapshot& after) {
  Require(before.head.node_count == after.head.node_count, "the number of nodes changed");
  using Node = numaheap_node_snapshot_t;
  for (uint64_t Node::*const count :
       {&Node::committed_bytes, &Node::allocations, &Node::allocated_bytes, &Node::frees_local,
        &Node::frees_remote, &Node::scavenged_bytes, &Node::growths, &Node::failed_growths}) {
    for (uint32_t i = 0; i < after.head.node_count; ++i) {
      Require(before.nodes[i].*count <= after.nodes[i].*count, "a count went back");
    }
  }
}

// ---- Walks -------------------------------------------------------------------------------------

void WalkHeap(const numaheap_node_snapshot_t& node) {
  struct Walk {
    const char* start = nullptr;
    const char* next = nullptr;
    size_t committed = 0;
  } walk;
  const auto visit = [](const numaheap_span_t* span, void* argument) {
    auto& walk = *static_cast<Walk*>(argument);
    const char* start = static_cast<const char*>(span->start);
    if (walk.next == nullptr) walk.start = walk.next = start;
    Require(start == walk.next, "a walk has left out or repeated pages");
    walk.next += span->bytes;
    if (span->state != NUMAHEAP_SPAN_RESERVED) walk.committed += span->bytes;
    Require(span->bytes > 0 && span->released_bytes <= span->bytes, "an odd span");
    Require(span->live_objects <= span->objects, "more objects than there is room for");
    return 0;
  };
  Require(numaheap_walk(node.node, visit, &walk) == 0, "no walk");
  Require(walk.committed >= node.committed_bytes, "a walk has not seen all");
  Require(static_cast<size_t>(walk.next - walk.start) == node.reserved_bytes,
          "a walk is not the range");
}

// ---- Blocks ------------------------------------------------------------------------------------

struct Block {
  char* start = nullptr;
  size_t size = 0;  // bytes asked for
  uint64_t seed = 0;
};

constexpr uint64_t WordOf(uint64_t seed, size_t index) {
  return (seed + index) * 0x9e3779b97f4a7c15u;
}

void Fill(const Block& block) {
  size_t i = 0;
  for (; i + 8 <= block.size; i += 8) {
    const uint64_t word = WordOf(block.seed, i / 8);
    std::memcpy(block.start + i, &word, 8);
  }
  const uint64_t last = WordOf(block.seed, i / 8);
  std::memcpy(block.start + i, &last, block.size - i);
}

// Whether the first `bytes` are as Fill() left them.
bool Holds(const Block& block, size_t bytes) {
  uint64_t wrong = 0;
  size_t i = 0;
  for (; i + 8 <= bytes; i += 8) {
    uint64_t word;
    std::memcpy(&word, block.start + i, 8);
    wrong |= word ^ WordOf(block.seed, i / 8);
  }
  const uint64_t last = WordOf(block.seed, i / 8);
  return wrong == 0 && std::memcmp(block.start + i, &last, bytes - i) == 0;
}

bool IsZero(const char* start, size_t bytes) {
  return bytes == 0 || (start[0] == 0 && std::memcmp(start, start + 1, bytes - 1) == 0);
}

// All orders of magnitude from 1 byte to 1 MiB, small ones more often.
size_t RandomSize(std::mt19937& random) {
  const unsigned bits = std::min(random() % 21, random() % 21);
  return std::min<size_t>((size_t{1} << bits) + random() % (size_t{1} << bits), kMaxSize);
}

// Filled. On whatever node.
Block Allocate(std::mt19937& random) {
  Block block;
  block.size = RandomSize(random);
  block.seed = random();
  size_t alignment = std::min(block.size, alignof(max_align_t));
  switch (random() % 8) {
    case 0:
      block.start = static_cast<char*>(Calloc(1, block.size));
      Require(block.start != nullptr, "calloc failed");
      Require(IsZero(block.start, block.size), "calloc gave memory that is not zero");
      break;
    case 1:
      alignment = size_t{1} << random() % 17;
      block.start = static_cast<char*>(AlignedAlloc(alignment, block.size));
      break;
    case 2:
      block.start = static_cast<char*>(operator new(block.size));
      break;
    default:
      block.start = static_cast<char*>(Malloc(block.size));
  }
  Require(block.start != nullptr, "an allocation failed");
  Require(reinterpret_cast<uintptr_t>(block.start) % std::bit_floor(alignment) == 0,
          "a block is not aligned");
  numaheap_owner_t owner;
  Require(numaheap_owner(block.start, &owner) == 0, "a live block has no owner");
  Require(owner.object == block.start && owner.object_size >= block.size, "a block is too small");
  Fill(block);
  return block;
}

// ---- The crowd ---------------------------------------------------------------------------------

// What the workers share, and those beside them.
class Crowd {
 public:
  Crowd() : mailboxes_(cpus() * 4) {
    const Snapshot snapshot;
    for (uint32_t i = 0; i < snapshot.head.node_count; ++i) {
      if (snapshot.nodes[i].node >= 0) nodes_.push_back(snapshot.nodes[i].node);
    }
  }

  // As many as keep every CPU busy.
  int workers() const { return static_cast<int>(std::min<size_t>(cpus() * 4, 64)); }
  int total_ticks() const { return workers() * kTicksOfWorker; }

  // A worker's life.
  void Work(int number) {
    std::mt19937 random(20240601 + number);
    for (int tick = 0; tick < kTicksOfWorker; ++tick) {
      Rounds(random, kRoundsOfTick);
      ++ticks_;
      ticks_.notify_all();
    }
  }

  // Allocates and hands over, takes what others have handed over and checks it.
  void Rounds(std::mt19937& random, int rounds) {
    const auto move = [&] {
      const int cpu = affinity_.cpus()[random() % cpus()];
      Require(Affinity::Pin(cpu), "a thread can't go to its CPU");
      return cpu;
    };
    int cpu = move();
    for (int round = 0; round < rounds; ++round) {
      if (random() % 64 == 0) cpu = move();
      Block block = Allocate(random);
      RequireNodeOf(block, cpu);
      registry_.Enter(block.start, block.size);
      if (!Give(random, block)) CheckAndFree(block);
      for (int i = 0; i < 2 && Take(random, &block); ++i) {
        if (random() % 8 == 0) {
          Reallocate(random, &block);
          if (Give(random, block)) continue;
        }
        CheckAndFree(block);
      }
    }
  }

  // Calls visit() at so many moments of the workers' progress, evenly spread.
  template <typename Visit>
  void AtMoments(int moments, Visit visit) {
    for (int i = 1; i <= moments; ++i) {
      const int due = static_cast<int>(int64_t{total_ticks()} * i / (moments + 1));
      for (int now = ticks_; now < due; now = ticks_) ticks_.wait(now);
      visit();
    }
  }

  // Nobody works any more: takes back what is still in the mailboxes.
  void Finish() {
    for (Mailbox& mailbox : mailboxes_) {
      for (const Block& block : mailbox.blocks) CheckAndFree(block);
      mailbox.blocks.clear();
    }
    Require(registry_.empty(), "a block is lost");
  }

 private:
  static constexpr int kTicksOfWorker = 600;
  static constexpr int kRoundsOfTick = 100;
  static constexpr size_t kMailboxCapacity = 50;

  struct Mailbox {
    std::mutex lock;
    std::vector<Block> blocks;
  };

  size_t cpus() const { return affinity_.cpus().size(); }

  void RequireNodeOf(const Block& block, int cpu) const {
    numaheap_owner_t owner = {};
    numaheap_owner(block.start, &owner);
    // Synthetic nodes are dealt the CPUs in turn.
    const int node = nodes_[static_cast<size_t>(cpu) % nodes_.size()];
    Require(owner.node == node, "a block lies on another node than its CPU");
  }

  bool Give(std::mt19937& random, const Block& block) {
    Mailbox& mailbox = mailboxes_[random() % mailboxes_.size()];
    std::lock_guard holder(mailbox.lock);
    if (mailbox.blocks.size() == kMailboxCapacity) return false;
    mailbox.blocks.push_back(block);
    return true;
  }
  bool Take(std::mt19937& random, Block* block) {
    Mailbox& mailbox = mailboxes_[random() % mailboxes_.size()];
    std::lock_guard holder(mailbox.lock);
    if (mailbox.blocks.size() <= random() % kMailboxCapacity) return false;
    std::swap(mailbox.blocks[random() % mailbox.blocks.size()], mailbox.blocks.back());
    *block = mailbox.blocks.back();
    mailbox.blocks.pop_back();
    return true;
  }

  void CheckAndFree(const Block& block) {
    Require(Holds(block, block.size), "a block lost its content");
    registry_.Leave(block.start, block.size);
    Free(block.start);
  }

  void Reallocate(std::mt19937& random, Block* block) {
    Require(Holds(*block, block->size), "a block lost its content");
    registry_.Leave(block->start, block->size);
    const size_t old_size = block->size;
    block->size = RandomSize(random);
    block->start = static_cast<char*>(Realloc(block->start, block->size));
    Require(block->start != nullptr, "realloc failed");
    Require(Holds(*block, std::min(old_size, block->size)), "realloc lost content");
    registry_.Enter(block->start, block->size);
    Fill(*block);
  }

  Affinity affinity_;
  std::vector<int> nodes_;
  Registry registry_;
  std::vector<Mailbox> mailboxes_;
  std::atomic<int> ticks_{0};
};

// ---- Children ----------------------------------------------------------------------------------

// A set of blocks that no two overlap, and their content lasts. Uses no lock that another thread of
// the parent may hold, so a forked child can do it.
void UseMemory(unsigned seed, const Block* others, int other_count) {
  std::mt19937 random(seed);
  std::array<Block, 24> blocks;
  const auto overlap = [](const Block& a, const Block& b) {
    return a.start < b.start + b.size && b.start < a.start + a.size;
  };
  for (int round = 0; round < 8; ++round) {
    for (size_t i = 0; i < blocks.size(); ++i) {
      blocks[i] = Allocate(random);
      for (size_t k = 0; k < i; ++k) {
        Require(!overlap(blocks[k], blocks[i]), "two live blocks of a child overlap");
      }
      for (int k = 0; k < other_count; ++k) {
        Require(!overlap(others[k], blocks[i]), "a block of a child overlaps one of its parent");
      }
    }
    for (const Block& block : blocks) {
      Require(Holds(block, block.size), "a block of a child lost its content");
      Free(block.start);
    }
  }
}

int LiveInChild(unsigned seed, std::array<Block, 24>& inherited) {
  UseMemory(seed, inherited.data(), static_cast<int>(inherited.size()));
  numaheap_release_memory();
  RequireThatItAddsUp(Snapshot());
  pthread_t thread;
  const auto on_thread = [](void* own_seed) -> void* {
    UseMemory(*static_cast<unsigned*>(own_seed), nullptr, 0);
    return nullptr;
  };
  Require(pthread_create(&thread, nullptr, on_thread, &seed) == 0, "no thread in a child");
  for (const Block& block : inherited) {
    Require(Holds(block, block.size), "what a child inherited lost its content");
    Free(block.start);
  }
  Require(pthread_join(thread, nullptr) == 0, "no end of a thread in a child");
  return 0;
}

void Fork(unsigned seed) {
  std::mt19937 random(seed);
  std::array<Block, 24> blocks;
  for (Block& block : blocks) block = Allocate(random);
  Child child([&] { return LiveInChild(seed, blocks); });
  EXPECT_EQ(child.Wait(), "exit 0");
  for (const Block& block : blocks) {
    Require(Holds(block, block.size), "a child changed a block of its parent");
    Free(block.start);
  }
}

// ---- Tests -------------------------------------------------------------------------------------

std::string_view Options() {
  const char* options = std::getenv("NUMAHEAP_OPTIONS");
  return options == nullptr ? "" : options;
}

TEST(StressTest, RunsInTheModeThatWasAskedFor) {
  const Snapshot snapshot;
  if (Options() == "cache.mode=rseq") {
    if (snapshot.head.cache_mode == NUMAHEAP_CACHE_LOCKED) GTEST_SKIP() << "no sequences here";
    EXPECT_EQ(snapshot.head.cache_mode, uint32_t{NUMAHEAP_CACHE_RSEQ});
  } else if (Options() == "cache.mode=locked") {
    EXPECT_EQ(snapshot.head.cache_mode, uint32_t{NUMAHEAP_CACHE_LOCKED});
  } else if (Options() == "topology.synthetic=numa:2 pu:1") {
    EXPECT_EQ(snapshot.head.node_count, 2u);
    EXPECT_EQ(snapshot.head.placement_mode, uint32_t{NUMAHEAP_PLACEMENT_SYNTHETIC});
  }
}

TEST(StressTest, EverythingAtOnce) {
  Crowd crowd;
  std::vector<std::thread> threads;
  for (int i = 0; i < crowd.workers(); ++i) {
    threads.emplace_back([&crowd, i] { crowd.Work(i); });
  }
  threads.emplace_back(
      [&crowd] { crowd.AtMoments(crowd.total_ticks() / 16, [] { numaheap_release_memory(); }); });
  threads.emplace_back([&crowd] {
    Snapshot last;
    crowd.AtMoments(crowd.total_ticks(), [&last] {
      const Snapshot snapshot;
      RequireThatItAddsUp(snapshot);
      RequireThatNothingWentBack(last, snapshot);
      last = snapshot;
    });
  });
  threads.emplace_back([&crowd] {
    crowd.AtMoments(crowd.total_ticks() / 4, [] {
      const Snapshot snapshot;
      for (uint32_t i = 0; i < snapshot.head.node_count; ++i) WalkHeap(snapshot.nodes[i]);
    });
  });
  threads.emplace_back([&crowd] {
    unsigned seed = 20240602;
    crowd.AtMoments(crowd.total_ticks() / 16, [&] {
      std::vector<std::thread> short_lived;
      for (int i = 0; i < 4; ++i) {
        short_lived.emplace_back([&crowd, own_seed = seed++] {
          std::mt19937 random(own_seed);
          crowd.Rounds(random, 20);
        });
      }
      for (std::thread& thread : short_lived) thread.join();
    });
  });
  crowd.AtMoments(crowd.total_ticks() / 64, [seed = 20240603u]() mutable { Fork(seed++); });
  for (std::thread& thread : threads) thread.join();
  crowd.Finish();
  numaheap_release_memory();
  RequireThatItAddsUp(Snapshot());
}

}  // namespace
}  // namespace numaheap
