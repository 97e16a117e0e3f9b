// NodeMatrix: a count for each pair of heaps, by range number: [from][to].
//
// Made once, while starting; until then it counts nothing. Thread-safe, relaxed.
#pragma once

#include "src/stats/counters.h"

namespace numaheap {

class NodeMatrix {
 public:
  constexpr NodeMatrix() = default;

  static size_t BytesFor(int limit) {
    return static_cast<size_t>(limit) * static_cast<size_t>(limit) * sizeof(Counter);
  }
  // `zeros`: BytesFor(limit) bytes, which stay with this object.
  void Open(void* zeros, int limit) {
    limit_ = limit;
    cells_.store(static_cast<Counter*>(zeros), std::memory_order_release);
  }

  void Add(int from, int to, uint64_t n) {
    if (Counter* cells = cells_.load(std::memory_order_acquire)) cells[Index(from, to)].Add(n);
  }
  // As Counter's; 0 before there are cells.
  uint64_t RaiseTo(int from, int to, uint64_t n) {
    Counter* cells = cells_.load(std::memory_order_acquire);
    return cells == nullptr ? 0 : cells[Index(from, to)].RaiseTo(n);
  }
  uint64_t Get(int from, int to) const {
    const Counter* cells = cells_.load(std::memory_order_acquire);
    return cells == nullptr ? 0 : cells[Index(from, to)].Get();
  }

 private:
  size_t Index(int from, int to) const {
    return static_cast<size_t>(from) * static_cast<size_t>(limit_) + static_cast<size_t>(to);
  }

  int limit_ = 0;
  std::atomic<Counter*> cells_{nullptr};
};

}  // namespace numaheap
