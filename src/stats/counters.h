// Counter: a number of events since start that any thread may raise and any thread may read.
//
// Relaxed: a reader sees each counter whole, but two counters may be from different moments.
#pragma once

#include <atomic>
#include <cstdint>

namespace numaheap {

class Counter {
 public:
  void Add(uint64_t n) { value_.fetch_add(n, std::memory_order_release); }
  uint64_t Get() const { return value_.load(std::memory_order_acquire); }

  // For a number that is put together from several counters, which may be a little apart: never
  // goes back. Returns the value it has now.
  uint64_t RaiseTo(uint64_t value) {
    uint64_t now = Get();
    while (now < value && !value_.compare_exchange_weak(now, value, std::memory_order_relaxed)) {
    }
    return now < value ? value : now;
  }

 private:
  std::atomic<uint64_t> value_{0};
};

// What slow paths count for one heap; the CPU caches count their own hits (src/cache/cpu_slab.h).
struct HeapCounters {
  Counter allocations;      // objects that did not come out of a CPU cache
  Counter allocated_bytes;  // their usable size
  Counter frees_local;      // objects that did not go into a CPU cache
  Counter frees_remote;     // objects that came home from other nodes

  // What snapshots have shown of the sums with what the CPU caches count.
  Counter shown_allocations, shown_allocated_bytes, shown_frees_local;
};

}  // namespace numaheap
