// The placement calls on the kernel the test runs on, which may forbid them (containers do).
#include "numa/libnuma_placement.h"

#include <gtest/gtest.h>
#include <numaif.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "numa/node_meminfo.h"

namespace numaheap {
namespace {

constexpr size_t kBytes = size_t{1} << 20;
constexpr uint64_t kKiB = 1024;

bool IsRefusal(int error) {
  return error == EPERM || error == ENOSYS;
}

class Placement : public testing::Test {
 protected:
  void SetUp() override {
    memory_ = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory_, MAP_FAILED);
    errno = 77;
  }
  void TearDown() override {
    EXPECT_EQ(errno, 77) << "the calls keep errno";
    munmap(memory_, kBytes);
  }

  const PlacementCalls calls_ = LibnumaPlacement();
  void* memory_ = nullptr;
};

TEST_F(Placement, BindsToTheFirstNodeOrIsRefused) {
  const NodeId node{0};
  const struct {
    Policy policy;
    int mode;
  } cases[] = {{Policy::kPreferred, MPOL_PREFERRED},
               {Policy::kBind, MPOL_BIND},
               {Policy::kInterleave, MPOL_INTERLEAVE}};
  for (const auto& [policy, mode] : cases) {
    const int error = calls_.bind_range(memory_, kBytes, policy, &node, 1);
    if (error != 0) {
      EXPECT_TRUE(IsRefusal(error)) << strerror(error);
      continue;
    }
    int found_mode = -1;
    unsigned long found_nodes[16] = {};
    if (get_mempolicy(&found_mode, found_nodes, 1024, memory_, MPOL_F_ADDR) != 0) {
      errno = 77;
      continue;
    }
    constexpr int kStaticNodes = 1 << 15;
    EXPECT_EQ(found_mode, mode | kStaticNodes);
    EXPECT_EQ(found_nodes[0], 1u);
  }
}

TEST_F(Placement, NodesThatDoNotExist) {
  for (const int number : {-1, 1024, 1 << 20}) {
    const NodeId node{number};
    EXPECT_EQ(calls_.bind_range(memory_, kBytes, Policy::kPreferred, &node, 1), EINVAL) << number;
  }
  const NodeId last{1023};  // kernels can have it, machines don't
  for (const Policy policy : {Policy::kPreferred, Policy::kBind, Policy::kInterleave}) {
    const int error = calls_.bind_range(memory_, kBytes, policy, &last, 1);
    EXPECT_TRUE(error == EINVAL || IsRefusal(error)) << strerror(error);
  }
  EXPECT_EQ(calls_.bind_range(memory_, kBytes, Policy::kPreferred, &last, 0), EINVAL);
}

TEST_F(Placement, RangesThatAreNone) {
  const NodeId node{0};
  const int crooked =
      calls_.bind_range(static_cast<char*>(memory_) + 1, kBytes, Policy::kBind, &node, 1);
  EXPECT_TRUE(crooked == EINVAL || IsRefusal(crooked)) << strerror(crooked);
  ASSERT_EQ(munmap(memory_, kBytes), 0);
  const int unmapped = calls_.bind_range(memory_, kBytes, Policy::kBind, &node, 1);
  EXPECT_TRUE(unmapped == EFAULT || IsRefusal(unmapped)) << strerror(unmapped);
}

TEST_F(Placement, FreeBytesFollowSysfs) {
  EXPECT_EQ(calls_.free_bytes(NodeId{1023}), UINT64_MAX);
  EXPECT_EQ(calls_.free_bytes(NodeId{-1}), UINT64_MAX);
  EXPECT_EQ(calls_.free_bytes(NodeId{INT32_MIN}), UINT64_MAX);
  if (access("/sys/devices/system/node/node0/meminfo", R_OK) == 0) {
    EXPECT_GT(calls_.free_bytes(NodeId{0}), kBytes);
  }
  errno = 77;
}

TEST_F(Placement, PagesTellTheirNode) {
  static_cast<char*>(memory_)[0] = 1;
  const void* addresses[] = {memory_, nullptr};
  int status[] = {-1, 77};
  const int error = calls_.page_nodes(addresses, 2, status);
  if (error != 0) {
    EXPECT_TRUE(IsRefusal(error)) << strerror(error);
    return;
  }
  EXPECT_GE(status[0], 0);
  EXPECT_TRUE(status[1] == -EFAULT || status[1] == -ENOENT) << status[1];
}

TEST_F(Placement, PagesMoveToTheirNode) {
  static_cast<char*>(memory_)[0] = 1;
  const void* pages[300];
  int nodes[300];
  for (int i = 0; i < 300; ++i) pages[i] = static_cast<char*>(memory_) + i % 2 * 4096;
  pages[1] = nullptr;
  const int error = calls_.move_pages(pages, 300, NodeId{0}, nodes);
  if (error != 0) {
    EXPECT_TRUE(IsRefusal(error)) << strerror(error);
    return;
  }
  EXPECT_EQ(nodes[0], 0);
  EXPECT_LT(nodes[1], 0);
  EXPECT_EQ(nodes[298], 0) << "in the second piece";
  const int beyond = calls_.move_pages(pages, 1, NodeId{1000}, nodes);
  EXPECT_TRUE(beyond != 0 || nodes[0] < 0) << "no such node";
}

TEST_F(Placement, MappedBytesByNode) {
  std::memset(memory_, 1, kBytes);
  uint64_t there = 1, elsewhere = 2;  // what was there is added to
  const int error = calls_.mapped_bytes(memory_, kBytes, NodeId{0}, &there, &elsewhere);
  if (error == ENOENT) GTEST_SKIP() << "a kernel without numa_maps";
  EXPECT_EQ(error, 0);
  EXPECT_GE(there + elsewhere, 3u);
}

TEST(NodeMeminfo, FreeMemoryAndHalfOfTheCache) {
  EXPECT_EQ(AvailableBytes("Node 3 MemTotal:        1000 kB\n"
                           "Node 3 MemFree:          100 kB\n"
                           "Node 3 MemUsed:          900 kB\n"
                           "Node 3 Active:           555 kB\n"
                           "Node 3 Inactive:         555 kB\n"
                           "Node 3 Active(anon):     333 kB\n"
                           "Node 3 Active(file):      20 kB\n"
                           "Node 3 Inactive(file):    30 kB\n"
                           "Node 3 KReclaimable:      70 kB\n"
                           "Node 3 SReclaimable:      50 kB\n"),
            150 * kKiB);
}

TEST(NodeMeminfo, WhatIsMissingCountsAsNothing) {
  EXPECT_EQ(AvailableBytes("Node 0 MemFree: 7 kB"), 7 * kKiB);
  EXPECT_EQ(AvailableBytes("Node 0 MemFree: 7 kB\nNode 0 Active(file): x kB\n"), 7 * kKiB);
  EXPECT_EQ(AvailableBytes("Node 0 LowMemFree: 5 kB\nNode 0 MemFree: 7 kB\n"), 7 * kKiB);
  for (const char* text :
       {"", "Node 0 MemFree", "Node 0 MemFree:", "Node 0 MemFree:   ", "Node 0 MemFree: -7 kB",
        "Node 0 MemFree: 99999999999999999999 kB", "Node 0 Active(file): 20 kB\n"}) {
    EXPECT_EQ(AvailableBytes(text), 0u) << text;
  }
}

}  // namespace
}  // namespace numaheap
