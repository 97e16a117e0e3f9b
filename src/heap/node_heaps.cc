#include "src/heap/node_heaps.h"

#include <algorithm>
#include <cstring>

namespace numaheap {

bool NodeHeaps::OpenFirst(NodeId node, size_t arena_extra, bool whole_maps) {
  arena_extra_ = arena_extra;
  whole_maps_ = whole_maps;
  first_ = NodeHeap::Create(kernel_, space_.RangeStart(node.value), space_.range_bytes(),
                            arena_extra, node, whole_maps);
  return first_ != nullptr && ResizeTable(space_.ranges()) &&
         (table_.load(std::memory_order_relaxed)[node.value] = first_, true);
}

bool NodeHeaps::ResizeTable(int limit) {
  const int old_limit = limit_.load(std::memory_order_relaxed);
  if (limit <= old_limit) return true;
  auto** table = static_cast<NodeHeap**>(
      first_->arena().Allocate(static_cast<size_t>(limit) * sizeof(NodeHeap*)));
  if (table == nullptr) return false;
  NodeHeap** old_table = table_.load(std::memory_order_relaxed);
  std::fill(std::copy(old_table, old_table + old_limit, table), table + limit, nullptr);
  table_.store(table, std::memory_order_release);
  limit_.store(limit, std::memory_order_release);
  return true;
}

NodeHeap* NodeHeaps::OpenRange(int range, NodeId node) {
  NodeHeap*& entry = table_.load(std::memory_order_relaxed)[range];
  if (entry == nullptr) {
    entry = NodeHeap::Create(kernel_, space_.RangeStart(range), space_.range_bytes(), arena_extra_,
                             node, whole_maps_);
  }
  return entry;
}

bool NodeHeaps::OpenAll(const Topology& topology, bool spill_to_memory_only) {
  // One range behind the last node, for the interleaved heap.
  const int ranges = topology.node_limit + 1;
  if (ranges > space_.ranges() && !space_.Extend(kernel_, ranges - space_.ranges())) return false;
  if (!ResizeTable(ranges)) return false;
  bool all = true;
  for (int i = 0; i < topology.node_limit; ++i) {
    if (topology.nodes[i].present) all &= OpenRange(i, {i}) != nullptr;
  }

  for (NodeMatrix* matrix : {&spilled_, &freed_, &shown_freed_}) {
    void* cells = first_->arena().Allocate(NodeMatrix::BytesFor(ranges));
    if (cells == nullptr) return false;
    std::memset(cells, 0, NodeMatrix::BytesFor(ranges));
    matrix->Open(cells, ranges);
  }

  // The first heap's node may be none of a synthetic topology's.
  const int rows = std::max(topology.node_limit, first_->node().value + 1);
  spill_columns_ = topology.CountNodes();
  spill_order_ = static_cast<NodeId*>(first_->arena().Allocate(
      sizeof(NodeId) * static_cast<size_t>(rows) * static_cast<size_t>(spill_columns_)));
  if (spill_order_ == nullptr) return false;
  for (int from = 0; from < rows; ++from) {
    NodeId* row = spill_order_ + from * spill_columns_;
    const int count = SpillOrder(topology, {from}, row);
    // Nodes that were left out have nothing to give.
    NodeId* end = std::remove_if(row, row + count, [&](NodeId node) {
      return Get(node.value) == nullptr ||
             (!spill_to_memory_only && !topology.nodes[node.value].has_cpus);
    });
    std::fill(end, row + spill_columns_, kNoNode);
  }
  spill_rows_.store(rows, std::memory_order_release);
  return all;
}

NodeHeap* NodeHeaps::OpenInterleaved() {
  NodeHeap* heap = interleaved();
  if (heap == nullptr) {
    heap = OpenRange(limit() - 1, kNoNode);
    interleaved_.store(heap, std::memory_order_release);
  }
  return heap;
}

NodeHeap* NodeHeaps::Next(NodeId from, int n) const {
  const int rows = spill_rows_.load(std::memory_order_acquire);
  if (from == kNoNode || from.value >= rows || n >= spill_columns_) return nullptr;
  const NodeId node = spill_order_[from.value * spill_columns_ + n];
  return node == kNoNode ? nullptr : Get(node.value);
}

NodeHeap* NodeHeaps::Spill(NodeId from, int n) const {
  return spills_.load(std::memory_order_relaxed) ? Next(from, n) : nullptr;
}

NodeHeap& NodeHeaps::Serving(NodeId node) const {
  NodeHeap* own = heap(node);
  if (own != nullptr && own->usable()) return *own;
  for (int n = 0; NodeHeap* next = Next(node, n); ++n) {
    if (next->usable()) return *next;
  }
  NodeHeap* any = nullptr;  // a node that is not meant for this, or that can't give memory either
  ForEach([&](NodeHeap& each) {
    if (each.node() == kNoNode) return;
    if (any == nullptr || (each.usable() && !any->usable())) any = &each;
  });
  return *any;  // the first heap always exists
}

int SpillOrder(const Topology& topology, NodeId from, NodeId* out) {
  const bool known = from.value < topology.node_limit;
  int count = 0;
  for (int i = 0; i < topology.node_limit; ++i) {
    const NodeInfo& info = topology.nodes[i];
    if (NodeId{i} == from || !info.present) continue;
    out[count++] = {i};
  }
  std::sort(out, out + count, [&](NodeId a, NodeId b) {
    const bool cpus_a = topology.nodes[a.value].has_cpus;
    const bool cpus_b = topology.nodes[b.value].has_cpus;
    if (cpus_a != cpus_b) return cpus_a;
    const uint16_t distance_a = known ? topology.Distance(from, a) : 0;
    const uint16_t distance_b = known ? topology.Distance(from, b) : 0;
    return distance_a != distance_b ? distance_a < distance_b : a < b;
  });
  return count;
}

}  // namespace numaheap
