// CPUs go offline and come back while threads allocate on all of them; a CPU that was off when the
// program started is served from its node.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "src/api/numaheap.h"
#include "tests/api/cpu.h"
#include "tests/api/snapshot.h"
#include "tests/guest/block_sizes.h"
#include "tests/guest/kernel_nodes.h"

namespace numaheap {
namespace {

constexpr size_t kMaxCpus = 3;  // looked at: each switch takes the emulation about a second

bool SetOnline(int cpu, bool online) {
  std::ofstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/online");
  file << online << std::flush;
  return file.good();
}

std::vector<int> CpusThatCanGo() {
  std::vector<int> cpus = ReadIdList("/sys/devices/system/cpu/present");
  std::erase(cpus, 0);
  if (cpus.size() > kMaxCpus) cpus.resize(kMaxCpus);
  return cpus;
}

bool IsOnline(int cpu) {
  const std::vector<int> online = ReadIdList("/sys/devices/system/cpu/online");
  return std::find(online.begin(), online.end(), cpu) != online.end();
}

// A thread on `cpu` gets its blocks from that CPU's node.
void ExpectLocal(int cpu) {
  std::thread([cpu] {
    const PinnedTo here(cpu);
    ASSERT_EQ(sched_getcpu(), cpu);
    const int node = NodeOfCpu(cpu);
    BlockSizes sizes(static_cast<uint32_t>(cpu));
    uint64_t of_node = 0;
    constexpr uint64_t kBlocks = 3000;
    for (uint64_t i = 0; i < kBlocks; ++i) {
      void* block = malloc(sizes.Next());
      numaheap_owner_t owner;
      ASSERT_EQ(numaheap_owner(block, &owner), 0);
      of_node += owner.node == node;
      free(block);
    }
    EXPECT_EQ(of_node, kBlocks) << "CPU " << cpu << " of node " << node;
  }).join();
}

// First, before anything has looked at those CPUs.
TEST(CpuHotplugTest, ACpuThatAppearsIsLocal) {
  int appeared = 0;
  for (int cpu : CpusThatCanGo()) {
    if (IsOnline(cpu)) continue;
    ASSERT_TRUE(SetOnline(cpu, true)) << cpu;
    ++appeared;
    std::printf("CPU %d appeared, on node %d\n", cpu, NodeOfCpu(cpu));
    ExpectLocal(cpu);
  }
  if (appeared == 0) GTEST_SKIP() << "all CPUs were online";
}

TEST(CpuHotplugTest, MorePossibleThanOnline) {
  std::printf("%zu CPUs possible, %zu present, %zu online\n",
              ReadIdList("/sys/devices/system/cpu/possible").size(),
              ReadIdList("/sys/devices/system/cpu/present").size(),
              ReadIdList("/sys/devices/system/cpu/online").size());
  for (int cpu : UsableCpus()) ExpectLocal(cpu);
}

TEST(CpuHotplugTest, UnderLoad) {
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> damaged{0}, refused{0}, allocations{0};
  std::vector<std::thread> threads;
  const auto churn = [&](uint32_t seed) {
    struct Block {
      unsigned char* start = nullptr;
      size_t size = 0;
      unsigned char fill = 0;
    };
    std::vector<Block> blocks(256);
    BlockSizes sizes(seed);
    const auto drop = [&damaged](Block& block) {
      for (size_t i = 0; i < block.size; i += 97) damaged += block.start[i] != block.fill;
      free(block.start);
      block = {};
    };
    for (uint64_t n = 0; !stop.load(std::memory_order_relaxed); ++n) {
      Block& block = blocks[n * 31 % blocks.size()];
      if (block.start != nullptr) drop(block);
      const size_t size = sizes.Next() % 20'000 + 1;
      auto* start = static_cast<unsigned char*>(malloc(size));
      if (start == nullptr) {
        ++refused;
        continue;
      }
      block = {start, size, static_cast<unsigned char>(n)};
      memset(start, block.fill, size);
      ++allocations;
    }
    for (Block& block : blocks) {
      if (block.start != nullptr) drop(block);
    }
  };
  // Threads on CPUs from which the kernel will drive them away, and as many that wander.
  for (int cpu : CpusThatCanGo()) {
    threads.emplace_back([&churn, cpu] {
      const PinnedTo here(cpu);
      churn(static_cast<uint32_t>(cpu));
    });
    threads.emplace_back([&churn, cpu] { churn(static_cast<uint32_t>(1000 + cpu)); });
  }
  int switched = 0;
  for (int round = 0; round < 2; ++round) {
    for (int cpu : CpusThatCanGo()) {
      EXPECT_TRUE(SetOnline(cpu, false)) << cpu;
      numaheap_release_memory();  // drains the caches of CPUs that are off, too
      EXPECT_TRUE(Snapshot().StatesAddUp());
      EXPECT_TRUE(SetOnline(cpu, true)) << cpu;
      switched += 2;
    }
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  std::printf("%lu allocations while CPUs were switched %d times\n", allocations.load(), switched);
  EXPECT_EQ(damaged.load(), 0u);
  EXPECT_EQ(refused.load(), 0u);
  EXPECT_GT(allocations.load(), 0u);
  for (int cpu : CpusThatCanGo()) ExpectLocal(cpu);
  numaheap_release_memory();
  const Snapshot after;
  EXPECT_EQ(after.Sum(&numaheap_node_snapshot_t::cached_bytes), 0u);
  EXPECT_EQ(after.Sum(&numaheap_node_snapshot_t::remote_pending), 0u);
}

}  // namespace
}  // namespace numaheap
