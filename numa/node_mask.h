// NodeMask: a set of kernel nodes in the layout that mbind(2) takes.
//
// A plain value, on the stack: no allocation, no synchronisation.
#pragma once

#include "src/base/ids.h"

namespace numaheap {

// Linux builds have at most 2^CONFIG_NODES_SHIFT nodes, and the shift is at most 10.
inline constexpr int kMaxNodes = 1024;

class NodeMask {
 public:
  // False, and the mask is unchanged, when no kernel can have such a node.
  bool Add(NodeId node) {
    if (node.value < 0 || node.value >= kMaxNodes) return false;
    words_[node.value / kWordBits] |= 1UL << (node.value % kWordBits);
    return true;
  }

  const unsigned long* words() const { return words_; }

  // What to pass as maxnode: the kernel reads one bit less than it is told.
  static constexpr unsigned long kMaxNodeArgument = kMaxNodes + 1;

 private:
  static constexpr int kWordBits = 8 * sizeof(unsigned long);
  unsigned long words_[kMaxNodes / kWordBits] = {};
};

}  // namespace numaheap
