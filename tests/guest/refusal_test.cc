// No permission: mbind, get_mempolicy and move_pages are refused, as in containers. Memory comes
// from the node of who touches it first, and that is the node of the heap it belongs to.
//
// The program runs itself again under the filter. /proc/self/numa_maps takes the place of
// move_pages.
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <numaif.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "numa/libnuma_placement.h"
#include "src/api/numaheap.h"
#include "tests/api/cpu.h"
#include "tests/api/snapshot.h"
#include "tests/guest/block_sizes.h"
#include "tests/guest/kernel_nodes.h"

namespace numaheap {
namespace {

constexpr char kFiltered[] = "GUEST_FILTERED";

// From now on, in all programs that this one starts, these calls fail with EPERM.
bool RefuseNumaCalls() {
  std::vector<sock_filter> code = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
  };
  for (unsigned call :
       {SYS_mbind, SYS_get_mempolicy, SYS_set_mempolicy, SYS_move_pages, SYS_migrate_pages}) {
    code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1));
    code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
  }
  code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog program = {static_cast<unsigned short>(code.size()), code.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

struct Mapping {
  uintptr_t start = 0, end = 0;
};

Mapping MappingOf(const void* ptr) {
  const auto address = reinterpret_cast<uintptr_t>(ptr);
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    Mapping mapping;
    if (std::sscanf(line.c_str(), "%lx-%lx", &mapping.start, &mapping.end) == 2 &&
        mapping.start <= address && address < mapping.end) {
      return mapping;
    }
  }
  return {};
}

TEST(RefusalTest, Modes) {
  int mode;
  ASSERT_EQ(get_mempolicy(&mode, nullptr, 0, nullptr, 0), -1);
  ASSERT_EQ(errno, EPERM);
  const Snapshot snapshot;
  EXPECT_EQ(snapshot.all().placement_mode, NUMAHEAP_PLACEMENT_FIRST_TOUCH);
  EXPECT_EQ(snapshot.all().cache_mode, NUMAHEAP_CACHE_RSEQ);
  EXPECT_EQ(snapshot.all().node_count, KernelNodes().size());
}

// Threads stay on a node, then go on to the next one: each heap's memory lies on its node.
TEST(RefusalTest, FirstTouchIsLocal) {
  constexpr size_t kBytes = 12 << 20;
  const std::vector<KernelNode> nodes = NodesWithCpus();
  std::map<int, const void*> a_block;  // of each node's heap
  uint64_t blocks_of_node = 0, blocks = 0;
  std::vector<void*> all;
  std::thread([&] {
    for (size_t i = 0; i < 2 * nodes.size(); ++i) {
      const KernelNode& node = nodes[i % nodes.size()];
      const PinnedTo here(node.cpus[0]);
      BlockSizes sizes(static_cast<uint32_t>(i));
      for (size_t sum = 0; sum < kBytes;) {
        const size_t size = sizes.Next();
        void* block = malloc(size);
        ASSERT_NE(block, nullptr);
        memset(block, 1, size);
        numaheap_owner_t owner;
        ASSERT_EQ(numaheap_owner(block, &owner), 0);
        blocks_of_node += owner.node == node.id;
        ++blocks;
        a_block[owner.node] = block;
        all.push_back(block);
        sum += size;
      }
    }
  }).join();
  EXPECT_EQ(blocks_of_node, blocks);
  for (const KernelNode& node : nodes) {
    ASSERT_TRUE(a_block.contains(node.id));
    const Mapping heap = MappingOf(a_block[node.id]);
    const auto* start = reinterpret_cast<const void*>(heap.start);
    int answer = 0;
    EXPECT_EQ(LibnumaPlacement().page_nodes(&start, 1, &answer), EPERM);
    uint64_t home = 0, away = 0;
    ASSERT_EQ(
        LibnumaPlacement().mapped_bytes(start, heap.end - heap.start, {node.id}, &home, &away), 0);
    const uint64_t sum = home + away;
    const double percent = 100.0 * static_cast<double>(home) / static_cast<double>(sum);
    std::printf("heap of node %d: %lu KiB with memory, %.2f%% on its node\n", node.id, sum >> 10,
                percent);
    EXPECT_GE(sum, 2 * kBytes);
    EXPECT_GE(percent, 99.9) << node.id;
  }
  for (void* block : all) free(block);
}

TEST(RefusalTest, OtherHeapsWork) {
  for (const KernelNode& node : KernelNodes()) {
    void* block = numaheap_malloc_onnode(100'000, node.id);
    ASSERT_NE(block, nullptr) << node.id;
    memset(block, 1, 100'000);
    free(block);
  }
  void* block = numaheap_malloc_interleaved(100'000);
  ASSERT_NE(block, nullptr);
  memset(block, 1, 100'000);
  free(block);
  numaheap_release_memory();
}

TEST(RefusalTest, NumaMapsServesTheAudit) {
  uint64_t pages = 0;
  for (int tenths = 0; tenths < 100 && pages == 0; ++tenths) {
    const Snapshot snapshot;
    pages = snapshot.Sum(&numaheap_node_snapshot_t::audited_home_pages) +
            snapshot.Sum(&numaheap_node_snapshot_t::audited_away_pages);
    const timespec tenth = {0, 100'000'000};
    nanosleep(&tenth, nullptr);
  }
  std::printf("%lu pages audited\n", pages);
  EXPECT_GT(pages, 0u);
}

// The other tests again, in a process whose stderr is looked at.
TEST(RefusalTest, NothingIsPrintedTwice) {
  std::unique_ptr<FILE, decltype(&pclose)> lines(
      popen("refusal_test --gtest_filter=-*Twice 2>&1 >/dev/null", "r"), &pclose);
  ASSERT_NE(lines, nullptr);
  std::map<std::string, int> times;
  char line[512];
  while (std::fgets(line, sizeof line, lines.get()) != nullptr) ++times[line];
  EXPECT_EQ(pclose(lines.release()), 0);
  std::printf("%zu lines on stderr\n", times.size());
  for (const auto& [text, count] : times) {
    std::printf("  %d times: %s", count, text.c_str());
    EXPECT_EQ(count, 1) << text;
  }
}

}  // namespace
}  // namespace numaheap

int main(int argc, char** argv) {
  if (getenv(numaheap::kFiltered) == nullptr) {
    setenv(numaheap::kFiltered, "1", 1);
    if (!numaheap::RefuseNumaCalls()) {
      std::perror("seccomp");
      return 1;
    }
    execv("/proc/self/exe", argv);
    return 1;
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
