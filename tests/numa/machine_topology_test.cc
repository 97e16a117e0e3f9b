// ReadMachine over machines written as sysfs files, and over the machine the test runs on.
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "numa/hwloc_topology.h"
#include "tests/numa/fake_sysfs.h"

namespace numaheap {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;

std::vector<int> NodesOfCpus(const TopologyArrays& machine) {
  std::vector<int> nodes;
  for (const CpuInfo& cpu : machine.cpus) nodes.push_back(cpu.node.value);
  return nodes;
}

std::vector<int> DomainsOfCpus(const TopologyArrays& machine) {
  std::vector<int> domains;
  for (const CpuInfo& cpu : machine.cpus) domains.push_back(cpu.cache_domain);
  return domains;
}

std::vector<int> Row(const TopologyArrays& machine, int from) {
  std::vector<int> row;
  for (int to = 0; to < machine.View().node_limit; ++to) {
    row.push_back(machine.View().Distance(NodeId{from}, NodeId{to}));
  }
  return row;
}

TEST(MachineTopology, TwoNodes) {
  FakeSysfs sysfs;
  sysfs.AddNodes({{0, {0, 1}, 4 * kGiB, "10 21"}, {1, {2, 3}, 2 * kGiB, "21 10"}});
  sysfs.AddCpus(4, {0, 1, 2, 3}, {{0, 1}, {2, 3}});
  const TopologyArrays machine = sysfs.Read(4);
  ASSERT_EQ(machine.View().node_limit, 2);
  EXPECT_FALSE(machine.View().synthetic);
  EXPECT_EQ(machine.nodes[0].memory_bytes, 4 * kGiB);
  EXPECT_EQ(machine.nodes[1].memory_bytes, 2 * kGiB);
  for (const NodeInfo& node : machine.nodes) {
    EXPECT_TRUE(node.present && node.allowed && node.has_cpus);
  }
  EXPECT_EQ(NodesOfCpus(machine), (std::vector<int>{0, 0, 1, 1}));
  EXPECT_EQ(DomainsOfCpus(machine), (std::vector<int>{0, 0, 0, 0}));
  EXPECT_EQ(Row(machine, 0), (std::vector<int>{10, 21}));
  EXPECT_EQ(Row(machine, 1), (std::vector<int>{21, 10}));
}

TEST(MachineTopology, SparseNodes) {
  FakeSysfs sysfs;
  sysfs.AddNodes(
      {{0, {0, 3}, kGiB, "10 15 30"}, {2, {1}, kGiB, "15 10 20"}, {5, {2}, kGiB, "30 25 10"}});
  sysfs.AddCpus(4, {0, 1, 2, 3}, {});
  const TopologyArrays machine = sysfs.Read(4);
  ASSERT_EQ(machine.View().node_limit, 6);
  EXPECT_EQ(machine.View().CountNodes(), 3);
  for (const int absent : {1, 3, 4}) EXPECT_FALSE(machine.nodes[absent].present) << absent;
  EXPECT_EQ(NodesOfCpus(machine), (std::vector<int>{0, 2, 5, 0}));
  EXPECT_EQ(machine.View().Distance(NodeId{0}, NodeId{5}), 30);
  EXPECT_EQ(machine.View().Distance(NodeId{5}, NodeId{2}), 25) << "matrices need not be symmetric";
  EXPECT_EQ(machine.View().Distance(NodeId{2}, NodeId{5}), 20);
}

TEST(MachineTopology, MemoryOnlyNodeOwnsNoCpu) {
  // The expander has the lowest number and is nearest to node 1, both of which hwloc could take for
  // a reason to give it node 1's CPUs.
  FakeSysfs sysfs;
  sysfs.AddNodes({{0, {}, 64 * kGiB, "10 14 24"},
                  {1, {0, 1}, kGiB, "14 10 21"},
                  {2, {2, 3}, kGiB, "24 21 10"}});
  sysfs.AddCpus(4, {0, 1, 2, 3}, {});
  const TopologyArrays machine = sysfs.Read(4);
  EXPECT_EQ(NodesOfCpus(machine), (std::vector<int>{1, 1, 2, 2}));
  EXPECT_TRUE(machine.nodes[0].present);
  EXPECT_FALSE(machine.nodes[0].has_cpus);
  EXPECT_TRUE(machine.nodes[1].has_cpus);
  EXPECT_EQ(machine.nodes[0].memory_bytes, 64 * kGiB);
}

TEST(MachineTopology, CpusOfNodeWithoutMemoryGoToNearest) {
  FakeSysfs sysfs;
  sysfs.AddNodes({{0, {0}, kGiB, "10 40 30"}, {1, {1}, 0, "40 10 20"}, {2, {2}, kGiB, "30 20 10"}});
  sysfs.AddCpus(3, {0, 1, 2}, {{0}, {1}, {2}});
  const TopologyArrays machine = sysfs.Read(3);
  EXPECT_FALSE(machine.nodes[1].present);
  EXPECT_FALSE(machine.nodes[1].allowed);
  EXPECT_EQ(NodesOfCpus(machine), (std::vector<int>{0, 2, 2}));
  EXPECT_EQ(DomainsOfCpus(machine), (std::vector<int>{0, 0, 1})) << "two caches reach node 2";
}

TEST(MachineTopology, EquallyNearNodeWithCpusComesFirst) {
  FakeSysfs sysfs;
  sysfs.AddNodes(
      {{0, {}, 8 * kGiB, "10 20 20"}, {1, {0}, 0, "20 10 20"}, {2, {1}, kGiB, "20 20 10"}});
  sysfs.AddCpus(2, {0, 1}, {});
  EXPECT_EQ(NodesOfCpus(sysfs.Read(2)), (std::vector<int>{2, 2}));
}

TEST(MachineTopology, LastNodeWithoutMemoryIsBeyondTheLimit) {
  FakeSysfs sysfs;
  sysfs.AddNodes({{0, {0}, kGiB, "10 20"}, {1, {1}, 0, "20 10"}});
  sysfs.AddCpus(2, {0, 1}, {});
  const TopologyArrays machine = sysfs.Read(2);
  EXPECT_EQ(machine.View().node_limit, 1);
  EXPECT_EQ(machine.distances.size(), 1u);
  EXPECT_EQ(NodesOfCpus(machine), (std::vector<int>{0, 0}));
}

TEST(MachineTopology, UnknownMemoryMakesEveryNodePresent) {
  FakeSysfs sysfs;
  sysfs.AddNodes({{0, {0}, 0, "10 20"}, {1, {1}, 0, "20 10"}});
  sysfs.AddCpus(2, {0, 1}, {});
  const TopologyArrays machine = sysfs.Read(2);
  EXPECT_EQ(machine.View().CountNodes(), 2);
  EXPECT_EQ(NodesOfCpus(machine), (std::vector<int>{0, 1}));
}

TEST(MachineTopology, OfflineCpusHaveANode) {
  FakeSysfs sysfs;
  sysfs.AddNodes({{1, {0, 2}, kGiB, "10 20"}, {3, {4}, kGiB, "20 10"}});
  sysfs.AddCpus(6, {0, 2, 4}, {{0, 2}, {4}});
  const TopologyArrays machine = sysfs.Read(6);
  for (int cpu = 0; cpu < 6; ++cpu) {
    EXPECT_EQ(machine.cpus[cpu].online, cpu % 2 == 0) << cpu;
    EXPECT_TRUE(machine.nodes[machine.cpus[cpu].node.value].present) << cpu;
  }
  EXPECT_EQ(machine.cpus[0].node, NodeId{1});
  EXPECT_EQ(machine.cpus[4].node, NodeId{3});
}

TEST(MachineTopology, CpuLimitBoundsBothWays) {
  FakeSysfs sysfs;
  sysfs.AddNodes({{0, {0, 1}, kGiB, "10 20"}, {1, {2, 3}, kGiB, "20 10"}});
  sysfs.AddCpus(4, {0, 1, 2, 3}, {});
  EXPECT_EQ(NodesOfCpus(sysfs.Read(2)), (std::vector<int>{0, 0}));
  const TopologyArrays wide = sysfs.Read(64);
  ASSERT_EQ(wide.cpus.size(), 64u);
  EXPECT_TRUE(wide.cpus[3].online);
  EXPECT_FALSE(wide.cpus[4].online);
  EXPECT_FALSE(sysfs.Read(2).nodes[1].has_cpus) << "its CPUs are beyond the limit";
}

TEST(MachineTopology, CacheDomainsAreDenseWithinANode) {
  FakeSysfs sysfs;
  sysfs.AddNodes({{0, {0, 1, 2, 3, 8}, kGiB, "10 20"}, {1, {4, 5, 6, 7}, kGiB, "20 10"}});
  sysfs.AddCpus(9, {0, 1, 2, 3, 4, 5, 6, 7, 8}, {{0, 2}, {1, 3}, {4, 5}, {6, 7}});
  EXPECT_EQ(DomainsOfCpus(sysfs.Read(9)), (std::vector<int>{0, 1, 0, 1, 0, 0, 1, 1, 0}))
      << "CPU 8 has no cache";
}

TEST(MachineTopology, BrokenDistancesAreReplaced) {
  const std::vector<std::vector<std::string>> broken = {
      {"0 0", "0 0"},     {"10 10", "10 10"}, {"10 20", "20 11"}, {"10 9", "20 10"},
      {"20 10", "10 20"}, {"10", "20 10"},    {"", ""},           {"ten twenty", "20 10"},
  };
  for (const std::vector<std::string>& rows : broken) {
    FakeSysfs sysfs;
    sysfs.AddNodes({{0, {0}, kGiB, rows[0]}, {1, {1}, kGiB, rows[1]}});
    sysfs.AddCpus(2, {0, 1}, {});
    const TopologyArrays machine = sysfs.Read(2);
    EXPECT_EQ(Row(machine, 0), (std::vector<int>{10, 20})) << rows[0] << "/" << rows[1];
    EXPECT_EQ(Row(machine, 1), (std::vector<int>{20, 10})) << rows[0] << "/" << rows[1];
    EXPECT_EQ(NodesOfCpus(machine), (std::vector<int>{0, 1}));
  }
}

TEST(MachineTopology, UnreachableAndHugeDistancesAreKeptOrClamped) {
  FakeSysfs sysfs;
  sysfs.AddNodes({{0, {0}, kGiB, "10 255"}, {1, {1}, kGiB, "100000 10"}});
  sysfs.AddCpus(2, {0, 1}, {});
  const TopologyArrays machine = sysfs.Read(2);
  EXPECT_EQ(Row(machine, 0), (std::vector<int>{10, 255}));
  EXPECT_EQ(Row(machine, 1), (std::vector<int>{65535, 10}));
}

TEST(MachineTopology, MachineWithoutNodeFilesIsOneNode) {
  FakeSysfs sysfs;
  sysfs.AddCpus(2, {0, 1}, {});
  const TopologyArrays machine = sysfs.Read(2);
  EXPECT_EQ(machine.View().node_limit, 1);
  EXPECT_TRUE(machine.nodes[0].present);
  EXPECT_EQ(NodesOfCpus(machine), (std::vector<int>{0, 0}));
}

TEST(MachineTopology, DisallowedNodesStayListed) {
  // What hwloc is told to forget is marked, not removed.
  const HwlocTopology hwloc = LoadHwloc([](hwloc_topology_t topology) {
    return hwloc_topology_set_synthetic(topology, "numa:3(memory=1GB) pu:1");
  });
  hwloc_bitmap_t nodes = hwloc_bitmap_alloc();
  hwloc_bitmap_list_sscanf(nodes, "0,2");
  ASSERT_EQ(hwloc_topology_allow(hwloc.get(), nullptr, nodes, HWLOC_ALLOW_FLAG_CUSTOM), 0);
  hwloc_bitmap_free(nodes);
  const TopologyArrays machine = ReadMachine(hwloc.get(), 3);
  ASSERT_EQ(machine.View().CountNodes(), 3);
  EXPECT_TRUE(machine.nodes[0].allowed);
  EXPECT_FALSE(machine.nodes[1].allowed);
  EXPECT_TRUE(machine.nodes[2].allowed);
}

TEST(MachineTopology, ThisMachineAgreesWithSysfs) {
  const int cpu_limit = static_cast<int>(sysconf(_SC_NPROCESSORS_CONF));
  const TopologyArrays machine = LoadTopology(nullptr, cpu_limit);
  const Topology view = machine.View();
  ASSERT_GE(view.CountNodes(), 1);
  EXPECT_FALSE(view.synthetic);
  int allowed = 0;
  for (int node = 0; node < view.node_limit; ++node) {
    allowed += view.nodes[node].allowed;
    EXPECT_LE(view.nodes[node].allowed, view.nodes[node].present);
  }
  EXPECT_GE(allowed, 1);
  int online = 0;
  for (int cpu = 0; cpu < cpu_limit; ++cpu) {
    const CpuInfo& info = view.cpus[cpu];
    ASSERT_LT(info.node.value, view.node_limit);
    EXPECT_TRUE(view.nodes[info.node.value].present);
    if (!info.online) continue;
    ++online;
    // The kernel's link to the CPU's node, unless that node has no memory.
    const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/node";
    for (int node = 0; node < view.node_limit; ++node) {
      if (!view.nodes[node].present) continue;
      const bool linked = access((folder + std::to_string(node)).c_str(), F_OK) == 0;
      if (linked) {
        EXPECT_EQ(info.node.value, node) << "CPU " << cpu;
      }
    }
  }
  EXPECT_EQ(online, sysconf(_SC_NPROCESSORS_ONLN));
}

}  // namespace
}  // namespace numaheap
