// A CPU is plugged in while the program runs: what threads there allocate lies on its node.
//
// The line "@@ plug" asks whoever runs the machine for one more CPU.
#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "tests/api/cpu.h"
#include "tests/api/snapshot.h"
#include "tests/guest/block_sizes.h"
#include "tests/guest/kernel_nodes.h"
#include "tests/guest/page_census.h"

namespace numaheap {
namespace {

constexpr char kCpus[] = "/sys/devices/system/cpu/";

// What the kernel tells of devices that come and go.
class DeviceEvents {
 public:
  DeviceEvents() : socket_(socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT)) {
    sockaddr_nl address = {};
    address.nl_family = AF_NETLINK;
    address.nl_groups = 1;  // the kernel's own
    listens_ = bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~DeviceEvents() { close(socket_); }
  DeviceEvents(const DeviceEvents&) = delete;
  DeviceEvents& operator=(const DeviceEvents&) = delete;

  // Waits until a CPU is there that was not; returns its number, or -1.
  int NextCpu() const {
    constexpr std::string_view kAdded = "add@/devices/system/cpu/cpu";
    char text[4096];
    while (listens_) {
      const ssize_t bytes = recv(socket_, text, sizeof text, 0);
      if (bytes < 0) break;
      const std::string_view event(text, strnlen(text, static_cast<size_t>(bytes)));
      int cpu = -1;
      if (event.starts_with(kAdded) &&
          std::from_chars(event.data() + kAdded.size(), event.data() + event.size(), cpu).ec ==
              std::errc()) {
        return cpu;
      }
    }
    return -1;
  }

 private:
  const int socket_;
  bool listens_ = false;
};

bool SetOnline(int cpu) {
  std::ofstream file(kCpus + ("cpu" + std::to_string(cpu)) + "/online");
  file << 1 << std::flush;
  return file.good();
}

// Threads that no CPU holds: the kernel may move them to a new one as soon as it is online.
class Wanderers {
 public:
  explicit Wanderers(int count) {
    for (int i = 0; i < count; ++i) {
      threads_.emplace_back([this, i] { Churn(static_cast<uint32_t>(i)); });
    }
  }
  ~Wanderers() { Stop(); }
  Wanderers(const Wanderers&) = delete;
  Wanderers& operator=(const Wanderers&) = delete;

  // Returns how many blocks had lost their content.
  uint64_t Stop() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    return damaged_;
  }

 private:
  void Churn(uint32_t seed) {
    struct Block {
      unsigned char* start = nullptr;
      size_t size = 0;
      unsigned char fill = 0;
    };
    std::vector<Block> blocks(200);
    BlockSizes sizes(seed);
    const auto drop = [this](const Block& block) {
      for (size_t i = 0; i < block.size; i += 97) {
        if (block.start[i] == block.fill) continue;
        ++damaged_;
        break;
      }
      free(block.start);
    };
    for (uint64_t n = 0; !stop_.load(std::memory_order_relaxed); ++n) {
      Block& block = blocks[n % blocks.size()];
      drop(block);
      block = {nullptr, sizes.Next(), static_cast<unsigned char>(n)};
      block.start = static_cast<unsigned char*>(malloc(block.size));
      memset(block.start, block.fill, block.size);
    }
    for (const Block& block : blocks) drop(block);
  }

  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> damaged_{0};
  std::vector<std::thread> threads_;
};

void ExpectLocal(int cpu, int node) {
  std::thread([cpu, node] {
    constexpr size_t kBytes = 4 << 20;
    const PinnedTo here(cpu);
    ASSERT_EQ(sched_getcpu(), cpu);
    BlockSizes sizes(static_cast<uint32_t>(cpu));
    std::vector<void*> blocks;
    uint64_t of_node = 0;
    PageCensus by_cpu, by_owner;
    for (size_t sum = 0; sum < kBytes;) {
      const size_t size = sizes.Next();
      void* block = malloc(size);
      ASSERT_NE(block, nullptr);
      memset(block, 1, size);
      numaheap_owner_t owner;
      ASSERT_EQ(numaheap_owner(block, &owner), 0);
      of_node += owner.node == node;
      by_cpu.Count(block, size, node);
      by_owner.Count(block, size, owner.node);
      blocks.push_back(block);
      sum += size;
    }
    std::printf(
        "CPU %d of node %d: %zu blocks, of that node %.2f%%; %lu pages, on that node %.2f%%, on "
        "their owner's node %.2f%%\n",
        cpu, node, blocks.size(),
        100.0 * static_cast<double>(of_node) / static_cast<double>(blocks.size()), by_cpu.pages(),
        by_cpu.percent_at_home(), by_owner.percent_at_home());
    EXPECT_EQ(of_node, blocks.size()) << "CPU " << cpu;
    EXPECT_EQ(by_cpu.error(), 0);
    EXPECT_EQ(by_cpu.at_home(), by_cpu.pages()) << "CPU " << cpu;
    for (void* block : blocks) free(block);
  }).join();
}

TEST(CpuPlugTest, WhatANewCpuAllocatesIsLocal) {
  const size_t room = ReadIdList(std::string(kCpus) + "possible").size() -
                      ReadIdList(std::string(kCpus) + "present").size();
  ASSERT_GT(room, 0u) << "no CPU can be plugged in";
  const DeviceEvents events;
  Wanderers wanderers(static_cast<int>(UsableCpus().size()));
  std::vector<std::pair<int, int>> appeared;  // CPU, node
  while (appeared.size() < room) {
    std::printf("@@ plug\n");
    std::fflush(stdout);
    const int cpu = events.NextCpu();
    ASSERT_GE(cpu, 0);
    ASSERT_TRUE(SetOnline(cpu)) << cpu;
    appeared.emplace_back(cpu, NodeOfCpu(cpu));
    ExpectLocal(cpu, appeared.back().second);
  }
  EXPECT_EQ(wanderers.Stop(), 0u);
  // And when all is calm.
  for (const auto& [cpu, node] : appeared) ExpectLocal(cpu, node);
  const Snapshot after;
  EXPECT_TRUE(after.StatesAddUp());
  for (const KernelNode& node : KernelNodes()) {
    std::printf("node %d: %zu CPUs, %u in the snapshot\n", node.id, node.cpus.size(),
                after.Find(node.id)->cpus);
    EXPECT_EQ(after.Find(node.id)->cpus, node.cpus.size());
  }
}

}  // namespace
}  // namespace numaheap
