// NodeHeaps: the heaps of all nodes, found by node or by address, and the order in which another
// node helps out when one is full.
//
// Opened while starting, by one thread at a time; afterwards everything is constant, but for which
// heaps are usable, and may be read by any thread.
#pragma once

#include <atomic>

#include "numa/topology.h"
#include "src/heap/node_heap.h"
#include "src/os/address_space.h"
#include "src/stats/node_matrix.h"

namespace numaheap {

class NodeHeaps {
 public:
  constexpr NodeHeaps(Kernel& kernel, AddressSpace& space) : kernel_(kernel), space_(space) {}

  // Opens the first heap, before anything is known but the node of the caller. `arena_extra`: bytes
  // of address space for records per heap, beside those of spans; `whole_maps`: see
  // NodeHeap::Create.
  bool OpenFirst(NodeId node, size_t arena_extra, bool whole_maps = false);

  // Opens the heaps of all nodes of the topology. Nodes for which memory can't be had are left out;
  // false if there are any. `spill_to_memory_only`: whether nodes without CPUs help others out.
  bool OpenAll(const Topology& topology, bool spill_to_memory_only = true);

  // From now on no full node is helped out by another.
  void StopSpills() { spills_.store(false, std::memory_order_relaxed); }

  // Opens the interleaved heap, behind the last node. Null when memory can't be had. After OpenAll,
  // by one thread at a time.
  NodeHeap* OpenInterleaved();

  // Null for a node that has no heap.
  NodeHeap* heap(NodeId node) const {
    if (node == kNoNode) return interleaved();
    NodeHeap* heap = Get(node.value);
    return heap != nullptr && heap->node() == node ? heap : nullptr;
  }
  NodeHeap* interleaved() const { return interleaved_.load(std::memory_order_acquire); }

  // The heap that owns `ptr`, or null.
  NodeHeap* HomeOf(const void* ptr) const { return Get(space_.HomeOf(ptr)); }

  // Range numbers go from 0 to limit() - 1; Get() is null where there is no heap.
  int limit() const { return limit_.load(std::memory_order_acquire); }
  NodeHeap* Get(int range) const {
    return static_cast<unsigned>(range) < static_cast<unsigned>(limit())
               ? table_.load(std::memory_order_acquire)[range]
               : nullptr;
  }

  // The n-th node to ask for memory after `from`, nearest first, memory-only nodes last, usable or
  // not; null at the end.
  NodeHeap* Spill(NodeId from, int n) const;

  // The heap for CPUs of `node`: its own, or, while that is not usable, the next one that is.
  NodeHeap& Serving(NodeId node) const;

  int RangeOf(const NodeHeap& heap) const {
    return heap.node() == kNoNode ? limit() - 1 : heap.node().value;
  }

  // Allocations that wanted one heap and got memory of another: [wanted][got].
  NodeMatrix& spilled() { return spilled_; }
  // Bytes by who freed them, of what did not go into a CPU's cache: [freeing CPU's node][home].
  NodeMatrix& freed() { return freed_; }
  // What snapshots have shown of its sum with what the CPU caches count.
  NodeMatrix& shown_freed() { return shown_freed_; }

  template <typename Visit>
  void ForEach(Visit visit) const {
    for (int i = 0; i < limit(); ++i) {
      if (NodeHeap* heap = Get(i)) visit(*heap);
    }
  }

 private:
  friend struct Inspection;  // src/api/inspection.h

  bool ResizeTable(int limit);
  NodeHeap* OpenRange(int range, NodeId node);
  NodeHeap* Next(NodeId from, int n) const;

  Kernel& kernel_;
  AddressSpace& space_;
  size_t arena_extra_ = 0;
  bool whole_maps_ = false;
  NodeHeap* first_ = nullptr;
  std::atomic<NodeHeap*> interleaved_{nullptr};
  std::atomic<NodeHeap**> table_{nullptr};  // [limit_], in the first heap's arena
  std::atomic<int> limit_{0};
  NodeMatrix spilled_, freed_, shown_freed_;
  std::atomic<bool> spills_{true};
  std::atomic<int> spill_rows_{0};  // written last
  int spill_columns_ = 0;
  NodeId* spill_order_ = nullptr;  // [spill_rows_ * spill_columns_], kNoNode behind the last
};

// The order in which `from` asks other nodes: by distance, of equals by number, nodes without CPUs
// after all others; by number alone if the topology does not know `from`. Writes the ids to `out`,
// which has room for every node, and returns how many they are. Pure.
int SpillOrder(const Topology& topology, NodeId from, NodeId* out);

}  // namespace numaheap
