// A snapshot of numaheap's heaps that owns its array.
#pragma once

#include <cstdint>

#include "src/api/numaheap.h"

namespace numaheap {

class Snapshot {
 public:
  static constexpr uint32_t kMaxNodes = 64;

  // Allocates nothing, so that two of them differ by what happened between them alone.
  Snapshot() {
    all_.version = NUMAHEAP_SNAPSHOT_VERSION;
    all_.node_capacity = kMaxNodes;
    all_.nodes = nodes_;
    error_ = numaheap_snapshot(&all_);
  }
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  int error() const { return error_; }
  const numaheap_snapshot_t& all() const { return all_; }
  const numaheap_node_snapshot_t* begin() const { return nodes_; }
  const numaheap_node_snapshot_t* end() const { return nodes_ + all_.node_count; }

  // The heap of that node, or null.
  const numaheap_node_snapshot_t* Find(int node) const {
    for (const numaheap_node_snapshot_t& heap : *this) {
      if (heap.node == node) return &heap;
    }
    return nullptr;
  }

  uint64_t Sum(uint64_t numaheap_node_snapshot_t::*field) const {
    uint64_t sum = 0;
    for (const numaheap_node_snapshot_t& heap : *this) sum += heap.*field;
    return sum;
  }
  uint64_t Frees() const {
    return Sum(&numaheap_node_snapshot_t::frees_local) +
           Sum(&numaheap_node_snapshot_t::frees_remote);
  }

  bool StatesAddUp() const {
    for (const numaheap_node_snapshot_t& heap : *this) {
      if (heap.in_use_bytes + heap.idle_bytes + heap.released_bytes != heap.committed_bytes) {
        return false;
      }
    }
    return true;
  }

 private:
  numaheap_node_snapshot_t nodes_[kMaxNodes];
  numaheap_snapshot_t all_ = {};
  int error_;
};

// Bytes that were freed on CPUs of node `from` and belonged to the heap of node `home`.
inline uint64_t FreedBytes(int from, int home) {
  constexpr uint32_t kNodes = 8;
  numaheap_node_snapshot_t nodes[kNodes];
  uint64_t freed[kNodes * kNodes] = {};
  numaheap_snapshot_t snapshot = {};
  snapshot.version = NUMAHEAP_SNAPSHOT_VERSION;
  snapshot.node_capacity = kNodes;
  snapshot.nodes = nodes;
  snapshot.freed_bytes = freed;
  if (numaheap_snapshot(&snapshot) != 0) return UINT64_MAX;
  uint32_t i = 0, j = 0;
  while (i + 1 < snapshot.node_count && nodes[i].node != from) ++i;
  while (j + 1 < snapshot.node_count && nodes[j].node != home) ++j;
  return freed[i * kNodes + j];
}

}  // namespace numaheap
