#include "numa/hwloc_environment.h"

#include <unistd.h>

#include <string_view>

namespace numaheap {
namespace {

const char* const kOurs[] = {
    // No plugins: what we need is in libhwloc itself.
    "HWLOC_PLUGINS_PATH=",
    // Don't search the mounted cgroups for the allowed nodes; a container may show none. The kernel
    // says it in /proc/self/status, which libnuma has read already.
    "HWLOC_ALLOW=all",
    // Read distances, but leave nodes without CPUs without: hwloc would give them those of their
    // neighbours, and nothing would tell then whose the CPUs are.
    "HWLOC_USE_NUMA_DISTANCES=1",
    "HWLOC_KNL_NUMA_QUIRK=0",
    // No groups of near nodes.
    "HWLOC_GROUPING=0",
};

bool IsForHwloc(std::string_view variable) {
  // hwloc remembers this one for the whole process, so the application's choice stands.
  if (variable.starts_with("HWLOC_HIDE_ERRORS=")) return false;
  return variable.starts_with("HWLOC_");
}

}  // namespace

HwlocEnvironment::HwlocEnvironment() : process_environment_(environ) {
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
    if (!IsForHwloc(*variable)) variables_.push_back(*variable);
  }
  for (const char* variable : kOurs) variables_.push_back(const_cast<char*>(variable));
  variables_.push_back(nullptr);
  environ = variables_.data();
}

HwlocEnvironment::~HwlocEnvironment() {
  environ = process_environment_;
}

}  // namespace numaheap
