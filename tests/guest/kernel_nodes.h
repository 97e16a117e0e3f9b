// KernelNodes: the machine's nodes as sysfs tells of them, without numaheap or hwloc in between.
#pragma once

#include <dirent.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace numaheap {

struct KernelNode {
  int id = 0;
  std::vector<int> cpus;       // the online ones
  std::vector<int> distances;  // to the nodes of KernelNodes(), in their order
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;
};

// "0-1,4" as numbers.
inline std::vector<int> ReadIdList(const std::string& path) {
  std::ifstream file(path);
  std::vector<int> ids;
  for (std::string part; std::getline(file, part, ',');) {
    if (part.empty() || part == "\n") continue;
    const size_t dash = part.find('-');
    const int first = std::atoi(part.c_str());
    const int last = dash == part.npos ? first : std::atoi(part.c_str() + dash + 1);
    for (int id = first; id <= last; ++id) ids.push_back(id);
  }
  return ids;
}

// The online nodes, by rising number.
inline std::vector<KernelNode> KernelNodes() {
  std::vector<KernelNode> nodes;
  for (int id : ReadIdList("/sys/devices/system/node/online")) {
    const std::string directory = "/sys/devices/system/node/node" + std::to_string(id);
    KernelNode node;
    node.id = id;
    node.cpus = ReadIdList(directory + "/cpulist");
    std::ifstream distances(directory + "/distance");
    for (int distance; distances >> distance;) node.distances.push_back(distance);
    std::ifstream meminfo(directory + "/meminfo");
    for (std::string line; std::getline(meminfo, line);) {
      std::istringstream words(line);
      std::string word, field;
      uint64_t value = 0;
      words >> word >> word >> field >> value;
      if (field == "MemTotal:") node.total_bytes = value << 10;
      if (field == "MemFree:") node.free_bytes = value << 10;
    }
    nodes.push_back(node);
  }
  return nodes;
}

inline std::vector<KernelNode> NodesWithCpus() {
  std::vector<KernelNode> nodes = KernelNodes();
  std::erase_if(nodes, [](const KernelNode& node) { return node.cpus.empty(); });
  return nodes;
}

inline int NodeOfCpu(int cpu) {
  for (const KernelNode& node : KernelNodes()) {
    if (std::find(node.cpus.begin(), node.cpus.end(), cpu) != node.cpus.end()) return node.id;
  }
  return -1;
}

}  // namespace numaheap
