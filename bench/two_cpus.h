// What the benchmarks with threads on two CPUs share: staying on one, and waiting for the other.
#pragma once

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <cstdint>

#include "bench/block.h"

namespace numaheap::bench {

inline constexpr size_t kCacheLine = 64;

// The CPUs that the calling thread may run on.
inline cpu_set_t AllowedCpus() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) DieOf("sched_getaffinity", nullptr);
  return allowed;
}

// Keeps the calling thread on the nth of the CPUs in `allowed`, until destroyed.
class PinnedToNth {
 public:
  PinnedToNth(int n, const cpu_set_t& allowed) : allowed_(allowed) {
    int cpu = 0;
    while (!CPU_ISSET(cpu, &allowed_) || n-- > 0) ++cpu;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    MoveTo(one);
  }
  ~PinnedToNth() { MoveTo(allowed_); }
  PinnedToNth(const PinnedToNth&) = delete;
  PinnedToNth& operator=(const PinnedToNth&) = delete;

 private:
  static void MoveTo(const cpu_set_t& cpus) {
    if (pthread_setaffinity_np(pthread_self(), sizeof cpus, &cpus) != 0) {
      DieOf("pthread_setaffinity_np", nullptr);
    }
  }

  const cpu_set_t allowed_;
};

// Waits until `count` isn't `old` any more. Spins for some microseconds; then the other may need
// this CPU.
inline uint64_t AwaitChange(const std::atomic<uint64_t>& count, uint64_t old) {
  constexpr int kSpins = 1000;
  for (int spins = 0;; ++spins) {
    const uint64_t now = count.load(std::memory_order_acquire);
    if (now != old) return now;
    if (spins >= kSpins) sched_yield();
  }
}

}  // namespace numaheap::bench
