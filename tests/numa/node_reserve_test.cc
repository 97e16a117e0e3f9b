// What the kernel keeps back, from the text of /proc/zoneinfo.
#include "numa/node_reserve.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace numaheap {
namespace {

using Reserves = std::vector<uint64_t>;

TEST(NodeReserves, AddsTheZonesOfANode) {
  EXPECT_EQ(NodeReserves("Node 0, zone      DMA\n"
                         "  pages free     3840\n"
                         "        min      16\n"
                         "        high     24\n"
                         "        protection: (0, 2962, 23898, 23898)\n"
                         "Node 0, zone   Normal\n"
                         "        high     7000\n"
                         "        protection: (0, 0)\n"
                         "Node 2, zone   Normal\n"
                         "      high_something 5\n"
                         "        high     10\n"),
            (Reserves{(24 + 23898 + 7000) * 4096, 0, 10 * 4096}));
}

TEST(NodeReserves, WhatIsNotUnderstoodCountsAsNothing) {
  EXPECT_EQ(NodeReserves(""), Reserves{});
  EXPECT_EQ(NodeReserves("high 5\nprotection: (7)\n"), Reserves{}) << "of no node";
  EXPECT_EQ(NodeReserves("Node x, zone\n high 5\n"), Reserves{});
  EXPECT_EQ(NodeReserves("Node 99999999, zone\n high 5\n"), Reserves{});
  EXPECT_EQ(NodeReserves("Node 0, zone\n high\n protection: ()"), Reserves{0});
  EXPECT_EQ(NodeReserves("Node 0, zone\n high 1"), Reserves{4096}) << "no newline at the end";
}

TEST(NodeReserves, OfThisMachine) {
  std::stringstream text;
  text << std::ifstream("/proc/zoneinfo").rdbuf();
  const Reserves reserves = NodeReserves(text.str());
  ASSERT_FALSE(reserves.empty());
  EXPECT_GT(reserves[0], 0u);
  EXPECT_LT(reserves[0], uint64_t{1} << 40);
}

}  // namespace
}  // namespace numaheap
