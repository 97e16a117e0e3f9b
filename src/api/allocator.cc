#include "src/api/allocator.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include <algorithm>
#include <memory>

#include "src/api/fork.h"
#include "src/base/message.h"
#include "src/heap/report.h"
#include "src/os/id_list.h"
#include "src/os/plugin.h"
#include "src/os/rseq.h"
#include "src/settings/load.h"
#include "src/settings/toml/toml_plugin.h"

namespace numaheap {

constinit Allocator allocator;

namespace {

// What numaheap_set_thread_node chose; null: the heap of the CPU.
[[gnu::tls_model("initial-exec")]] constinit thread_local NodeHeap* thread_heap = nullptr;

// More CPUs than any x86-64 kernel can have (its MAXSMP), for when nobody tells the number.
constexpr int kAllCpus = 8192;

// Larger requests can't be blocks: differences of pointers into them would overflow.
constexpr size_t kMaxSize = PTRDIFF_MAX;

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

// ---- Opening -----------------------------------------------------------------------------------

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
  const IdListFile online("/sys/devices/system/cpu/online");
  for (int cpu = 0; cpu < cpu_limit_; ++cpu) {
    new (&cpus[cpu]) CpuInfo{.online = online.Has(cpu), .node = node};
  }
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

// ---- Allocation --------------------------------------------------------------------------------

void* Allocator::Allocate(size_t size, const void* caller) {
  if (size > kMaxSize || !Boot()) return nullptr;
  bool zeroed;
  return Handed(size <= kMaxSmallSize ? AllocateSmall(kSizeMap.ClassOf(size))
                                      : AllocateLarge(size, 1, &zeroed),
                caller);
}

void* Allocator::AllocateAligned(size_t size, size_t alignment, const void* caller) {
  if (size > kMaxSize || alignment > kMaxSize || !Boot()) return nullptr;
  const SizeClass c = kSizeMap.ClassOf(size, alignment);
  bool zeroed;
  return Handed(c != kNoClass ? AllocateSmall(c)
                              : AllocateLarge(std::max<size_t>(size, 1), alignment, &zeroed),
                caller);
}

void* Allocator::AllocateZeroed(size_t size, const void* caller) {
  if (size > kMaxSize || !Boot()) return nullptr;
  bool zeroed = false;
  void* block = Handed(size <= kMaxSmallSize ? AllocateSmall(kSizeMap.ClassOf(size))
                                             : AllocateLarge(size, 1, &zeroed),
                       caller);
  return block == nullptr || zeroed ? block : memset(block, 0, size);
}

void* Allocator::TakeFrom(NodeHeap& heap, size_t size) {
  if (size > kMaxSize) return nullptr;
  if (size > kMaxSmallSize) {
    bool zeroed;
    return AllocateLargeOn(heap, size, 1, &zeroed);
  }
  const SizeClass c = kSizeMap.ClassOf(size);
  void* block;
  if (heap.AllocateBatch(c, 0, &block, 1) == 0) return nullptr;
  heap.counters().allocations.Add(1);
  heap.counters().allocated_bytes.Add(kSizeMap[c].size);
  return block;
}

NodeHeap& Allocator::LocalHeap() {
  if (thread_heap != nullptr) return *thread_heap;
  return started() ? cache_.LocalHeap() : *first_heap_;
}

void* Allocator::AllocateSmall(SizeClass c) {
  if (thread_heap != nullptr) return cache_.AllocatePast(*thread_heap, c);
  return started() ? cache_.Allocate(c) : TakeFrom(*first_heap_, kSizeMap[c].size);
}

void* Allocator::AllocateLarge(size_t size, size_t alignment, bool* zeroed) {
  NodeHeap& local = LocalHeap();
  if (void* block = AllocateLargeOn(local, size, alignment, zeroed)) return block;
  for (int n = 0; NodeHeap* next = heaps_.Spill(local.node(), n); ++n) {
    if (void* block = AllocateLargeOn(*next, size, alignment, zeroed)) {
      heaps_.spilled().Add(heaps_.RangeOf(local), heaps_.RangeOf(*next), 1);
      return block;
    }
  }
  return nullptr;
}

void* Allocator::AllocateLargeOn(NodeHeap& heap, size_t size, size_t alignment, bool* zeroed) {
  void* block = heap.AllocateLarge(size, alignment, zeroed);
  if (block == nullptr) return nullptr;
  heap.counters().allocations.Add(1);
  heap.counters().allocated_bytes.Add(LengthOf(size).bytes());
  return block;
}

void* Allocator::Handed(void* block, const void* caller) {
  if (block == nullptr) return nullptr;
  const int range = space_.HomeOf(block);
  background_.MaybeStart(*heaps_.Get(range), range, caller);
  return block;
}

bool Allocator::SetThreadNode(NodeId node) {
  if (!started()) return node == kNoNode;
  NodeHeap* heap = node == kNoNode ? nullptr : HeapOnNode(node);
  if (heap == nullptr && node != kNoNode) return false;
  const int change = (heap != nullptr) - (thread_heap != nullptr);
  thread_heap = heap;
  LockHolder holder(start_lock_);
  if (heap != nullptr && !has_thread_key_) {
    // Called when the thread ends. Without a key the fast path stays closed for good.
    has_thread_key_ =
        pthread_key_create(&thread_key_, [](void*) { allocator.SetThreadNode(kNoNode); }) == 0;
  }
  if (has_thread_key_) pthread_setspecific(thread_key_, heap);
  threads_with_node_ += change;
  if (threads_with_node_ > 0) {
    cache_.CloseFastPath();
  } else {
    cache_.OpenFastPath();
  }
  return true;
}

void Allocator::ResetInChild() {
  background_.ResetInChild();
  LockHolder holder(start_lock_);
  threads_with_node_ = thread_heap != nullptr;  // of the threads, this one alone is here
  if (threads_with_node_ == 0) cache_.OpenFastPath();
}

NodeId Allocator::ThreadNode() const {
  return thread_heap == nullptr ? kNoNode : thread_heap->node();
}

// ---- Blocks ------------------------------------------------------------------------------------

Block Allocator::BlockOrDie(const void* ptr, const char* operation, NodeHeap** home) {
  *home = heaps_.HomeOf(ptr);
  if (*home == nullptr || !(*home)->map().IsCommitted(ptr)) ReportForeignPointer(operation, ptr);
  const NodeId node = (*home)->node();
  const Block block = (*home)->Find(ptr);
  if (block.span == nullptr) ReportAlreadyFree(operation, ptr, node, kNoClass, 0);
  if (block.start != ptr) {
    ReportInteriorPointer(operation, ptr, node, block.size_class, block.size, block.start);
  }
  return block;
}

void Allocator::Free(void* ptr, const char* operation) {
  NodeHeap* home = heaps_.HomeOf(ptr);
  const SizeClass c = home == nullptr ? kNoClass : home->ClassAt(ptr);
  if (c == kNoClass) return FreeLarge(ptr, operation);
  if (cache_.KeepRemote(c, ptr)) return;
  if (started()) return cache_.Free(*home, c, ptr, operation);
  FreeBeforeStart(*home, c, ptr);
}

void Allocator::FreeBeforeStart(NodeHeap& home, SizeClass c, void* ptr) {
  home.counters().frees_local.Add(1);
  home.FreeBatch(c, 0, &ptr, 1);
}

void Allocator::FreeLarge(void* ptr, const char* operation) {
  NodeHeap* home;
  const Block block = BlockOrDie(ptr, operation, &home);
  const NodeHeap& here = started() ? cache_.LocalHeap() : *home;
  const bool local = home == &here || home->node() == kNoNode;
  (local ? home->counters().frees_local : home->counters().frees_remote).Add(1);
  heaps_.freed().Add(heaps_.RangeOf(here), heaps_.RangeOf(*home), block.size);
  home->FreeLarge(block.span);
}

SizeClass Allocator::SmallClassOf(const void* ptr) const {
  const NodeHeap* home = heaps_.HomeOf(ptr);
  if (home == nullptr || !home->map().IsCommitted(ptr)) return kNoClass;
  const SizeClass c = home->map().ClassAt(home->map().PageOf(ptr));
  const bool may_start = (reinterpret_cast<uintptr_t>(ptr) & kSizeMap[c].alignment_mask) == 0;
  return may_start ? c : kNoClass;
}

bool Allocator::ResizeInPlace(void* ptr, size_t size, const char* operation, size_t* usable) {
  // A block that would be more than half empty moves to a smaller one.
  const auto fits = [&] { return size <= *usable && size > *usable / 2; };
  NodeHeap* home = heaps_.HomeOf(ptr);
  const Block block = home == nullptr ? Block() : home->Find(ptr);
  if (block.start != ptr) BlockOrDie(ptr, operation, &home);
  *usable = block.size;
  if (block.size_class != kNoClass) return fits();
  if (size > kMaxSize || size <= kMaxSmallSize) return fits();
  return home->ResizeLarge(block.span, size);
}

size_t Allocator::UsableSize(const void* ptr, const char* operation) {
  if (const SizeClass c = SmallClassOf(ptr); c != kNoClass) return kSizeMap[c].size;
  NodeHeap* home;
  return BlockOrDie(ptr, operation, &home).size;
}

int Allocator::Owner(const void* ptr, numaheap_owner_t* owner) {
  NodeHeap* home = heaps_.HomeOf(ptr);
  const Block block = home == nullptr ? Block() : home->Find(ptr);
  if (block.span == nullptr || home->IsFree(block)) return ENOENT;
  *owner = {home->node().value, block.size_class.value, block.start, block.size};
  return 0;
}

// ---- Giving back -------------------------------------------------------------------------------

size_t Allocator::ReleaseMemory() {
  if (!Boot()) return 0;
  if (started()) cache_.DrainAll();
  size_t released = 0;
  heaps_.ForEach([&](NodeHeap& heap) { released += Empty(heap); });
  return released;
}

size_t Allocator::Empty(NodeHeap& heap) {
  if (started()) cache_.DeliverRemoteFrees(heap);
  heap.SweepRemote();
  heap.FlushTransferCaches(/*only_unused=*/false);
  return heap.ReleaseIdle(UINT64_MAX, SIZE_MAX);
}

void Allocator::ScavengeNode(NodeHeap& heap, uint64_t cutoff_ms, bool drain_unused) {
  if (!started()) return;
  cache_.DeliverRemoteFrees(heap);
  heap.SweepRemote();
  if (drain_unused) {
    cache_.DrainUnused(heap.node());
    heap.FlushTransferCaches(/*only_unused=*/true);
  }
  heap.ReleaseIdle(cutoff_ms, SIZE_MAX);
  if (HasRealNodes() && heap.node() != kNoNode) heap.AuditLocations(settings_.placement_heal);
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

// ---- Snapshot ----------------------------------------------------------------------------------

void Allocator::FillNode(NodeHeap& heap, const IdListFile& online, numaheap_node_snapshot_t* out) {
  const PageHeapStats pages = heap.page_stats();
  const CacheTotals cached = started() ? cache_.Totals(heap.node()) : CacheTotals();
  HeapCounters& counters = heap.counters();
  *out = {};
  out->node = heap.node().value;
  if (started()) {
    for (int cpu = 0; cpu <= online.highest(); ++cpu) {
      out->cpus += online.Has(cpu) && &cache_.HeapOf({cpu}) == &heap;
    }
  }
  out->reserved_bytes = heap.range().heap.reserved_bytes();
  out->committed_bytes = pages.committed.bytes();
  out->in_use_bytes = pages.in_use.bytes();
  out->idle_bytes = pages.idle.bytes();
  out->released_bytes = pages.released.bytes();
  out->cached_bytes = cached.cached_bytes + heap.TransferCachedBytes();
  out->large_bytes = pages.large.bytes();
  out->metadata_bytes = heap.metadata_bytes();
  out->spans_in_use = pages.spans_in_use;
  out->spans_free = pages.spans_free;
  out->allocations =
      counters.shown_allocations.RaiseTo(cached.allocations + counters.allocations.Get());
  out->allocated_bytes = counters.shown_allocated_bytes.RaiseTo(cached.allocated_bytes +
                                                                counters.allocated_bytes.Get());
  out->frees_local =
      counters.shown_frees_local.RaiseTo(cached.frees_local + counters.frees_local.Get());
  out->frees_remote = counters.frees_remote.Get();
  out->remote_pending = heap.remote_waiting() + (started() ? cache_.RemotePending(heap) : 0);
  out->scavenged_bytes = pages.scavenged_bytes;
  out->growths = pages.growths;
  out->failed_growths = pages.failed_growths;
  out->usable = heap.usable();
  out->audited_home_pages = heap.audit().home_pages();
  out->audited_away_pages = heap.audit().away_pages();
  out->healed_pages = heap.audit().healed_pages();
}

uint64_t Allocator::FreedBytes(NodeHeap& from, NodeHeap& home) {
  const int row = heaps_.RangeOf(from), column = heaps_.RangeOf(home);
  uint64_t bytes = heaps_.freed().Get(row, column);
  if (started()) {
    // Behind the matrix: what goes home meanwhile is missed for a moment, and never counted twice.
    bytes += cache_.RemotePendingBytes(from.node(), home);
    if (&from == &home) bytes += cache_.Totals(home.node()).freed_local_bytes;
  }
  return heaps_.shown_freed().RaiseTo(row, column, bytes);
}

void Allocator::FillPairs(const numaheap_snapshot_t& snapshot) {
  const uint32_t count = std::min(snapshot.node_count, snapshot.node_capacity);
  for (uint32_t i = 0; i < count; ++i) {
    NodeHeap& from = *heaps_.heap({snapshot.nodes[i].node});
    for (uint32_t j = 0; j < count; ++j) {
      NodeHeap& to = *heaps_.heap({snapshot.nodes[j].node});
      const size_t index = size_t{i} * snapshot.node_capacity + j;
      if (snapshot.freed_bytes != nullptr) snapshot.freed_bytes[index] = FreedBytes(from, to);
      if (snapshot.spills != nullptr) {
        snapshot.spills[index] = heaps_.spilled().Get(heaps_.RangeOf(from), heaps_.RangeOf(to));
      }
    }
  }
}

int Allocator::TakeSnapshot(numaheap_snapshot_t* snapshot) {
  if (snapshot->version != NUMAHEAP_SNAPSHOT_VERSION) return EINVAL;
  snapshot->node_count = 0;
  ForEachNodeSnapshot([snapshot](const numaheap_node_snapshot_t& node) {
    if (snapshot->node_count < snapshot->node_capacity) {
      snapshot->nodes[snapshot->node_count] = node;
    }
    ++snapshot->node_count;
  });
  FillPairs(*snapshot);
  snapshot->cache_mode = !started()           ? NUMAHEAP_CACHE_BOOT
                         : cache_.uses_rseq() ? NUMAHEAP_CACHE_RSEQ
                                              : NUMAHEAP_CACHE_LOCKED;
  snapshot->placement_mode = placement_mode_;
  snapshot->reservation_halvings = static_cast<uint32_t>(space_.halvings());
  strncpy(snapshot->metrics_address, background_.metrics_address(),
          sizeof snapshot->metrics_address - 1);
  snapshot->metrics_address[sizeof snapshot->metrics_address - 1] = '\0';
  return 0;
}

numaheap_node_snapshot_t Allocator::SumOfNodes() {
  numaheap_node_snapshot_t sum = {};
  ForEachNodeSnapshot([&sum](const numaheap_node_snapshot_t& node) {
    sum.committed_bytes += node.committed_bytes;
    sum.in_use_bytes += node.in_use_bytes;
    sum.idle_bytes += node.idle_bytes;
    sum.released_bytes += node.released_bytes;
    sum.cached_bytes += node.cached_bytes;
    sum.large_bytes += node.large_bytes;
    sum.spans_free += node.spans_free;
  });
  return sum;
}

// ---- Fork --------------------------------------------------------------------------------------

namespace {

// The ranks of a NodeHeap's locks, in order.
constexpr LockRank kHeapRanks[] = {LockRank::kRemoteInbox, LockRank::kTransferCache,
                                   LockRank::kCentralFreeList, LockRank::kPageHeap,
                                   LockRank::kMetadata};

}  // namespace

void Allocator::LockForFork() {
  Lock::BeginFork();
  start_lock_.Acquire();
  cache_.LockForFork();
  for (LockRank rank : kHeapRanks) {
    heaps_.ForEach([rank](NodeHeap& heap) { heap.LockRankForFork(rank); });
  }
  Lock::BeginHoldingAll();
}

void Allocator::UnlockAfterFork() {
  Lock::EndHoldingAll();
  for (auto rank = std::rbegin(kHeapRanks); rank != std::rend(kHeapRanks); ++rank) {
    heaps_.ForEach([rank](NodeHeap& heap) { heap.UnlockRankAfterFork(*rank); });
  }
  cache_.UnlockAfterFork();
  start_lock_.Release();
  Lock::EndFork();
}

}  // namespace numaheap

[[gnu::constructor]] static void StartNumaheap() {
  numaheap::allocator.Start();
}
