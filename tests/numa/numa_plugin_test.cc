// The entry, as the core calls it.
#include "numa/numa_plugin.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <type_traits>

namespace numaheap {
namespace {

static_assert(std::is_same_v<decltype(&numaheap_numa_open), NumaPluginOpen>);

TEST(NumaPlugin, OpensTheMachine) {
  NumaPlugin plugin;
  memset(plugin.error, 'x', sizeof plugin.error);
  ASSERT_TRUE(numaheap_numa_open(nullptr, 4, &plugin));
  EXPECT_STREQ(plugin.error, "");
  EXPECT_FALSE(plugin.topology.synthetic);
  EXPECT_EQ(plugin.topology.cpu_limit, 4);
  EXPECT_GE(plugin.topology.CountNodes(), 1);
  EXPECT_TRUE(plugin.placement.bind_range != nullptr && plugin.placement.free_bytes != nullptr &&
              plugin.placement.page_nodes != nullptr);
}

TEST(NumaPlugin, ResultsOutliveFurtherCalls) {
  NumaPlugin first;
  ASSERT_TRUE(numaheap_numa_open("numa:3(indexes=0,2,5) pu:1", 3, &first));
  for (int i = 0; i < 20; ++i) {
    NumaPlugin other;
    ASSERT_TRUE(numaheap_numa_open("numa:2 pu:1", 8, &other));
  }
  EXPECT_EQ(first.topology.node_limit, 6);
  EXPECT_EQ(first.topology.CountNodes(), 3);
  EXPECT_EQ(first.topology.cpus[2].node, NodeId{5});
  EXPECT_EQ(first.topology.Distance(NodeId{0}, NodeId{5}), 20);
}

TEST(NumaPlugin, FailuresAreOneLine) {
  for (const std::string& description :
       {std::string("numa:two pu:1"), std::string("bad\nlines\n"), std::string(1000, 'x')}) {
    NumaPlugin plugin;
    EXPECT_FALSE(numaheap_numa_open(description.c_str(), 2, &plugin));
    EXPECT_NE(std::string(plugin.error).find("\"numa:2 pu:4\""), std::string::npos) << plugin.error;
    EXPECT_EQ(std::string(plugin.error).find('\n'), std::string::npos);
    EXPECT_EQ(plugin.topology.nodes, nullptr);
    EXPECT_EQ(plugin.placement.bind_range, nullptr);
  }
  NumaPlugin plugin;
  EXPECT_FALSE(numaheap_numa_open(nullptr, 0, &plugin));
  EXPECT_STRNE(plugin.error, "");
}

}  // namespace
}  // namespace numaheap
