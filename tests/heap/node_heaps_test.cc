// The heaps of all nodes: which there are, whose an address is, and who helps out when one is full.
#include "src/heap/node_heaps.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "tests/heap/small_space.h"

namespace numaheap {
namespace {

// A topology that a test makes up: nodes by number, CPUs play no part.
class MadeUpTopology {
 public:
  explicit MadeUpTopology(int node_limit)
      : nodes_(static_cast<size_t>(node_limit)),
        distances_(static_cast<size_t>(node_limit) * static_cast<size_t>(node_limit), 20) {
    for (int i = 0; i < node_limit; ++i) SetDistance(i, i, 10);
  }
  // The nodes of `present`, all allowed and with CPUs.
  MadeUpTopology(int node_limit, std::vector<int> present) : MadeUpTopology(node_limit) {
    for (const int i : present) node(i) = {true, true, true, uint64_t{1} << 30};
  }

  NodeInfo& node(int i) { return nodes_[static_cast<size_t>(i)]; }
  void SetDistance(int from, int to, uint16_t distance) {
    distances_[static_cast<size_t>(from) * nodes_.size() + static_cast<size_t>(to)] = distance;
  }
  Topology View() const {
    Topology topology;
    topology.node_limit = static_cast<int>(nodes_.size());
    topology.nodes = nodes_.data();
    topology.cpus = &cpu_;
    topology.distances = distances_.data();
    return topology;
  }

 private:
  std::vector<NodeInfo> nodes_;
  std::vector<uint16_t> distances_;
  CpuInfo cpu_;
};

class NodeHeapsTest : public testing::Test {
 protected:
  static constexpr int kShift = 26;  // 64 MiB a range

  void Reserve(int ranges, void* at = nullptr) {
    small_ = std::make_unique<SmallSpace>(ranges, kShift, at);
    heaps_ = std::make_unique<NodeHeaps>(small_->kernel, small_->space);
  }
  // The first heap on `node`, then all of the topology's.
  bool Open(int node, const MadeUpTopology& topology) {
    Reserve(std::max(node, topology.View().node_limit - 1) + 2);
    return heaps_->OpenFirst({node}, 0) && heaps_->OpenAll(topology.View());
  }

  FakeKernel& kernel() { return small_->kernel; }

  std::vector<int> Ranges() {
    std::vector<int> ranges;
    for (int i = 0; i < heaps_->limit(); ++i) {
      if (heaps_->Get(i) != nullptr) ranges.push_back(i);
    }
    return ranges;
  }
  std::vector<int> SpillsOf(int from) {
    std::vector<int> nodes;
    for (int n = 0; NodeHeap* heap = heaps_->Spill({from}, n); ++n) {
      nodes.push_back(heap->node().value);
    }
    return nodes;
  }
  void* AllocateOn(NodeHeap* heap) {
    void* block = nullptr;
    EXPECT_EQ(heap->AllocateBatch(kSizeMap.ClassOf(64), 0, &block, 1), 1);
    return block;
  }

  std::unique_ptr<SmallSpace> small_;
  std::unique_ptr<NodeHeaps> heaps_;
};

TEST_F(NodeHeapsTest, NothingBeforeTheFirst) {
  Reserve(2);
  EXPECT_EQ(heaps_->limit(), 0);
  EXPECT_EQ(heaps_->heap({0}), nullptr);
  EXPECT_EQ(heaps_->heap(kNoNode), nullptr);
  EXPECT_EQ(heaps_->Get(-1), nullptr);
  EXPECT_EQ(heaps_->HomeOf(small_->space.RangeStart(0)), nullptr);
  EXPECT_EQ(heaps_->Spill({0}, 0), nullptr);
  heaps_->ForEach([](NodeHeap&) { ADD_FAILURE(); });
}

// Before anything is known of the machine there is one heap, on whatever node that is.
TEST_F(NodeHeapsTest, TheFirstStandsAlone) {
  for (const int node : {0, 2}) {
    Reserve(4);
    ASSERT_TRUE(heaps_->OpenFirst({node}, 0));
    NodeHeap* heap = heaps_->heap({node});
    ASSERT_NE(heap, nullptr);
    EXPECT_EQ(heap->node(), NodeId{node});
    EXPECT_EQ(Ranges(), std::vector<int>{node});
    EXPECT_EQ(heaps_->limit(), 4);
    EXPECT_EQ(heaps_->interleaved(), nullptr);
    EXPECT_EQ(heaps_->HomeOf(AllocateOn(heap)), heap);
    EXPECT_EQ(heaps_->Spill({node}, 0), nullptr);
  }
}

TEST_F(NodeHeapsTest, SparseNodes) {
  ASSERT_TRUE(Open(0, MadeUpTopology(6, {0, 2, 5})));
  EXPECT_EQ(Ranges(), (std::vector<int>{0, 2, 5}));
  EXPECT_EQ(heaps_->limit(), 7);
  for (const int node : {0, 2, 5}) EXPECT_EQ(heaps_->heap({node})->node(), NodeId{node});
  for (const int node : {1, 3, 4, 6, 7, 1000}) EXPECT_EQ(heaps_->heap({node}), nullptr) << node;
  std::vector<int> visited;
  heaps_->ForEach([&](NodeHeap& heap) { visited.push_back(heap.node().value); });
  EXPECT_EQ(visited, (std::vector<int>{0, 2, 5}));
}

TEST_F(NodeHeapsTest, TheAddressSaysWhose) {
  ASSERT_TRUE(Open(2, MadeUpTopology(4, {0, 2, 3})));
  for (const int node : {0, 2, 3}) {
    NodeHeap* heap = heaps_->heap({node});
    EXPECT_EQ(heaps_->HomeOf(AllocateOn(heap)), heap);
    char* const start = small_->space.RangeStart(node);
    EXPECT_EQ(heaps_->HomeOf(start), heap);
    EXPECT_EQ(heaps_->HomeOf(start + small_->space.range_bytes() - 1), heap);
  }
  EXPECT_EQ(heaps_->HomeOf(small_->space.RangeStart(1)), nullptr) << "no such node";
  EXPECT_EQ(heaps_->HomeOf(small_->space.RangeStart(4)), nullptr) << "not interleaved yet";
  EXPECT_EQ(heaps_->HomeOf(small_->space.RangeStart(0) - 1), nullptr);
  EXPECT_EQ(heaps_->HomeOf(small_->space.RangeStart(5)), nullptr);
  EXPECT_EQ(heaps_->HomeOf(nullptr), nullptr);
  int on_stack = 0;
  EXPECT_EQ(heaps_->HomeOf(&on_stack), nullptr);
}

// What the first heap has handed out stays valid when the others come.
TEST_F(NodeHeapsTest, TheFirstStaysWhatItWas) {
  Reserve(4);
  ASSERT_TRUE(heaps_->OpenFirst({1}, 0));
  NodeHeap* const first = heaps_->heap({1});
  void* const block = AllocateOn(first);
  std::memset(block, 7, 64);
  ASSERT_TRUE(heaps_->OpenAll(MadeUpTopology(3, {0, 1, 2}).View()));
  EXPECT_EQ(heaps_->heap({1}), first);
  EXPECT_EQ(heaps_->HomeOf(block), first);
  EXPECT_EQ(static_cast<char*>(block)[63], 7);
  first->FreeBatch(kSizeMap.ClassOf(64), 0, &block, 1);
  first->CheckInvariants();
}

// A synthetic topology may have more nodes than the space has ranges.
TEST_F(NodeHeapsTest, MoreNodesThanRanges) {
  // Where there is room behind for what is added.
  LinuxKernel kernel;
  int error = 0;
  constexpr size_t kRoom = size_t{8} << kShift;
  void* const room = kernel.Reserve(nullptr, kRoom, &error);
  ASSERT_NE(room, nullptr);
  kernel.Unreserve(room, kRoom);
  void* const at =
      reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(room) | (kHugePageSize - 1)) + 1);
  Reserve(2, at);
  ASSERT_EQ(small_->space.RangeStart(0), at);
  ASSERT_TRUE(heaps_->OpenFirst({0}, 0));
  NodeHeap* const first = heaps_->heap({0});
  ASSERT_TRUE(heaps_->OpenAll(MadeUpTopology(5, {0, 1, 2, 3, 4}).View()));
  EXPECT_EQ(small_->space.ranges(), 6);
  EXPECT_EQ(heaps_->heap({0}), first);
  EXPECT_EQ(heaps_->limit(), 6);
  EXPECT_EQ(Ranges(), (std::vector<int>{0, 1, 2, 3, 4}));
  NodeHeap* const interleaved = heaps_->OpenInterleaved();
  ASSERT_NE(interleaved, nullptr);
  EXPECT_EQ(heaps_->Get(5), interleaved);
}

// The boot heap's node may be none of a synthetic topology's.
TEST_F(NodeHeapsTest, TheFirstMayLieOutsideTheTopology) {
  ASSERT_TRUE(Open(3, MadeUpTopology(2, {0, 1})));
  EXPECT_EQ(Ranges(), (std::vector<int>{0, 1, 3}));
  EXPECT_NE(heaps_->heap({3}), nullptr);
  EXPECT_EQ(SpillsOf(0), std::vector<int>{1});
}

TEST_F(NodeHeapsTest, TheInterleavedHeapIsBehindTheLastNode) {
  ASSERT_TRUE(Open(0, MadeUpTopology(3, {0, 2})));
  EXPECT_EQ(heaps_->interleaved(), nullptr);
  NodeHeap* const heap = heaps_->OpenInterleaved();
  ASSERT_NE(heap, nullptr);
  EXPECT_EQ(heap->node(), kNoNode);
  EXPECT_EQ(heaps_->Get(3), heap);
  EXPECT_EQ(heaps_->heap(kNoNode), heap);
  EXPECT_EQ(heaps_->heap({3}), nullptr) << "no node's";
  EXPECT_EQ(heaps_->Serving({3}).node(), NodeId{0});
  EXPECT_EQ(heaps_->interleaved(), heap);
  EXPECT_EQ(heaps_->OpenInterleaved(), heap) << "it is opened once";
  EXPECT_EQ(heaps_->HomeOf(AllocateOn(heap)), heap);
  EXPECT_EQ(SpillsOf(0), std::vector<int>{2}) << "nobody spills there";
  EXPECT_EQ(heaps_->Spill(kNoNode, 0), nullptr) << "nor from there";
}

TEST_F(NodeHeapsTest, TheInterleavedHeapIsTriedForAgain) {
  ASSERT_TRUE(Open(0, MadeUpTopology(2, {0, 1})));
  kernel().FailFrom(FakeKernel::kCommit, 1);
  EXPECT_EQ(heaps_->OpenInterleaved(), nullptr);
  EXPECT_EQ(heaps_->heap(kNoNode), nullptr);
  EXPECT_EQ(heaps_->HomeOf(small_->space.RangeStart(2)), nullptr);
  kernel().FailNothing();
  EXPECT_NE(heaps_->OpenInterleaved(), nullptr);
}

// ---- Memory that can't be had ------------------------------------------------------------------

TEST_F(NodeHeapsTest, NodesWithoutMemoryAreLeftOut) {
  const MadeUpTopology topology(4, {0, 1, 2, 3});
  Reserve(5);
  ASSERT_TRUE(heaps_->OpenFirst({0}, 0));
  kernel().FailOnce(1);  // the first call for node 1
  EXPECT_FALSE(heaps_->OpenAll(topology.View()));
  kernel().FailNothing();
  EXPECT_EQ(Ranges(), (std::vector<int>{0, 2, 3}));
  EXPECT_EQ(heaps_->HomeOf(small_->space.RangeStart(1)), nullptr);
  for (const int node : {0, 2, 3}) EXPECT_NE(AllocateOn(heaps_->heap({node})), nullptr);
}

TEST_F(NodeHeapsTest, WithoutAddressesTheFirstHeapServesOn) {
  Reserve(2);
  ASSERT_TRUE(heaps_->OpenFirst({0}, 0));
  kernel().FailFrom(FakeKernel::kReserve, 1);
  EXPECT_FALSE(heaps_->OpenAll(MadeUpTopology(4, {0, 1, 2, 3}).View()));
  EXPECT_EQ(Ranges(), std::vector<int>{0});
  EXPECT_EQ(heaps_->HomeOf(AllocateOn(heaps_->heap({0}))), heaps_->heap({0}));
  EXPECT_EQ(heaps_->Spill({0}, 0), nullptr);
}

TEST_F(NodeHeapsTest, TheNthCallWhileOpeningIsRefused) {
  const MadeUpTopology topology(4, {0, 1, 3});
  for (int n = 1;; ++n) {
    SCOPED_TRACE(n);
    Reserve(5);
    const int before = kernel().count_all();
    kernel().FailOnce(n);
    bool first = heaps_->OpenFirst({1}, 0);
    if (!first) {
      // The next malloc tries again.
      ASSERT_TRUE(heaps_->OpenFirst({1}, 0));
    }
    const bool all = heaps_->OpenAll(topology.View());
    NodeHeap* const interleaved = heaps_->OpenInterleaved();
    const bool refused = kernel().count_all() - before >= n;
    kernel().FailNothing();

    ASSERT_EQ(heaps_->heap({1})->node(), NodeId{1});
    ASSERT_EQ(all, heaps_->heap({0}) != nullptr && heaps_->heap({3}) != nullptr);
    ASSERT_EQ(heaps_->interleaved(), interleaved);
    heaps_->ForEach([&](NodeHeap& heap) {
      void* block = AllocateOn(&heap);
      ASSERT_EQ(heaps_->HomeOf(block), &heap);
      heap.FreeBatch(kSizeMap.ClassOf(64), 0, &block, 1);
      heap.CheckInvariants();
    });
    for (const int from : {0, 1, 2, 3}) {
      for (const int node : SpillsOf(from)) ASSERT_NE(node, from);
    }
    // What was left out can be had by opening again.
    ASSERT_TRUE(heaps_->OpenAll(topology.View()));
    ASSERT_NE(heaps_->OpenInterleaved(), nullptr);
    ASSERT_EQ(Ranges(), (std::vector<int>{0, 1, 3, 4}));
    ASSERT_EQ(SpillsOf(1), (std::vector<int>{0, 3}));
    if (!refused) {
      EXPECT_GT(n, 12) << "opening takes many calls";
      break;
    }
  }
}

// ---- Who helps out -----------------------------------------------------------------------------

TEST_F(NodeHeapsTest, SpillsToTheNearestFirst) {
  MadeUpTopology topology(4, {0, 1, 2, 3});
  topology.SetDistance(0, 1, 32);
  topology.SetDistance(0, 2, 16);
  topology.SetDistance(0, 3, 24);
  topology.SetDistance(3, 0, 12);
  ASSERT_TRUE(Open(0, topology));
  EXPECT_EQ(SpillsOf(0), (std::vector<int>{2, 3, 1}));
  EXPECT_EQ(SpillsOf(1), (std::vector<int>{0, 2, 3})) << "of equals by number";
  EXPECT_EQ(SpillsOf(3), (std::vector<int>{0, 1, 2})) << "as far as it is from here";
  EXPECT_EQ(heaps_->Spill({0}, 3), nullptr);
  EXPECT_EQ(heaps_->Spill({0}, 1000), nullptr);
}

TEST_F(NodeHeapsTest, SpillsPastANodeThatWasLeftOut) {
  Reserve(5);
  ASSERT_TRUE(heaps_->OpenFirst({0}, 0));
  kernel().FailOnce(1);  // node 1 gets nothing
  ASSERT_FALSE(heaps_->OpenAll(MadeUpTopology(4, {0, 1, 2, 3}).View()));
  ASSERT_EQ(heaps_->heap({1}), nullptr);
  EXPECT_EQ(SpillsOf(0), (std::vector<int>{2, 3}));
}

TEST_F(NodeHeapsTest, MemoryOnlyNodesMayBeKeptOut) {
  Reserve(4);
  MadeUpTopology topology(3, {0, 1, 2});
  topology.node(1).has_cpus = false;
  ASSERT_TRUE(heaps_->OpenFirst({0}, 0));
  ASSERT_TRUE(heaps_->OpenAll(topology.View(), /*spill_to_memory_only=*/false));
  EXPECT_NE(heaps_->heap({1}), nullptr) << "for who asks for it by name";
  EXPECT_EQ(SpillsOf(0), (std::vector<int>{2}));
  EXPECT_EQ(SpillsOf(1), (std::vector<int>{0, 2}));
}

TEST_F(NodeHeapsTest, SpillsCanBeStopped) {
  ASSERT_TRUE(Open(0, MadeUpTopology(3, {0, 1, 2})));
  ASSERT_EQ(SpillsOf(0).size(), 2u);
  heaps_->StopSpills();
  EXPECT_TRUE(SpillsOf(0).empty());
}

// ---- Who serves --------------------------------------------------------------------------------

TEST_F(NodeHeapsTest, ANodeServesItselfWhileItIsUsable) {
  MadeUpTopology topology(4, {0, 1, 2, 3});
  topology.node(1).has_cpus = false;
  topology.SetDistance(0, 1, 11);
  topology.SetDistance(0, 2, 40);
  ASSERT_TRUE(Open(0, topology));
  const auto serving = [&](int node) { return heaps_->Serving({node}).node().value; };
  const auto set = [&](int node, bool usable) { heaps_->heap({node})->SetUsable(usable); };
  EXPECT_EQ(serving(0), 0);
  set(0, false);
  EXPECT_EQ(serving(0), 3) << "the nearest with CPUs";
  set(3, false);
  EXPECT_EQ(serving(0), 2);
  heaps_->StopSpills();
  EXPECT_EQ(serving(0), 2) << "whose node is lost has to go somewhere";
  set(2, false);
  EXPECT_EQ(serving(0), 1) << "memory-only ones last";
  set(0, true);
  EXPECT_EQ(serving(0), 0);
  EXPECT_EQ(serving(7), 0) << "a node without heap";
}

TEST_F(NodeHeapsTest, SomebodyServesAlways) {
  Reserve(4);
  MadeUpTopology topology(3, {0, 1, 2});
  topology.node(1).has_cpus = false;
  ASSERT_TRUE(heaps_->OpenFirst({0}, 0));
  ASSERT_TRUE(heaps_->OpenAll(topology.View(), /*spill_to_memory_only=*/false));
  ASSERT_NE(heaps_->OpenInterleaved(), nullptr);
  for (const int node : {0, 2}) heaps_->heap({node})->SetUsable(false);
  EXPECT_EQ(heaps_->Serving({0}).node().value, 1) << "better than nothing";
  heaps_->heap({1})->SetUsable(false);
  EXPECT_EQ(heaps_->Serving({2}).node().value, 0) << "never the interleaved one";
}

// The first heap is the one of a real node; the topology may be synthetic and smaller.
TEST_F(NodeHeapsTest, SpillsFromOutsideTheTopology) {
  ASSERT_TRUE(Open(3, MadeUpTopology(2, {0, 1})));
  EXPECT_EQ(SpillsOf(3), (std::vector<int>{0, 1}));
  EXPECT_TRUE(SpillsOf(4).empty());
}

std::vector<int> Order(const MadeUpTopology& topology, int from) {
  std::vector<NodeId> nodes(static_cast<size_t>(topology.View().node_limit));
  const int count = SpillOrder(topology.View(), {from}, nodes.data());
  std::vector<int> order;
  for (int i = 0; i < count; ++i) order.push_back(nodes[static_cast<size_t>(i)].value);
  return order;
}

TEST(SpillOrderTest, OneNodeHasNobody) {
  EXPECT_TRUE(Order(MadeUpTopology(1, {0}), 0).empty());
  EXPECT_TRUE(Order(MadeUpTopology(9, {8}), 8).empty());
}

TEST(SpillOrderTest, MemoryOnlyNodesLast) {
  MadeUpTopology topology(5, {0, 1, 2, 3, 4});
  topology.node(1).has_cpus = false;
  topology.node(3).has_cpus = false;
  topology.SetDistance(0, 1, 11);  // near, but an expander
  topology.SetDistance(0, 2, 40);
  topology.SetDistance(0, 4, 30);
  topology.SetDistance(0, 3, 11);
  EXPECT_EQ(Order(topology, 0), (std::vector<int>{4, 2, 1, 3}));
  EXPECT_EQ(Order(topology, 1), (std::vector<int>{0, 2, 4, 3})) << "an expander may ask too";
}

TEST(SpillOrderTest, WhatIsNotAllowedNowMayBeLater) {
  MadeUpTopology topology(4, {0, 1, 2, 3});
  topology.node(1).allowed = false;
  EXPECT_EQ(Order(topology, 0), (std::vector<int>{1, 2, 3}));
}

TEST(SpillOrderTest, AbsentNodesAreNotAsked) {
  EXPECT_EQ(Order(MadeUpTopology(8, {1, 4, 7}), 4), (std::vector<int>{1, 7}));
  EXPECT_EQ(Order(MadeUpTopology(8, {1, 4, 7}), 2), (std::vector<int>{1, 4, 7}));
}

// Every node but the asking one is there once, and no two neighbours stand the wrong way.
TEST(SpillOrderTest, RandomTopologies) {
  std::mt19937 random(20240615);
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  for (int round = 0; round < 2'000; ++round) {
    const int limit = pick(1, 20);
    MadeUpTopology topology(limit);
    std::set<int> askable;
    for (int i = 0; i < limit; ++i) {
      NodeInfo& node = topology.node(i);
      node.present = pick(0, 3) > 0;
      node.has_cpus = pick(0, 2) > 0;
      if (node.present) askable.insert(i);
      for (int to = 0; to < limit; ++to) {  // few values, so that there are ties
        if (to != i) topology.SetDistance(i, to, static_cast<uint16_t>(10 + 10 * pick(1, 4)));
      }
    }
    const int from = pick(0, limit - 1);
    askable.erase(from);
    const std::vector<int> order = Order(topology, from);
    ASSERT_EQ(std::set<int>(order.begin(), order.end()), askable);
    ASSERT_EQ(order.size(), askable.size());
    const auto rank = [&](int node) {
      return std::tuple(!topology.node(node).has_cpus, topology.View().Distance({from}, {node}),
                        node);
    };
    for (size_t i = 1; i < order.size(); ++i) ASSERT_LT(rank(order[i - 1]), rank(order[i]));
  }
}

}  // namespace
}  // namespace numaheap
