// A server's hour: threads that allocate, hand over and free, come and go, busy times and idle
// times, forked children. All through it the heaps keep their few mappings, and every snapshot adds
// up.
//
// With scavenger.idle_after at 100 ms instead of 10 s a scavenger's rounds are 10 ms apart instead
// of 1 s: 36 s have the rounds of an hour.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <random>
#include <string_view>
#include <thread>
#include <vector>

#include "src/api/numaheap.h"
#include "tests/api/cpu.h"
#include "tests/api/snapshot.h"
#include "tests/cache/child.h"
#include "tests/guest/block_sizes.h"
#include "tests/stress/mappings.h"
#include "tests/stress/require.h"

namespace numaheap {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kRound{10};
constexpr int kRoundsOfPhase = 30;  // idle memory goes back within 15
constexpr int kHour = 3600;         // rounds that a scavenger with the default settings has

// ---- Blocks ------------------------------------------------------------------------------------

struct Block {
  unsigned char* start = nullptr;
  size_t size = 0;
  unsigned char fill = 0;
};

bool Holds(const Block& block, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 97) {
    if (block.start[i] != block.fill) return false;
  }
  return true;
}

void CheckAndFree(const Block& block) {
  Require(Holds(block, block.size), "a block lost its content");
  free(block.start);
}

// The blocks of a thread, and what it does with them.
class Blocks {
 public:
  explicit Blocks(uint32_t seed) : random_(seed), sizes_(seed) {}
  ~Blocks() { ShrinkTo(0); }
  Blocks(const Blocks&) = delete;
  Blocks& operator=(const Blocks&) = delete;

  uint32_t Random() { return static_cast<uint32_t>(random_()); }
  size_t bytes() const { return bytes_; }

  void Allocate() {
    Block block{nullptr, NextSize(), static_cast<unsigned char>(Random())};
    void* start;
    switch (Random() % 8) {
      case 0:
        start = calloc(1, block.size);
        break;
      case 1:
        start = aligned_alloc(size_t{16} << Random() % 10, block.size);
        break;
      default:
        start = malloc(block.size);
    }
    block.start = static_cast<unsigned char*>(start);
    Require(block.start != nullptr, "an allocation failed");
    memset(block.start, block.fill, block.size);
    Put(block);
  }

  // As a buffer that grows, or is cut to what was needed.
  void Reallocate() {
    Block block = Take();
    const size_t old_size = block.size;
    switch (Random() % 3) {
      case 0:
        block.size = std::min(2 * old_size, kLargest);
        break;
      case 1:
        block.size = old_size / 3 + 1;
        break;
      default:
        block.size = NextSize();
    }
    block.start = static_cast<unsigned char*>(realloc(block.start, block.size));
    Require(block.start != nullptr, "realloc failed");
    Require(Holds(block, std::min(old_size, block.size)), "realloc lost content");
    memset(block.start, block.fill, block.size);
    Put(block);
  }

  void ShrinkTo(size_t bytes) {
    while (bytes_ > bytes) CheckAndFree(Take());
  }

  void Put(const Block& block) {
    blocks_.push_back(block);
    bytes_ += block.size;
  }

  // Any of them; there must be one.
  Block Take() {
    std::swap(blocks_[Random() % blocks_.size()], blocks_.back());
    const Block block = blocks_.back();
    blocks_.pop_back();
    bytes_ -= block.size;
    return block;
  }

 private:
  static constexpr size_t kLargest = 4 << 20;  // bytes

  // Now and then some megabytes.
  size_t NextSize() { return Random() % 512 == 0 ? Random() % kLargest + 1 : sizes_.Next(); }

  std::mt19937 random_;
  BlockSizes sizes_;
  std::vector<Block> blocks_;
  size_t bytes_ = 0;
};

// ---- The server --------------------------------------------------------------------------------

enum class Phase { kSteady, kBurst, kIdle, kEnd };
constexpr std::array<const char*, 3> kPhaseNames = {"steady", "burst", "idle"};
// What all workers keep, bytes.
constexpr std::array<size_t, 3> kPhaseBytes = {24 << 20, 128 << 20, 4 << 20};

class Server {
 public:
  Server() : worker_count_(std::clamp<size_t>(UsableCpus().size(), 4, 16)) {
    for (uint32_t i = 0; i < worker_count_; ++i) {
      workers_.emplace_back([this, i] { Work(i); });
    }
  }
  ~Server() {
    Enter(Phase::kEnd);
    for (std::thread& worker : workers_) worker.join();
    for (const Block& block : handed_over_) CheckAndFree(block);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  void Enter(Phase phase) {
    phase_ = phase;
    phase_.notify_all();
  }

  // Threads that do a few requests each and are gone.
  void Connect(uint32_t seed) {
    std::vector<std::thread> connections;
    for (uint32_t i = 0; i < 4; ++i) {
      connections.emplace_back([this, seed, i] {
        Blocks blocks(seed + i);
        for (int request = 0; request < 20; ++request) Serve(blocks);
      });
    }
    for (std::thread& connection : connections) connection.join();
  }

  uint64_t requests() const { return requests_; }

 private:
  static constexpr size_t kMostHandedOver = 2000;

  void Work(uint32_t seed) {
    Blocks blocks(seed);
    for (Phase phase; (phase = phase_) != Phase::kEnd;) {
      if (phase != Phase::kIdle) Serve(blocks);
      blocks.ShrinkTo(kPhaseBytes[static_cast<size_t>(phase)] / worker_count_);
      if (phase == Phase::kIdle) phase_.wait(Phase::kIdle);
    }
  }

  // A request: some blocks are made, one grows, some go to other threads, as many come from them.
  void Serve(Blocks& blocks) {
    for (int i = 0; i < 8; ++i) blocks.Allocate();
    blocks.Reallocate();
    {
      const std::lock_guard holder(lock_);
      while (handed_over_.size() < kMostHandedOver && blocks.Random() % 4 != 0) {
        handed_over_.push_back(blocks.Take());
        if (blocks.bytes() == 0) break;
      }
    }
    for (uint32_t n = blocks.Random() % 8; n > 0; --n) {
      Block block;
      {
        const std::lock_guard holder(lock_);
        if (handed_over_.empty()) break;
        std::swap(handed_over_[blocks.Random() % handed_over_.size()], handed_over_.back());
        block = handed_over_.back();
        handed_over_.pop_back();
      }
      CheckAndFree(block);
    }
    ++requests_;
  }

  const size_t worker_count_;
  std::atomic<Phase> phase_{Phase::kSteady};
  std::atomic<uint64_t> requests_{0};
  std::mutex lock_;
  std::vector<Block> handed_over_;
  std::vector<std::thread> workers_;
};

// ---- What is watched ---------------------------------------------------------------------------

// What the heaps of `snapshot` may have.
size_t MostMappings(const Snapshot& snapshot) {
  return 16 + 6 * size_t{snapshot.all().node_count};
}

// A forked child outgrows its parent: its part of a range can't be joined to what it inherited.
int LiveInChild(const Block& inherited) {
  Blocks blocks(1);
  while (blocks.bytes() < (48 << 20)) blocks.Allocate();
  const Snapshot snapshot;
  Require(snapshot.StatesAddUp(), "a snapshot of a child does not add up");
  Require(Mappings(inherited.start).of_heaps < MostMappings(snapshot), "a child has many mappings");
  Require(Holds(inherited, inherited.size), "what a child inherited lost its content");
  return 0;
}

struct Maxima {
  int samples = 0;
  size_t mappings_of_heaps = 0;
  size_t mappings_of_process = 0;
  uint64_t in_use_bytes = 0;
  uint64_t idle_bytes = 0;
  uint64_t released_bytes = 0;

  void Add(const Mappings& mappings, const Snapshot& snapshot) {
    using Node = numaheap_node_snapshot_t;
    ++samples;
    mappings_of_heaps = std::max(mappings_of_heaps, mappings.of_heaps);
    mappings_of_process = std::max(mappings_of_process, mappings.of_process);
    in_use_bytes = std::max(in_use_bytes, snapshot.Sum(&Node::in_use_bytes));
    idle_bytes = std::max(idle_bytes, snapshot.Sum(&Node::idle_bytes));
    released_bytes = std::max(released_bytes, snapshot.Sum(&Node::released_bytes));
  }
};

void Soak(int rounds) {
  const char* options = std::getenv("NUMAHEAP_OPTIONS");
  ASSERT_NE(options, nullptr);
  ASSERT_NE(std::string_view(options).find("scavenger.idle_after=100ms"), std::string_view::npos);

  std::array<Maxima, kPhaseNames.size()> maxima;
  std::vector<unsigned char> bytes(1000, 7);
  const Block own{bytes.data(), bytes.size(), bytes[0]};
  uint64_t requests;
  int children = 0;
  {
    Server server;
    steady_clock::time_point next = steady_clock::now();
    for (int round = 0; round < rounds; ++round) {
      const int in_phase = round % kRoundsOfPhase;
      const size_t phase = static_cast<size_t>(round / kRoundsOfPhase) % maxima.size();
      if (in_phase == 0) server.Enter(static_cast<Phase>(phase));
      if (static_cast<Phase>(phase) != Phase::kIdle) {
        if (round % 5 == 0) server.Connect(static_cast<uint32_t>(1000 + round));
        if (in_phase == kRoundsOfPhase / 2) {
          Child child([&own] { return LiveInChild(own); });
          ASSERT_EQ(child.Wait(), "exit 0");
          ++children;
        }
      }
      const Snapshot snapshot;
      ASSERT_EQ(snapshot.error(), 0);
      ASSERT_TRUE(snapshot.StatesAddUp()) << "round " << round;
      const Mappings mappings(own.start);
      maxima[phase].Add(mappings, snapshot);
      // Otherwise something else was counted.
      ASSERT_GE(mappings.heap_bytes, snapshot.Sum(&numaheap_node_snapshot_t::reserved_bytes));
      ASSERT_LT(mappings.of_heaps, MostMappings(snapshot)) << "round " << round;
      next = std::max(next + kRound, steady_clock::now());
      std::this_thread::sleep_until(next);
    }
    requests = server.requests();
  }
  EXPECT_TRUE(Holds(own, own.size));

  const Snapshot after;
  std::printf("%d rounds, %lu requests, %d children; %u heaps, which may have %zu mappings\n",
              rounds, requests, children, after.all().node_count, MostMappings(after) - 1);
  for (size_t phase = 0; phase < maxima.size(); ++phase) {
    const Maxima& most = maxima[phase];
    std::printf(
        "%-6s %4d samples, at most %zu mappings of the heaps, %zu of the process; MiB at most "
        "%lu in use, %lu idle, %lu released\n",
        kPhaseNames[phase], most.samples, most.mappings_of_heaps, most.mappings_of_process,
        most.in_use_bytes >> 20, most.idle_bytes >> 20, most.released_bytes >> 20);
  }
  const uint64_t scavenged = after.Sum(&numaheap_node_snapshot_t::scavenged_bytes);
  std::printf("%lu MiB were given back to the kernel\n", scavenged >> 20);
  EXPECT_GT(scavenged, 0u);
}

constexpr int kCycle = static_cast<int>(kPhaseNames.size()) * kRoundsOfPhase;

TEST(SoakTest, OneCycle) {
  Soak(kCycle);
}

TEST(SoakTest, FiveCycles) {
  Soak(5 * kCycle);
}

TEST(SoakTest, AnHour) {
  Soak(kHour);
}

}  // namespace
}  // namespace numaheap
