// The real CPUs dealt out over synthetic descriptions.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <numeric>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "numa/hwloc_topology.h"

namespace numaheap {
namespace {

TopologyArrays Deal(const std::string& description, int cpu_limit, std::vector<bool> online = {}) {
  const HwlocTopology hwloc = LoadHwloc([&](hwloc_topology_t topology) {
    return hwloc_topology_set_synthetic(topology, description.c_str());
  });
  if (online.empty()) online.assign(static_cast<size_t>(cpu_limit), true);
  return DealOut(hwloc.get(), cpu_limit, online);
}

std::vector<int> PresentNodes(const TopologyArrays& topology) {
  std::vector<int> nodes;
  for (size_t node = 0; node < topology.nodes.size(); ++node) {
    if (topology.nodes[node].present) nodes.push_back(static_cast<int>(node));
  }
  return nodes;
}

struct Dealt {
  const char* description;
  std::vector<int> present;
  std::vector<int> node_of_cpu;
  std::vector<int> domain_of_cpu;
};

void PrintTo(const Dealt& dealt, std::ostream* out) {
  *out << dealt.description;
}

class SyntheticTopology : public testing::TestWithParam<Dealt> {};

TEST_P(SyntheticTopology, DealsCpusOut) {
  const Dealt& expected = GetParam();
  const int cpus = static_cast<int>(expected.node_of_cpu.size());
  const TopologyArrays topology = Deal(expected.description, cpus);
  EXPECT_TRUE(topology.View().synthetic);
  EXPECT_EQ(PresentNodes(topology), expected.present);
  std::vector<int> nodes;
  std::vector<int> domains;
  for (const CpuInfo& cpu : topology.cpus) {
    EXPECT_TRUE(cpu.online);
    nodes.push_back(cpu.node.value);
    domains.push_back(cpu.cache_domain);
  }
  EXPECT_EQ(nodes, expected.node_of_cpu);
  EXPECT_EQ(domains, expected.domain_of_cpu);
  for (size_t node = 0; node < topology.nodes.size(); ++node) {
    const bool used = std::count(nodes.begin(), nodes.end(), static_cast<int>(node)) > 0;
    EXPECT_EQ(topology.nodes[node].has_cpus, used) << node;
    EXPECT_EQ(topology.nodes[node].allowed, topology.nodes[node].present) << node;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Descriptions, SyntheticTopology,
    testing::Values(
        Dealt{"numa:2 pu:1", {0, 1}, {0, 1}, {0, 0}}, Dealt{"numa:2 pu:4", {0, 1}, {0, 1}, {0, 0}},
        Dealt{"numa:2 pu:1", {0, 1}, {0, 1, 0, 1, 0}, {0, 0, 0, 0, 0}},
        Dealt{"numa:1 pu:1", {0}, {0, 0}, {0, 0}}, Dealt{"pu:3", {0}, {0, 0}, {0, 0}},
        Dealt{"2 2 2", {0, 1, 2, 3}, {0, 1, 2, 3}, {0, 0, 0, 0}},
        Dealt{"numa:3(indexes=0,2,5) pu:2", {0, 2, 5}, {0, 2, 5, 0}, {0, 0, 0, 0}},
        Dealt{"numa:3(indexes=5,0,2) pu:1", {0, 2, 5}, {0, 2, 5, 0}, {0, 0, 0, 0}},
        Dealt{"numa:1(indexes=1023) pu:2", {1023}, {1023, 1023}, {0, 0}},
        Dealt{"numa:4 pu:1", {0, 1, 2, 3}, {0, 1}, {0, 0}},
        // Cache domains: two per node, taken in turn.
        Dealt{"numa:2 l3:2 pu:2", {0, 1}, {0, 1, 0, 1, 0, 1, 0, 1, 0}, {0, 0, 0, 0, 1, 1, 1, 1, 0}},
        Dealt{"numa:1 l3:3 pu:1", {0}, {0, 0, 0, 0}, {0, 1, 2, 0}},
        // One cache above two nodes is one domain in each.
        Dealt{"l3:1 numa:2 pu:2", {0, 1}, {0, 1, 0, 1}, {0, 0, 0, 0}},
        // Memory-only nodes: what shares CPUs with a node before it, and what spans several.
        Dealt{"pack:2 [numa] [numa] pu:2", {0, 1, 2, 3}, {0, 2, 0, 2}, {0, 0, 0, 0}},
        Dealt{"[numa(memory=64GB)] pack:2 [numa] pu:1", {0, 1, 2}, {0, 1, 0}, {0, 0, 0}},
        Dealt{"pack:2 [numa(indexes=3,8)] pu:2", {3, 8}, {3, 8}, {0, 0}},
        Dealt{"[numa] [numa] [numa] pu:1", {0, 1, 2}, {0, 0}, {0, 0}},
        Dealt{"numa:2 pu:2(indexes=7,5,3,1)", {0, 1}, {0, 1}, {0, 0}}));

TEST(SyntheticTopologyShape, SixteenNodes) {
  const TopologyArrays topology = Deal("numa:16 l3:2 pu:2", 64);
  EXPECT_EQ(topology.View().CountNodes(), 16);
  std::vector<int> cpus(16, 0);
  for (const CpuInfo& cpu : topology.cpus) {
    ++cpus[static_cast<size_t>(cpu.node.value)];
    EXPECT_LE(cpu.cache_domain, 1);
  }
  EXPECT_EQ(cpus, std::vector<int>(16, 4));
}

TEST(SyntheticTopologyShape, DistancesAreTheDefaultsAndMemoryTheDescriptions) {
  const TopologyArrays topology = Deal("numa:3(memory=2GiB indexes=0,1,4) pu:1", 2);
  for (const int from : {0, 1, 4}) {
    EXPECT_EQ(topology.nodes[from].memory_bytes, uint64_t{2} << 30);
    for (const int to : {0, 1, 4}) {
      EXPECT_EQ(topology.View().Distance(NodeId{from}, NodeId{to}), from == to ? 10 : 20);
    }
  }
}

TEST(SyntheticTopologyShape, OnlineCpusAreSpreadWhateverTheirNumbers) {
  // Every second CPU is offline, as with hyperthreads switched off.
  const TopologyArrays topology = Deal("numa:2 pu:1", 6, {true, false, true, false, true});
  EXPECT_EQ(topology.cpus[0].node, NodeId{0});
  EXPECT_EQ(topology.cpus[2].node, NodeId{1});
  EXPECT_EQ(topology.cpus[4].node, NodeId{0});
  for (const int cpu : {1, 3, 5}) {
    EXPECT_FALSE(topology.cpus[cpu].online);
    EXPECT_TRUE(topology.nodes[topology.cpus[cpu].node.value].present);
  }
}

TEST(SyntheticTopologyShape, ThisMachinesCpusAreDealtOut) {
  const TopologyArrays topology = LoadTopology("numa:2 pu:1", 2);
  EXPECT_EQ(topology.View().CountNodes(), 2);
  EXPECT_NE(topology.cpus[0].node, topology.cpus[1].node);
}

// Descriptions of a known form against arithmetic.
TEST(SyntheticTopologyModel, RandomDescriptions) {
  std::mt19937 random(20260101);
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  for (int round = 0; round < 300; ++round) {
    const int nodes = pick(1, 9);
    const int caches = pick(0, 3);  // per node; 0: none are described
    const int cpus_per_cache = pick(1, 4);
    const int real_cpus = pick(1, 40);
    std::vector<int> ids(40);
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), random);
    ids.resize(static_cast<size_t>(nodes));

    // Attached, each package has a further, memory-only node; the ids then rise with the packages.
    const bool attached = pick(0, 1) == 1;
    std::string description;
    std::vector<int> with_cpus = ids;
    std::vector<int> present = ids;
    if (attached) {
      description = "pack:" + std::to_string(nodes) + " [numa] [numa]";
      with_cpus.clear();
      present.clear();
      for (int node = 0; node < 2 * nodes; ++node) {
        present.push_back(node);
        if (node % 2 == 0) with_cpus.push_back(node);
      }
    } else {
      description = "numa:" + std::to_string(nodes) + "(indexes=";
      for (const int id : ids) description += std::to_string(id) + ",";
      description.back() = ')';
    }
    if (caches > 0) description += " l3:" + std::to_string(caches);
    description += " pu:" + std::to_string(cpus_per_cache);
    std::sort(with_cpus.begin(), with_cpus.end());
    std::sort(present.begin(), present.end());

    SCOPED_TRACE(description + " for " + std::to_string(real_cpus) + " CPUs");
    const TopologyArrays topology = Deal(description, real_cpus);
    ASSERT_EQ(PresentNodes(topology), present);
    ASSERT_EQ(static_cast<int>(topology.cpus.size()), real_cpus);
    for (int cpu = 0; cpu < real_cpus; ++cpu) {
      const int turn = cpu / nodes;
      const int seat = turn % (std::max(caches, 1) * cpus_per_cache);
      ASSERT_EQ(topology.cpus[cpu].node.value, with_cpus[static_cast<size_t>(cpu % nodes)]) << cpu;
      ASSERT_EQ(topology.cpus[cpu].cache_domain, caches > 0 ? seat / cpus_per_cache : 0) << cpu;
    }
    for (const int node : present) {
      const auto at = std::find(with_cpus.begin(), with_cpus.end(), node);
      const bool used = at != with_cpus.end() && at - with_cpus.begin() < real_cpus;
      ASSERT_EQ(topology.nodes[node].has_cpus, used) << node;
    }
  }
}

class RefusedDescription : public testing::TestWithParam<const char*> {};

TEST_P(RefusedDescription, NamesItAndAGoodOne) {
  try {
    LoadTopology(GetParam(), 2);
    FAIL() << "accepted";
  } catch (const std::exception& error) {
    const std::string what = error.what();
    EXPECT_NE(what.find(std::string("\"") + GetParam()), what.npos) << what;
    EXPECT_NE(what.find("\"numa:2 pu:4\""), what.npos) << what;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Bad, RefusedDescription,
    testing::Values("", "   ", "foo", "numa:2", "numa:0 pu:1", "numa:2 pu:-1", "numa:2 pu:0x4",
                    "numa: 2 pu:1", "numa:2 pu:1 garbage", "numa:2(bogus=1) pu:1", "pack:2 [numa",
                    "pack:2 [numa(memory=3] pu:1", "numa:2(indexes=0,1 pu:1",
                    "numa:2 pu:99999999999999999999", "numa:1000000 pu:1", "numa:1025 pu:1",
                    "numa:2048 pu:1", "pack:1025 [numa] pu:1", "numa:2 pu:2000",
                    "numa:1(indexes=1024) pu:1", "numa:2(indexes=0,4000000000) pu:1",
                    "numa:3(indexes=0,2) pu:1", "numa:2(indexes=0,2,4) pu:1",
                    "numa:2(indexes=1,1) pu:1", "numa:2(indexes=0,) pu:1",
                    "pack:2 [numa(indexes=0,3,7)] pu:1", "numa:2 pu:2(indexes=0,0,0,0)"));

TEST(RefusedDescriptionText, LongOnesAreShortened) {
  const std::string description(5000, 'x');
  try {
    LoadTopology(description.c_str(), 2);
    FAIL() << "accepted";
  } catch (const std::exception& error) {
    EXPECT_LT(std::strlen(error.what()), 256u);
  }
}

}  // namespace
}  // namespace numaheap
