// How the Allocator opens, at the first allocation and in the library's constructor, and how it
// follows the nodes that the process may use.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include <algorithm>
#include <memory>

#include "src/api/allocator.h"
#include "src/api/fork.h"
#include "src/api/inspection.h"
#include "src/base/message.h"
#include "src/os/id_list.h"
#include "src/os/plugin.h"
#include "src/os/rseq.h"
#include "src/settings/load.h"
#include "src/settings/toml/toml_plugin.h"

namespace numaheap {
namespace {

// More CPUs than any x86-64 kernel can have (its MAXSMP), for when nobody tells the number.
constexpr int kAllCpus = 8192;

// Where the reservation is tried first: far below the libraries and far above a program that is not
// position-independent, so that ranges for synthetic nodes fit behind. Up to 4 TiB further, by the
// random bytes that the kernel gives each process.
void* PreferredBase() {
  constexpr uintptr_t kBase = uintptr_t{1} << 44;
  constexpr uintptr_t kStep = uintptr_t{1} << 30;
  uint16_t random = 0;
  if (const auto* bytes = reinterpret_cast<const void*>(getauxval(AT_RANDOM))) {
    memcpy(&random, bytes, sizeof random);
  }
  return reinterpret_cast<void*>(kBase + (random % 4096) * kStep);
}

void Say(const Message& message) {
  message.WriteTo(2);
}

// The largest of the CPUs' cache domains, and one more.
int CountCacheDomains(const Topology& topology, NodeId node) {
  int count = 1;
  for (int cpu = 0; cpu < topology.cpu_limit; ++cpu) {
    if (topology.cpus[cpu].node == node)
      count = std::max(count, topology.cpus[cpu].cache_domain + 1);
  }
  return count;
}

TomlRead OpenToml(Message& reason) {
  return reinterpret_cast<TomlRead>(OpenPlugin("libnumaheap-toml.so", kTomlPluginEntry, &reason));
}

}  // namespace

bool Allocator::BootSlow() {
  {
    LockHolder holder(start_lock_);
    if (state_.load(std::memory_order_relaxed) != kNone) return true;
    if (!OpenFirstHeap()) return false;
    state_.store(kBooted, std::memory_order_release);
  }
  RegisterForkHandlers();
  return true;
}

bool Allocator::OpenFirstHeap() {
  cpu_limit_ = IdListFile("/sys/devices/system/cpu/possible").highest() + 1;
  if (cpu_limit_ == 0) cpu_limit_ = kAllCpus;
  const NodeId node = kernel_.CurrentNode();
  // A kernel without NUMA has no such file.
  highest_node_ = std::max(IdListFile("/sys/devices/system/node/possible").highest(), node.value);
  if (space_.ranges() == 0 && !space_.Open(kernel_, highest_node_ + 2, PreferredBase())) {
    return false;
  }
  // Every node could get every CPU's records, and some of its own.
  const size_t own_records = std::min<size_t>(16 << 20, space_.range_bytes() / 8);
  if (!heaps_.OpenFirst(node, CpuCache::RecordBytes(cpu_limit_) + own_records,
                        !kernel_.ChargesUntouchedMemory())) {
    return false;
  }
  first_heap_ = heaps_.heap(node);
  return true;
}

void Allocator::Start() {
  const int saved_errno = errno;
  if (!Boot()) return;  // no address space: every allocation fails, which the program will notice
  ReadSettings();
  topology_ = FindTopology();
  const bool spill_to_memory_only = settings_.placement_use_memory_only == UseMemoryOnly::kSpill;
  if (topology_ == nullptr || !heaps_.OpenAll(*topology_, spill_to_memory_only)) {
    Message message;
    message << "numaheap: not every node has a heap: out of memory or address space";
    Say(message);
  }
  if (topology_ == nullptr) return;
  SetUsable([this](NodeId node) { return topology_->nodes[node.value].allowed; });
  Place();
  heaps_.ForEach(
      [this](NodeHeap& heap) { heap.SetCacheDomains(CountCacheDomains(*topology_, heap.node())); });
  if (cache_.Open(*topology_, ChooseRseqOffset(),
                  static_cast<size_t>(settings_.cache_bytes_per_cpu))) {
    state_.store(kStarted, std::memory_order_release);
  }
  OpenProfile();
  background_.Enable(static_cast<size_t>(settings_.scavenger_start_at), settings_.metrics_listen);
  errno = saved_errno;
}

void Allocator::ReadSettings() {
  SettingsSources sources;
  sources.options = getenv("NUMAHEAP_OPTIONS");
  sources.config = getenv("NUMAHEAP_CONFIG");
  sources.secure = getauxval(AT_SECURE) != 0;
  sources.open_toml = OpenToml;
  const LineSink report = {nullptr, [](void*, std::string_view line) { WriteLine(2, line); }};
  const LoadedSettings loaded = LoadSettings(sources, report);
  settings_ = loaded.settings;
  if (loaded.must_stop()) {
    WriteLine(2, "numaheap: stopping: the settings say on_error = \"abort\"");
    abort();
  }
}

const Topology* Allocator::FindTopology() {
  const char* synthetic =
      settings_.topology_synthetic[0] == '\0' ? nullptr : settings_.topology_synthetic;
  // Where nodes could be added, only those that are there count.
  const bool single =
      highest_node_ == 0 || IdListFile("/sys/devices/system/node/online").highest() == 0;
  if (synthetic == nullptr && single) return SingleNodeTopology();
  Message reason;
  const auto open = reinterpret_cast<NumaPluginOpen>(
      OpenPlugin("libnumaheap-numa.so", kNumaPluginEntry, &reason));
  if (open != nullptr && open(synthetic, cpu_limit_, &numa_)) {
    kernel_.UsePlacement(&numa_.placement);
    return &numa_.topology;
  }
  if (open != nullptr) reason << numa_.error;
  Message message;
  message << "numaheap: topology: " << reason.view() << "; one heap serves all CPUs";
  Say(message);
  if (synthetic != nullptr && settings_.on_error == OnError::kAbort) {
    WriteLine(2, "numaheap: stopping: the settings say on_error = \"abort\"");
    abort();
  }
  return SingleNodeTopology();
}

const Topology* Allocator::SingleNodeTopology() {
  MetadataArena& arena = first_heap_->arena();
  const NodeId node = first_heap_->node();
  const size_t limit = static_cast<size_t>(node.value) + 1;
  auto* topology = arena.New<Topology>();
  void* nodes_place = arena.Allocate(limit * sizeof(NodeInfo));
  void* cpus_place = arena.Allocate(static_cast<size_t>(cpu_limit_) * sizeof(CpuInfo));
  void* distances_place = arena.Allocate(limit * limit * sizeof(uint16_t));
  if (topology == nullptr || nodes_place == nullptr || cpus_place == nullptr ||
      distances_place == nullptr) {
    return nullptr;
  }
  auto* nodes = static_cast<NodeInfo*>(nodes_place);
  std::uninitialized_default_construct_n(nodes, limit);
  nodes[node.value] = {.present = true, .allowed = true, .has_cpus = true};
  auto* distances = static_cast<uint16_t*>(distances_place);
  std::uninitialized_fill_n(distances, limit * limit, 10);
  auto* cpus = static_cast<CpuInfo*>(cpus_place);
  std::uninitialized_fill_n(cpus, cpu_limit_, CpuInfo{.online = true, .node = node});
  topology->node_limit = static_cast<int>(limit);
  topology->cpu_limit = cpu_limit_;
  topology->nodes = nodes;
  topology->cpus = cpus;
  topology->distances = distances;
  return topology;
}

template <typename Allowed>
bool Allocator::SetUsable(Allowed allowed) {
  const auto is_usable = [&](NodeId node) { return IsWanted(node) && allowed(node); };
  bool any = false, changed = false;
  heaps_.ForEach([&](NodeHeap& heap) { any |= heap.node() != kNoNode && is_usable(heap.node()); });
  if (!any) return false;
  heaps_.ForEach([&](NodeHeap& heap) {
    if (heap.node() == kNoNode) return;
    const bool usable = is_usable(heap.node());
    changed |= usable != heap.usable();
    heap.SetUsable(usable);
  });
  return changed;
}

bool Allocator::IsWanted(NodeId node) const {
  if (node.value >= topology_->node_limit) return false;  // the first heap's, not a synthetic one
  const NodeInfo& info = topology_->nodes[node.value];
  return info.present &&
         (info.has_cpus || settings_.placement_use_memory_only != UseMemoryOnly::kNever);
}

void Allocator::Place() {
  if (topology_->synthetic) {
    placement_mode_ = NUMAHEAP_PLACEMENT_SYNTHETIC;
  } else if (!HasRealNodes()) {
    placement_mode_ = NUMAHEAP_PLACEMENT_SINGLE_NODE;
  } else if (settings_.placement_policy == PlacementPolicy::kFirstTouch) {
    placement_mode_ = NUMAHEAP_PLACEMENT_FIRST_TOUCH;
  } else {
    placement_mode_ = settings_.placement_policy == PlacementPolicy::kBind
                          ? NUMAHEAP_PLACEMENT_BIND
                          : NUMAHEAP_PLACEMENT_PREFERRED;
    heaps_.ForEach([this](NodeHeap& heap) { PlaceHeap(heap); });
    if (placement_mode_ == NUMAHEAP_PLACEMENT_BIND &&
        settings_.placement_bind_fallback == BindFallback::kFail) {
      heaps_.StopSpills();
    }
  }
}

void Allocator::PlaceHeap(NodeHeap& heap) {
  const bool bind = placement_mode_ == NUMAHEAP_PLACEMENT_BIND;
  if (!bind && placement_mode_ != NUMAHEAP_PLACEMENT_PREFERRED) return;
  // Once: the kernel remembers. What this process may not use, it places where it may.
  if (!heap.usable() || !heap.SetPlaced()) return;
  char* start = reinterpret_cast<char*>(&heap);
  const size_t bytes = space_.range_bytes();
  int error = 0;
  if (heap.node() == kNoNode) {
    NodeId nodes[64];  // more are left out: pages interleave over the first of them
    int count = 0;
    for (int i = 0; i < topology_->node_limit && count < 64; ++i) {
      if (IsWanted({i})) nodes[count++] = {i};
    }
    error = kernel_.SetPolicy(start, bytes, Policy::kInterleave, nodes, count);
  } else {
    const NodeId node = heap.node();
    error = kernel_.SetPolicy(start, bytes, bind ? Policy::kBind : Policy::kPreferred, &node, 1);
    if (error == 0 && bind) heap.pages().CheckNodeBeforeGrowth(node);
  }
  // Containers forbid mbind (EPERM), sandboxes lack it (ENOSYS), and a cpuset may have lost the
  // node meanwhile (EINVAL): memory comes from the node of who touches it first, as for any
  // program.
  if (error != 0) placement_mode_ = NUMAHEAP_PLACEMENT_FIRST_TOUCH;
}

ptrdiff_t Allocator::ChooseRseqOffset() {
  if (settings_.cache_mode == CacheMode::kLocked) return 0;
  const ptrdiff_t offset = RegisteredRseqOffset();
  if (offset == 0) {
    if (settings_.cache_mode == CacheMode::kRseq) {
      WriteLine(2, "numaheap: cache.mode: no restartable sequences here; it is locked");
    }
    return 0;
  }
  // Refused: caches of CPUs that have gone idle can't be drained, and all else goes on.
  kernel_.RegisterForInterrupts();
  return offset;
}

NodeHeap* Allocator::HeapOnNode(NodeId node) {
  NodeHeap* heap = Boot() ? heaps_.heap(node) : nullptr;
  if (heap == nullptr || !started()) return heap;
  return heap->usable() ? heap : nullptr;
}

NodeHeap* Allocator::InterleavedHeap() {
  if (!started()) return nullptr;  // how many nodes there are is not known yet
  if (NodeHeap* present = heaps_.interleaved()) return present;
  LockHolder holder(start_lock_);
  if (NodeHeap* present = heaps_.interleaved()) return present;
  NodeHeap* heap = heaps_.OpenInterleaved();
  if (heap != nullptr) PlaceHeap(*heap);
  return heap;
}

void Allocator::WatchCpuset(uint64_t period_ms) {
  const uint64_t now_ms = kernel_.NowMs();
  uint64_t at_ms = watch_at_ms_.load(std::memory_order_relaxed);
  if (!started() || !HasRealNodes() || now_ms < at_ms ||
      !watch_at_ms_.compare_exchange_strong(at_ms, now_ms + period_ms)) {
    return;
  }
  // Not /proc/self: the first thread may have ended.
  const IdListFile allowed("/proc/thread-self/status", "Mems_allowed_list:");
  if (allowed.highest() < 0) return;
  LockHolder holder(start_lock_);
  if (SetUsable([&](NodeId node) { return allowed.Has(node.value); })) {
    heaps_.ForEach([this](NodeHeap& heap) { PlaceHeap(heap); });
    cache_.Rehome();
  }
  // Its own thread may never have started.
  heaps_.ForEach([this](NodeHeap& heap) {
    if (!heap.usable()) Empty(heap);
  });
}

}  // namespace numaheap

[[gnu::constructor]] static void StartNumaheap() {
  // What nobody names is left out of a static link. In a register: an operand that is not used in the
  // text would be no reference.
  asm volatile("" : : "r"(&numaheap_inspection));
  numaheap::allocator.Start();
}
