// A made-up process for the exporter: heaps, modes and failures are set by the test, and what the
// exporter said is kept. One per process, since the host's functions carry no pointer.
#pragma once

#include <cerrno>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "exporters/prometheus/prometheus_plugin.h"

namespace numaheap::exporters {

class FakeHost {
 public:
  static FakeHost& Get() {
    static FakeHost* const host = new FakeHost;
    return *host;
  }

  static numaheap_exporter_host Entries() {
    return {
        .snapshot = [](numaheap_snapshot_t* snapshot) { return Get().Snapshot(snapshot); },
        .version = []() -> const char* { return "1.2.3"; },
        .report = [](const char* line) { Get().lines.push_back(line); },
        .bound = [](const char* address) { Get().bound.push_back(address); },
    };
  }

  // Two heaps with sparse numbers and the interleaved one. Every field of every heap has a value of
  // its own, in the order of the struct: 1,000,000 for the CPUs of the first heap, then one more.
  void SetHeaps() {
    const std::lock_guard lock(mutex_);
    nodes_.clear();
    for (int node : {-1, 0, 5}) nodes_.push_back(DistinctHeap(node, nodes_.size() + 1));
  }

  void SetNodes(std::vector<numaheap_node_snapshot_t> nodes) {
    const std::lock_guard lock(mutex_);
    nodes_ = std::move(nodes);
  }

  void SetModes(uint32_t cache, uint32_t placement) {
    const std::lock_guard lock(mutex_);
    cache_mode_ = cache;
    placement_mode_ = placement;
  }

  // Called at the start of every snapshot; what it returns, if not 0, fails that snapshot.
  void SetInterruption(std::function<int(FakeHost&)> interruption) {
    const std::lock_guard lock(mutex_);
    interruption_ = std::move(interruption);
  }

  // For an interruption, which runs with the lock held.
  void AddNode(const numaheap_node_snapshot_t& node) { nodes_.push_back(node); }

  static numaheap_node_snapshot_t DistinctHeap(int node, uint64_t position) {
    uint64_t next = 1'000'000 * position;
    numaheap_node_snapshot_t heap{};
    heap.node = node;
    heap.cpus = static_cast<uint32_t>(next++);
    for (uint64_t* field = &heap.reserved_bytes; field <= &heap.failed_growths; ++field) {
      *field = next++;
    }
    return heap;
  }

  // Written by the thread that calls the plugin.
  std::vector<std::string> lines;
  std::vector<std::string> bound;

 private:
  int Snapshot(numaheap_snapshot_t* snapshot) {
    const std::lock_guard lock(mutex_);
    if (interruption_) {
      const int error = interruption_(*this);
      if (error != 0) return error;
    }
    if (snapshot->version != NUMAHEAP_SNAPSHOT_VERSION) return EINVAL;
    for (size_t i = 0; i < nodes_.size() && i < snapshot->node_capacity; ++i) {
      snapshot->nodes[i] = nodes_[i];
    }
    for (size_t i = 0; i < nodes_.size() && i < snapshot->node_capacity; ++i) {
      for (size_t j = 0; j < nodes_.size() && j < snapshot->node_capacity; ++j) {
        const size_t index = i * snapshot->node_capacity + j;
        if (snapshot->freed_bytes != nullptr) snapshot->freed_bytes[index] = 9'100'000 + 10 * i + j;
        if (snapshot->spills != nullptr) snapshot->spills[index] = 9'200'000 + 10 * i + j;
      }
      // Each heap has spans of two classes.
      for (uint32_t c = 1; c < 4 && c < snapshot->class_capacity; ++c) {
        numaheap_class_snapshot_t& entry = snapshot->classes[i * snapshot->class_capacity + c];
        entry = {100 * c, c == 2 ? 0 : 1 + i, 10 * c + i, 1000 * c + i};
      }
    }
    snapshot->class_count = 4;
    snapshot->node_count = static_cast<uint32_t>(nodes_.size());
    snapshot->cache_mode = cache_mode_;
    snapshot->placement_mode = placement_mode_;
    snapshot->reservation_halvings = 7;
    return 0;
  }

  std::mutex mutex_;
  std::vector<numaheap_node_snapshot_t> nodes_;
  std::function<int(FakeHost&)> interruption_;
  uint32_t cache_mode_ = NUMAHEAP_CACHE_RSEQ;
  uint32_t placement_mode_ = NUMAHEAP_PLACEMENT_PREFERRED;
};

}  // namespace numaheap::exporters
