// Affinity: the CPUs that the calling thread may use. Puts them back at the end.
#pragma once

#include <sched.h>

#include <vector>

namespace numaheap {

class Affinity {
 public:
  Affinity() {
    if (sched_getaffinity(0, sizeof before_, &before_) != 0) CPU_ZERO(&before_);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &before_)) cpus_.push_back(cpu);
    }
  }
  ~Affinity() { sched_setaffinity(0, sizeof before_, &before_); }
  Affinity(const Affinity&) = delete;
  Affinity& operator=(const Affinity&) = delete;

  // By rising number.
  const std::vector<int>& cpus() const { return cpus_; }

  // Moves the caller, or the thread `tid`, to that CPU, where it stays. False when it may not go
  // there.
  static bool Pin(int cpu, pid_t tid = 0) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    return sched_setaffinity(tid, sizeof one, &one) == 0;
  }

 private:
  cpu_set_t before_;
  std::vector<int> cpus_;
};

}  // namespace numaheap
