// NodeMatrices: who freed whose memory, and who spilled to whom, by kernel node. Allocates nothing.
#pragma once

#include <cstdint>

#include "src/api/numaheap.h"

namespace numaheap {

class NodeMatrices {
 public:
  NodeMatrices() {
    all_.version = NUMAHEAP_SNAPSHOT_VERSION;
    all_.node_capacity = kMaxNodes;
    all_.nodes = nodes_;
    all_.freed_bytes = freed_bytes_;
    all_.spills = spills_;
    numaheap_snapshot(&all_);
  }
  NodeMatrices(const NodeMatrices&) = delete;
  NodeMatrices& operator=(const NodeMatrices&) = delete;

  // Bytes of `home` that were freed on CPUs of `on`.
  uint64_t freed_bytes(int on, int home) const { return At(freed_bytes_, on, home); }
  // Allocations that wanted `wanted` and got memory of `got`.
  uint64_t spills(int wanted, int got) const { return At(spills_, wanted, got); }

 private:
  static constexpr uint32_t kMaxNodes = 16;

  // 0 for a node without a heap.
  uint64_t At(const uint64_t* matrix, int row, int column) const {
    for (uint32_t i = 0; i < all_.node_count; ++i) {
      for (uint32_t j = 0; j < all_.node_count; ++j) {
        if (nodes_[i].node == row && nodes_[j].node == column) return matrix[i * kMaxNodes + j];
      }
    }
    return 0;
  }

  numaheap_node_snapshot_t nodes_[kMaxNodes];
  uint64_t freed_bytes_[kMaxNodes * kMaxNodes] = {};
  uint64_t spills_[kMaxNodes * kMaxNodes] = {};
  numaheap_snapshot_t all_ = {};
};

}  // namespace numaheap
