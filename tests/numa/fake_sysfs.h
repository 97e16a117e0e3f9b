// FakeSysfs: a machine written as a tree of sysfs files, read by hwloc's own Linux code.
//
// The tree lies in a temporary directory and goes with the object.
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "numa/hwloc_topology.h"

namespace numaheap {

class FakeSysfs {
 public:
  struct Node {
    int id = 0;
    std::vector<int> cpus;  // online ones, as the kernel lists them
    uint64_t memory_bytes = 0;
    std::string distances;  // the file's line; "" leaves the file out
  };

  FakeSysfs() {
    char name[] = "/tmp/numaheap-sysfs-XXXXXX";
    root_ = mkdtemp(name);
  }
  ~FakeSysfs() { std::filesystem::remove_all(root_); }
  FakeSysfs(const FakeSysfs&) = delete;
  FakeSysfs& operator=(const FakeSysfs&) = delete;

  void AddNodes(const std::vector<Node>& nodes) {
    std::string online;
    for (const Node& node : nodes) {
      online += (online.empty() ? "" : ",") + std::to_string(node.id);
      const std::string folder = "sys/devices/system/node/node" + std::to_string(node.id) + "/";
      Write(folder + "cpumap", Mask(node.cpus));
      Write(folder + "meminfo", "Node " + std::to_string(node.id) + " MemTotal: " +
                                    std::to_string(node.memory_bytes / 1024) + " kB\n");
      if (!node.distances.empty()) Write(folder + "distance", node.distances + "\n");
    }
    Write("sys/devices/system/node/online", online + "\n");
  }

  // `caches`: the sets of CPUs that share a third-level cache.
  void AddCpus(int possible, const std::vector<int>& online,
               const std::vector<std::vector<int>>& caches) {
    std::string list;
    for (int cpu = 0; cpu < possible; ++cpu) {
      std::filesystem::create_directories(root_ + "/" + Cpu(cpu));
    }
    for (const int cpu : online) {
      list += (list.empty() ? "" : ",") + std::to_string(cpu);
      Write(Cpu(cpu) + "topology/core_cpus", Mask({cpu}));
      Write(Cpu(cpu) + "topology/package_cpus", Mask(online));
    }
    for (const std::vector<int>& cache : caches) {
      for (const int cpu : cache) {
        Write(Cpu(cpu) + "cache/index0/level", "3\n");
        Write(Cpu(cpu) + "cache/index0/type", "Unified\n");
        Write(Cpu(cpu) + "cache/index0/size", "32768K\n");
        Write(Cpu(cpu) + "cache/index0/shared_cpu_map", Mask(cache));
      }
    }
    Write("sys/devices/system/cpu/online", list + "\n");
    Write("proc/cpuinfo", "");
  }

  HwlocTopology Load() const {
    // LoadHwloc clears the environment of HWLOC_* before it calls us and restores it afterwards.
    std::string root = "HWLOC_FSROOT=" + root_;
    std::vector<char*> variables;
    return LoadHwloc([&](hwloc_topology_t) {
      for (char** variable = environ; *variable != nullptr; ++variable) {
        variables.push_back(*variable);
      }
      variables.insert(variables.end(), {root.data(), nullptr});
      environ = variables.data();
      return 0;
    });
  }

  TopologyArrays Read(int cpu_limit) const { return ReadMachine(Load().get(), cpu_limit); }

 private:
  static std::string Cpu(int cpu) {
    return "sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/";
  }

  static std::string Mask(const std::vector<int>& cpus) {  // CPUs below 32
    uint32_t mask = 0;
    for (const int cpu : cpus) mask |= uint32_t{1} << cpu;
    char text[16];
    snprintf(text, sizeof text, "%08x\n", mask);
    return text;
  }

  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ + "/" + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }

  std::string root_;
};

}  // namespace numaheap
