#include "numa/hwloc_topology.h"

#include <numa.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>

#include "numa/hwloc_environment.h"
#include "numa/node_mask.h"
#include "numa/synthetic_description.h"

namespace numaheap {
namespace {

constexpr uint16_t kLocalDistance = 10;
constexpr uint16_t kDefaultDistance = 20;  // what Linux assumes when firmware says nothing

// Calls `visit` with each CPU number of `set` below `limit`. (A set can be infinite.)
template <typename Visit>
void ForEachCpu(hwloc_const_bitmap_t set, int limit, Visit visit) {
  for (int cpu = hwloc_bitmap_first(set); cpu >= 0 && cpu < limit;
       cpu = hwloc_bitmap_next(set, cpu)) {
    visit(cpu);
  }
}

// What hwloc knows, by number. A CPU here is one of hwloc's, real or synthetic.
struct Survey {
  struct Node {
    bool exists = false;
    bool allowed = false;
    bool owns_cpus = false;
    uint64_t memory_bytes = 0;
  };
  struct Cpu {
    bool online = false;
    NodeId own_node = kNoNode;
    int cache = -1;  // number of its third-level cache in the machine
  };
  std::vector<Node> nodes;
  std::vector<Cpu> cpus;
  std::vector<uint16_t> distances;

  int node_count() const { return static_cast<int>(nodes.size()); }
  uint16_t& Distance(int from, int to) { return distances[from * nodes.size() + to]; }
  uint16_t Distance(int from, int to) const { return distances[from * nodes.size() + to]; }
};

void SurveyNodes(hwloc_topology_t hwloc, Survey* survey) {
  hwloc_const_nodeset_t allowed = hwloc_topology_get_allowed_nodeset(hwloc);
  // hwloc lists memory under the CPUs that are near it, so two nodes can claim a CPU: the one with
  // fewer CPUs owns it, and the first among equals.
  std::vector<int> claim(survey->cpus.size(), 0);
  hwloc_obj_t object = nullptr;
  while ((object = hwloc_get_next_obj_by_type(hwloc, HWLOC_OBJ_NUMANODE, object)) != nullptr) {
    const unsigned id = object->os_index;
    if (id >= kMaxNodes) {
      throw std::runtime_error("node number " + std::to_string(id) + " is larger than " +
                               std::to_string(kMaxNodes - 1));
    }
    if (id >= survey->nodes.size()) survey->nodes.resize(id + 1);
    Survey::Node& node = survey->nodes[id];
    if (node.exists) throw std::runtime_error("two nodes have number " + std::to_string(id));
    node.exists = true;
    node.allowed = hwloc_bitmap_isset(allowed, id);
    node.memory_bytes = object->attr->numanode.local_memory;

    const int size = hwloc_bitmap_weight(object->complete_cpuset);
    ForEachCpu(object->complete_cpuset, static_cast<int>(survey->cpus.size()), [&](int cpu) {
      if (claim[cpu] != 0 && claim[cpu] <= size) return;
      claim[cpu] = size;
      survey->cpus[cpu].own_node = NodeId{static_cast<int>(id)};
    });
  }
  if (survey->nodes.empty()) throw std::runtime_error("hwloc found no NUMA node");
}

void SurveyCpus(hwloc_topology_t hwloc, Survey* survey) {
  const int limit = static_cast<int>(survey->cpus.size());
  ForEachCpu(hwloc_get_root_obj(hwloc)->cpuset, limit, [&](int cpu) {
    survey->cpus[cpu].online = true;
    const NodeId own = survey->cpus[cpu].own_node;
    if (own != kNoNode) survey->nodes[own.value].owns_cpus = true;
  });
  hwloc_obj_t cache = nullptr;
  while ((cache = hwloc_get_next_obj_by_type(hwloc, HWLOC_OBJ_L3CACHE, cache)) != nullptr) {
    ForEachCpu(cache->cpuset, limit,
               [&](int cpu) { survey->cpus[cpu].cache = static_cast<int>(cache->logical_index); });
  }
}

// The kernel's own test of a firmware table (slit_valid); matrices can come by other ways, too.
bool KeepsRules(const hwloc_distances_s& matrix) {
  for (unsigned from = 0; from < matrix.nbobjs; ++from) {
    for (unsigned to = 0; to < matrix.nbobjs; ++to) {
      const uint64_t value = matrix.values[from * matrix.nbobjs + to];
      if (from == to ? value != kLocalDistance : value <= kLocalDistance) return false;
    }
  }
  return true;
}

void SurveyDistances(hwloc_topology_t hwloc, Survey* survey) {
  const int count = survey->node_count();
  survey->distances.assign(size_t{survey->nodes.size()} * survey->nodes.size(), kDefaultDistance);
  for (int node = 0; node < count; ++node) survey->Distance(node, node) = kLocalDistance;

  hwloc_distances_s* matrix = nullptr;
  unsigned matrices = 1;
  if (hwloc_distances_get_by_type(hwloc, HWLOC_OBJ_NUMANODE, &matrices, &matrix,
                                  HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0) != 0 ||
      matrices == 0) {
    return;
  }
  if (KeepsRules(*matrix)) {
    for (unsigned from = 0; from < matrix->nbobjs; ++from) {
      for (unsigned to = 0; to < matrix->nbobjs; ++to) {
        const uint64_t value = matrix->values[from * matrix->nbobjs + to];
        survey->Distance(static_cast<int>(matrix->objs[from]->os_index),
                         static_cast<int>(matrix->objs[to]->os_index)) =
            static_cast<uint16_t>(std::min<uint64_t>(value, UINT16_MAX));
      }
    }
  }
  hwloc_distances_release(hwloc, matrix);
}

Survey SurveyHwloc(hwloc_topology_t hwloc, int cpu_limit) {
  Survey survey;
  survey.cpus.resize(static_cast<size_t>(cpu_limit));
  SurveyNodes(hwloc, &survey);
  SurveyCpus(hwloc, &survey);
  SurveyDistances(hwloc, &survey);
  return survey;
}

// Copies the nodes, the present ones being `present`, and the distances between them.
void CopyNodes(const Survey& survey, const std::vector<bool>& present, TopologyArrays* out) {
  int limit = 0;
  for (int node = 0; node < survey.node_count(); ++node) {
    if (present[node]) limit = node + 1;
  }
  out->nodes.resize(static_cast<size_t>(limit));
  for (int node = 0; node < limit; ++node) {
    if (!present[node]) continue;
    out->nodes[node].present = true;
    out->nodes[node].allowed = survey.nodes[node].allowed;
    out->nodes[node].memory_bytes = survey.nodes[node].memory_bytes;
  }
  for (int from = 0; from < limit; ++from) {
    for (int to = 0; to < limit; ++to) out->distances.push_back(survey.Distance(from, to));
  }
}

// The present node for a CPU whose own one is `own`, which may be kNoNode.
NodeId NearestPresent(const Survey& survey, const std::vector<bool>& present, NodeId own) {
  if (own != kNoNode && present[own.value]) return own;
  NodeId best = kNoNode;
  std::pair<int, bool> best_cost;
  for (int node = 0; node < survey.node_count(); ++node) {
    if (!present[node]) continue;
    const int distance = own == kNoNode ? 0 : survey.Distance(own.value, node);
    const std::pair<int, bool> cost{distance, !survey.nodes[node].owns_cpus};
    if (best == kNoNode || cost < best_cost) {
      best = NodeId{node};
      best_cost = cost;
    }
  }
  return best;
}

// Numbers the caches of a node in the order in which CPUs are added.
class CacheDomains {
 public:
  uint16_t Of(NodeId node, int cache) {
    if (cache < 0) return 0;
    std::map<int, uint16_t>& known = by_node_[node.value];
    return known.try_emplace(cache, static_cast<uint16_t>(known.size())).first->second;
  }

 private:
  std::map<int, std::map<int, uint16_t>> by_node_;
};

void MarkNodesWithCpus(TopologyArrays* out) {
  for (const CpuInfo& cpu : out->cpus) {
    if (cpu.online) out->nodes[cpu.node.value].has_cpus = true;
  }
}

std::vector<bool> NodesWithMemory(const Survey& survey) {
  std::vector<bool> present;
  for (const Survey::Node& node : survey.nodes) present.push_back(node.memory_bytes > 0);
  if (std::count(present.begin(), present.end(), true) > 0) return present;
  for (int node = 0; node < survey.node_count(); ++node) present[node] = survey.nodes[node].exists;
  return present;
}

// The kernel's word on which nodes this process may use; libnuma read it when it was loaded.
void KeepAllowedByKernel(TopologyArrays* out) {
  for (size_t node = 0; node < out->nodes.size(); ++node) {
    if (!numa_bitmask_isbitset(numa_all_nodes_ptr, static_cast<unsigned>(node))) {
      out->nodes[node].allowed = false;
    }
  }
  const auto allowed = [](const NodeInfo& node) { return node.allowed; };
  if (std::any_of(out->nodes.begin(), out->nodes.end(), allowed)) return;
  // Memory comes from somewhere, so a system that names no node told us nothing (no /proc).
  for (NodeInfo& node : out->nodes) node.allowed = node.present;
}

// The CPUs that a file of sysfs lists; all of them when it can't be read.
std::vector<bool> ListedCpus(const char* path, int cpu_limit) {
  std::vector<bool> online(static_cast<size_t>(cpu_limit));
  std::string list;
  std::getline(std::ifstream(path), list);
  const std::unique_ptr<hwloc_bitmap_s, decltype(&hwloc_bitmap_free)> set(hwloc_bitmap_alloc(),
                                                                          &hwloc_bitmap_free);
  if (list.empty() || set == nullptr || hwloc_bitmap_list_sscanf(set.get(), list.c_str()) != 0) {
    online.flip();
    return online;
  }
  ForEachCpu(set.get(), cpu_limit, [&](int cpu) { online[cpu] = true; });
  return online;
}

// hwloc knows the nodes of CPUs that are on; sysfs also of those that are there but off.
void PlaceOfflineCpus(TopologyArrays* machine) {
  const int cpu_limit = static_cast<int>(machine->cpus.size());
  const std::vector<bool> there = ListedCpus("/sys/devices/system/cpu/present", cpu_limit);
  for (int cpu = 0; cpu < cpu_limit; ++cpu) {
    if (machine->cpus[cpu].online || !there[cpu]) continue;
    const std::string link = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/node";
    for (size_t node = 0; node < machine->nodes.size(); ++node) {
      if (machine->nodes[node].present &&
          access((link + std::to_string(node)).c_str(), F_OK) == 0) {
        machine->cpus[cpu].node = NodeId{static_cast<int>(node)};
      }
    }
  }
}

TopologyArrays LoadSynthetic(const char* description, int cpu_limit) {
  try {
    CheckSyntheticDescription(description);
    const HwlocTopology hwloc = LoadHwloc([&](hwloc_topology_t topology) {
      const int result = hwloc_topology_set_synthetic(topology, description);
      if (result != 0) throw std::runtime_error("hwloc can't read it");
      return result;
    });
    return DealOut(hwloc.get(), cpu_limit, ListedCpus("/sys/devices/system/cpu/online", cpu_limit));
  } catch (const std::exception& error) {
    constexpr size_t kShown = 100;
    std::string shown = description;
    if (shown.size() > kShown) shown = shown.substr(0, kShown) + "...";
    throw std::runtime_error("synthetic topology \"" + shown + "\": " + error.what() +
                             " (\"numa:2 pu:4\" would be two nodes with four CPUs each)");
  }
}

}  // namespace

Topology TopologyArrays::View() const {
  Topology view;
  view.node_limit = static_cast<int>(nodes.size());
  view.cpu_limit = static_cast<int>(cpus.size());
  view.synthetic = synthetic;
  view.nodes = nodes.data();
  view.cpus = cpus.data();
  view.distances = distances.data();
  return view;
}

HwlocTopology LoadHwloc(const std::function<int(hwloc_topology_t)>& choose_source) {
  const HwlocEnvironment environment;
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) throw std::runtime_error("hwloc can't start");
  HwlocTopology hwloc(raw);
  hwloc_topology_set_all_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_NONE);
  hwloc_topology_set_type_filter(raw, HWLOC_OBJ_L3CACHE, HWLOC_TYPE_FILTER_KEEP_ALL);
  // Without groups hwloc hangs a node whose CPUs are no other object's onto something larger, and
  // then says that it has all the CPUs of that.
  hwloc_topology_set_type_filter(raw, HWLOC_OBJ_GROUP, HWLOC_TYPE_FILTER_KEEP_STRUCTURE);
  // Nodes and CPUs that a cpuset forbids today may be allowed tomorrow. DONT_CHANGE_BINDING drops
  // the discovery by cpuid, which visits every CPU and adds nothing to sysfs.
  hwloc_topology_set_flags(
      raw, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED | HWLOC_TOPOLOGY_FLAG_DONT_CHANGE_BINDING |
               HWLOC_TOPOLOGY_FLAG_NO_MEMATTRS | HWLOC_TOPOLOGY_FLAG_NO_CPUKINDS);
  if (choose_source(raw) != 0 || hwloc_topology_load(raw) != 0) {
    throw std::runtime_error(std::string("hwloc can't load the topology: ") + strerror(errno));
  }
  return hwloc;
}

TopologyArrays ReadMachine(hwloc_topology_t hwloc, int cpu_limit) {
  const Survey survey = SurveyHwloc(hwloc, cpu_limit);
  const std::vector<bool> present = NodesWithMemory(survey);
  TopologyArrays out;
  CopyNodes(survey, present, &out);
  CacheDomains domains;
  for (const Survey::Cpu& cpu : survey.cpus) {
    const NodeId node = NearestPresent(survey, present, cpu.own_node);
    out.cpus.push_back({cpu.online, node, domains.Of(node, cpu.cache)});
  }
  MarkNodesWithCpus(&out);
  return out;
}

TopologyArrays DealOut(hwloc_topology_t hwloc, int cpu_limit, const std::vector<bool>& online) {
  const int synthetic_cpus = hwloc_bitmap_last(hwloc_get_root_obj(hwloc)->cpuset) + 1;
  const Survey survey = SurveyHwloc(hwloc, synthetic_cpus);
  std::vector<bool> present;
  for (const Survey::Node& node : survey.nodes) present.push_back(node.exists);
  TopologyArrays out;
  out.synthetic = true;
  CopyNodes(survey, present, &out);

  struct Seat {
    NodeId node;
    std::vector<int> caches;  // of its synthetic CPUs, by rising number
    size_t taken = 0;
  };
  std::vector<Seat> seats;
  for (int node = 0; node < survey.node_count(); ++node) {
    if (survey.nodes[node].owns_cpus) seats.push_back({NodeId{node}, {}, 0});
  }
  for (const Survey::Cpu& cpu : survey.cpus) {
    for (Seat& seat : seats) {
      if (cpu.online && seat.node == cpu.own_node) seat.caches.push_back(cpu.cache);
    }
  }
  if (seats.empty()) throw std::runtime_error("no node has a CPU");

  CacheDomains domains;
  out.cpus.resize(static_cast<size_t>(cpu_limit));
  size_t dealt = 0;
  for (const bool round_is_online : {true, false}) {
    for (size_t cpu = 0; cpu < out.cpus.size(); ++cpu) {
      const bool is_online = cpu < online.size() && online[cpu];
      if (is_online != round_is_online) continue;
      Seat& seat = seats[dealt++ % seats.size()];
      const int cache = seat.caches[seat.taken++ % seat.caches.size()];
      out.cpus[cpu] = {is_online, seat.node, domains.Of(seat.node, cache)};
    }
  }
  MarkNodesWithCpus(&out);
  return out;
}

TopologyArrays LoadTopology(const char* synthetic, int cpu_limit) {
  if (cpu_limit < 1) throw std::invalid_argument("a machine has at least one CPU");
  if (synthetic != nullptr) return LoadSynthetic(synthetic, cpu_limit);
  const HwlocTopology hwloc = LoadHwloc([](hwloc_topology_t) { return 0; });
  TopologyArrays machine = ReadMachine(hwloc.get(), cpu_limit);
  PlaceOfflineCpus(&machine);
  KeepAllowedByKernel(&machine);
  return machine;
}

}  // namespace numaheap
