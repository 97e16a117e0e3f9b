#include "numa/numa_plugin.h"

#include <cstddef>
#include <cstdio>
#include <deque>
#include <exception>

#include "numa/hwloc_topology.h"
#include "numa/libnuma_placement.h"

namespace numaheap {
namespace {

void Fill(const char* synthetic, int cpu_limit, NumaPlugin* out) {
  // Never destroyed: the heap uses the arrays until the last instruction of the process.
  static auto& kept = *new std::deque<TopologyArrays>;
  out->topology = kept.emplace_back(LoadTopology(synthetic, cpu_limit)).View();
  ReadNodeReserves();
  out->placement = LibnumaPlacement();
}

void SetError(const char* reason, NumaPlugin* out) {
  *out = NumaPlugin{};
  snprintf(out->error, sizeof out->error, "%s", reason);
  for (char& c : out->error) {
    if (c == '\n') c = ' ';
  }
}

}  // namespace
}  // namespace numaheap

extern "C" __attribute__((visibility("default"))) bool numaheap_numa_open(
    const char* synthetic, int cpu_limit, numaheap::NumaPlugin* out) {
  *out = numaheap::NumaPlugin{};
  try {
    numaheap::Fill(synthetic, cpu_limit, out);
    return true;
  } catch (const std::exception& error) {
    numaheap::SetError(error.what(), out);
  } catch (...) {
    numaheap::SetError("unknown failure", out);
  }
  return false;
}
