// Nodes: the guest's NUMA nodes that have CPUs, as the kernel shows them.
#pragma once

#include <pthread.h>
#include <sched.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace numasim {

// CPUs by node. A node without any is left out.
inline std::vector<std::vector<int>> FindNodes() {
  std::vector<std::vector<int>> nodes;
  for (int node = 0; node < 64; ++node) {
    char path[64];
    std::snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpulist", node);
    FILE* file = std::fopen(path, "r");
    if (file == nullptr) continue;
    std::vector<int> cpus;
    int first, last;
    while (std::fscanf(file, "%d", &first) == 1) {  // 0-1,4
      last = first;
      if (std::fscanf(file, "-%d", &last) < 0) last = first;
      for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
      std::fgetc(file);
    }
    std::fclose(file);
    if (!cpus.empty()) nodes.push_back(cpus);
  }
  return nodes;
}

// Moves the calling thread to a CPU.
inline void MoveTo(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set) != 0) {
    std::perror("pthread_setaffinity_np");
    std::exit(1);
  }
}

}  // namespace numasim
