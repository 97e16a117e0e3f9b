// A cpuset that changes while the process runs: the node it loses hands nothing out any more, is
// drained and stays empty; when it comes back all is as it was, and what the kernel moved away is
// moved home. The process is in a cgroup of its own, whose cpuset it changes itself.
#include <gtest/gtest.h>
#include <time.h>

#include <cerrno>
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
#include "tests/guest/page_census.h"

namespace numaheap {
namespace {

constexpr size_t kBytes = 24 << 20;
constexpr double kSecondsToNotice = 5;  // at 0.1 s a round, on a machine that is emulated

void AllowNodes(const std::string& list) {
  std::ifstream group("/proc/self/cgroup");
  std::string path;  // "0::/path"
  std::getline(group, path);
  std::ofstream mems("/sys/fs/cgroup" + path.substr(3) + "/cpuset.mems");
  mems << list << std::endl;
  ASSERT_TRUE(mems.good()) << list << ": " << strerror(errno);
}

// Every node of the machine. (An empty list would say so too, but not to a group with tasks.)
void AllowAllNodes() {
  std::ifstream online("/sys/devices/system/node/has_memory");
  std::string list;
  std::getline(online, list);
  AllowNodes(list);
}

double Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Seconds until the snapshot's heap of `node` is as wanted; -1 when it never is.
template <typename Wanted>
double WaitFor(int node, Wanted wanted, double seconds = kSecondsToNotice) {
  const double start = Now();
  while (Now() - start < seconds) {
    const Snapshot snapshot;
    if (wanted(*snapshot.Find(node))) return Now() - start;
    const timespec moment = {0, 10'000'000};
    nanosleep(&moment, nullptr);
  }
  return -1;
}

// The node is usable, and its CPUs have caches of its heap; or neither.
bool IsServed(const numaheap_node_snapshot_t& heap) {
  size_t cpus = 0;
  for (const KernelNode& node : KernelNodes()) {
    if (node.id == heap.node) cpus = node.cpus.size();
  }
  return heap.usable == 1 && heap.cpus >= cpus;
}
bool IsLost(const numaheap_node_snapshot_t& heap) {
  return heap.usable == 0 && heap.cpus == 0;
}

struct Given {
  void* block;
  size_t size;
};

// Blocks that a thread on `cpu` allocates and fills.
std::vector<Given> AllocateOn(int cpu, size_t bytes) {
  std::vector<Given> given;
  std::thread([&] {
    const PinnedTo here(cpu);
    BlockSizes sizes(7);
    for (size_t sum = 0; sum < bytes;) {
      const size_t size = sizes.Next();
      void* block = malloc(size);
      ASSERT_NE(block, nullptr);
      memset(block, static_cast<int>(size & 0xff), size);
      given.push_back({block, size});
      sum += size;
    }
  }).join();
  return given;
}

bool AreWhole(const std::vector<Given>& given) {
  for (const Given& each : given) {
    const auto* bytes = static_cast<const unsigned char*>(each.block);
    for (size_t i = 0; i < each.size; i += 61) {
      if (bytes[i] != (each.size & 0xff)) return false;
    }
  }
  return true;
}

// Where the pages lie, counted against `node`.
PageCensus CensusOf(const std::vector<Given>& given, int node) {
  PageCensus census;
  for (const Given& each : given) census.Count(each.block, each.size, node);
  return census;
}

size_t BlocksOf(const std::vector<Given>& given, int node) {
  size_t count = 0;
  for (const Given& each : given) {
    numaheap_owner_t owner;
    count += numaheap_owner(each.block, &owner) == 0 && owner.node == node;
  }
  return count;
}

void FreeAll(std::vector<Given>& given, size_t from = 0) {
  for (size_t i = from; i < given.size(); ++i) free(given[i].block);
  given.resize(from);
}

TEST(CpusetChangeTest, ANodeIsLostAndComesBack) {
  const std::vector<KernelNode> nodes = NodesWithCpus();
  const int kept = nodes.front().id, lost = nodes.back().id;
  const int cpu = nodes.back().cpus.front();
  std::vector<Given> old = AllocateOn(cpu, kBytes);
  EXPECT_EQ(BlocksOf(old, lost), old.size());
  EXPECT_GE(CensusOf(old, lost).percent_at_home(), 99.9);
  const Snapshot before;

  AllowNodes(std::to_string(kept));
  const double noticed = WaitFor(lost, IsLost);
  std::printf(
      "node %d lost: noticed after %.2f s; its pages lie %.1f%% there, moved by the kernel\n", lost,
      noticed, CensusOf(old, lost).percent_at_home());
  ASSERT_GE(noticed, 0);
  EXPECT_TRUE(AreWhole(old));

  // Its CPUs are served by another node, out of caches as before; it doesn't grow.
  std::vector<Given> meanwhile = AllocateOn(cpu, kBytes);
  const Snapshot after;
  std::printf(
      "then on a CPU of node %d: %zu of %zu blocks of its heap, %.1f%% of pages on node %d\n", lost,
      BlocksOf(meanwhile, lost), meanwhile.size(), CensusOf(meanwhile, kept).percent_at_home(),
      kept);
  EXPECT_EQ(BlocksOf(meanwhile, lost), 0u);
  EXPECT_GE(CensusOf(meanwhile, kept).percent_at_home(), nodes.size() == 2 ? 99.9 : 0.0);
  EXPECT_EQ(after.Find(lost)->committed_bytes, before.Find(lost)->committed_bytes);
  EXPECT_EQ(after.Find(lost)->cpus, 0u);
  EXPECT_GE(after.Find(kept)->cpus, before.Find(kept)->cpus);
  errno = 0;
  EXPECT_EQ(numaheap_malloc_onnode(100, lost), nullptr);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(numaheap_set_thread_node(lost), EINVAL);

  // What is freed of it goes back to the kernel at once.
  FreeAll(old, old.size() / 2);
  const double drained = WaitFor(lost, [&](const numaheap_node_snapshot_t& heap) {
    return heap.idle_bytes == 0 && heap.cached_bytes == 0 && heap.remote_pending == 0 &&
           heap.in_use_bytes < kBytes * 3 / 4;
  });
  std::printf("half of its blocks freed: drained after %.2f s\n", drained);
  EXPECT_GE(drained, 0);

  AllowAllNodes();
  const double back = WaitFor(lost, IsServed);
  std::vector<Given> fresh = AllocateOn(cpu, kBytes);
  std::printf(
      "node %d back: noticed after %.2f s; %zu of %zu new blocks are of its heap, %.1f%% of "
      "their pages on it\n",
      lost, back, BlocksOf(fresh, lost), fresh.size(), CensusOf(fresh, lost).percent_at_home());
  ASSERT_GE(back, 0);
  EXPECT_EQ(BlocksOf(fresh, lost), fresh.size());

  // What the kernel had moved away comes home (placement.heal), at 16 MiB a second.
  const uint64_t audited = Snapshot().Find(lost)->audited_away_pages;
  double home = 0;
  WaitFor(
      lost,
      [&](const numaheap_node_snapshot_t&) {
        home = CensusOf(old, lost).percent_at_home();
        return home >= 99.9 && CensusOf(fresh, lost).percent_at_home() >= 99.9;
      },
      30);
  const Snapshot healed;
  std::printf("old blocks: %.1f%% of pages on it; audit: %lu pages seen away, %lu moved home\n",
              home, healed.Find(lost)->audited_away_pages, healed.Find(lost)->healed_pages);
  EXPECT_GE(home, 99.9);
  EXPECT_GT(healed.Find(lost)->healed_pages, 0u);
  EXPECT_GE(healed.Find(lost)->audited_away_pages, audited);
  EXPECT_TRUE(AreWhole(old) && AreWhole(meanwhile) && AreWhole(fresh));
  EXPECT_TRUE(healed.StatesAddUp());
  for (std::vector<Given>* given : {&old, &meanwhile, &fresh}) FreeAll(*given);
}

// Started without a node that it gets later.
TEST(CpusetChangeTest, ANodeIsGained) {
  const std::vector<KernelNode> nodes = NodesWithCpus();
  const int first = nodes.front().id, gained = nodes.back().id;
  const int cpu = nodes.back().cpus.front();
  std::vector<Given> before = AllocateOn(cpu, kBytes);
  EXPECT_EQ(BlocksOf(before, first), before.size());
  EXPECT_EQ(Snapshot().Find(gained)->usable, 0u);

  AllowAllNodes();
  const double noticed = WaitFor(gained, IsServed);
  std::vector<Given> after = AllocateOn(cpu, kBytes);
  const PageCensus census = CensusOf(after, gained);
  std::printf(
      "node %d gained: noticed after %.2f s; %zu of %zu new blocks are of its heap, %.2f%% of "
      "their pages on it\n",
      gained, noticed, BlocksOf(after, gained), after.size(), census.percent_at_home());
  ASSERT_GE(noticed, 0);
  EXPECT_EQ(BlocksOf(after, gained), after.size());
  EXPECT_GE(census.percent_at_home(), 99.9);
  FreeAll(before);
  FreeAll(after);
}

}  // namespace
}  // namespace numaheap
