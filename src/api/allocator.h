// Allocator: the composition root. The one object that knows the process: it opens the first heap
// at the first allocation, reads the settings and opens everything else in the library's
// constructor, and then connects malloc and free to caches and heaps.
//
//   boot   first allocation: one heap on the node of the caller, no library but libc, no caches
//   start  constructor: settings, topology, all heaps, placement, caches
//
// There is one, `allocator`, constant-initialised: it works before any constructor has run.
// Everything is thread-safe; functions that allocate return null when memory has run out and leave
// errno to their callers.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstddef>

#include "exporters/profile/profile_plugin.h"
#include "numa/numa_plugin.h"
#include "src/api/background.h"
#include "src/api/fast_path.h"
#include "src/api/numaheap.h"
#include "src/cache/cpu_cache.h"
#include "src/heap/node_heaps.h"
#include "src/os/address_space.h"
#include "src/os/id_list.h"
#include "src/os/linux_kernel.h"
#include "src/settings/settings.h"

namespace numaheap {

class Allocator {
 public:
  constexpr Allocator() = default;

  // The rest of opening, once, from the library's constructor.
  void Start();

  // `caller`: who called from outside of the library; see Background::MaybeStart.
  void* Allocate(size_t size, const void* caller);
  // `alignment` in bytes, a power of two.
  void* AllocateAligned(size_t size, size_t alignment, const void* caller);
  // `size` bytes of zeros.
  void* AllocateZeroed(size_t size, const void* caller);
  // From that heap or not at all.
  void* AllocateOn(NodeHeap& heap, size_t size, const void* caller);

  // `operation`: what the program called, for the message when `ptr` is no block.
  void Free(void* ptr, const char* operation, const void* caller);
  // True when the block at `ptr` now holds `size` bytes (not 0); else it is as it was, *usable
  // bytes large.
  bool ResizeInPlace(void* ptr, size_t size, const char* operation, size_t* usable);
  size_t UsableSize(const void* ptr, const char* operation);

  // The heap for requests that name this node. Null when there is none, or when this process may
  // not or, by its settings, does not use it.
  NodeHeap* HeapOnNode(NodeId node);
  // Null when there is no memory for it.
  NodeHeap* InterleavedHeap();

  // The node that the calling thread allocates from; kNoNode: that of the CPU which runs it. False
  // when it has no heap.
  bool SetThreadNode(NodeId node);
  NodeId ThreadNode() const;

  // Errors as in numaheap.h.
  int AddFinalizer(void* ptr, void (*function)(void*, void*), void* argument);
  int RemoveFinalizer(void* ptr);
  // Runs the finalizers that wait now, of one heap or of all; returns how many. Call it without a
  // lock held.
  size_t RunFinalizers(NodeHeap& heap);
  size_t RunFinalizers();

  // Writes what was sampled to `fd`. Errors as in numaheap.h.
  int DumpProfile(int fd);

  int Owner(const void* ptr, numaheap_owner_t* owner);
  size_t ReleaseMemory();

  int TakeSnapshot(numaheap_snapshot_t* snapshot);
  // Calls visit(const numaheap_node_snapshot_t&), the interleaved heap first, then by rising node.
  template <typename Visit>
  void ForEachNodeSnapshot(Visit visit);
  numaheap_node_snapshot_t SumOfNodes();

  int Walk(NodeId node, int (*visit)(const numaheap_span_t* span, void* argument), void* argument);

  // One round of a heap's scavenger, on its thread: runs finalizers, sweeps what other nodes freed,
  // with `drain_unused` empties caches that have rested since the last such round, releases what
  // has been idle since `cutoff_ms`, and audits where pages lie.
  void ScavengeNode(NodeHeap& heap, uint64_t cutoff_ms, bool drain_unused);

  // Looks whether the cpuset has changed. Heaps of nodes that were lost hand nothing out from then
  // on, their CPUs are served by others and what they have free is released; those that came back
  // go on as before. By any scavenger's thread, at least `period_ms` apart.
  void WatchCpuset(uint64_t period_ms);

  const Settings& settings() const { return settings_; }
  Kernel& kernel() { return kernel_; }
  Background& background() { return background_; }

  void LockForFork() ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void UnlockAfterFork() ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void ResetInChild();

 private:
  friend struct Inspection;  // src/api/inspection.h

  enum State : int { kNone, kBooted, kStarted };

  // Opens the first heap if that has not been done. False when not even that can be had.
  bool Boot() {
    return __builtin_expect(state_.load(std::memory_order_acquire) != kNone, 1) || BootSlow();
  }
  bool BootSlow();
  bool OpenFirstHeap() ABSL_EXCLUSIVE_LOCKS_REQUIRED(start_lock_);
  bool started() const { return state_.load(std::memory_order_acquire) == kStarted; }

  void ReadSettings();
  const Topology* FindTopology();
  const Topology* SingleNodeTopology();
  // Makes the heaps usable whose nodes `allowed(NodeId)` allows and the settings want. If there are
  // none all stays as it is. True if that changed one.
  template <typename Allowed>
  bool SetUsable(Allowed allowed);
  // Whether the settings want memory of the node to be used.
  bool IsWanted(NodeId node) const;
  void Place();
  // Whether memory lies where the kernel puts it, not where the settings make it up.
  bool HasRealNodes() const {
    return topology_ != nullptr && topology_->CountNodes() > 1 && !topology_->synthetic;
  }
  void PlaceHeap(NodeHeap& heap);
  // Empties the caches of a heap and gives all that it has free back. Returns the bytes.
  size_t Empty(NodeHeap& heap);
  ptrdiff_t ChooseRseqOffset();

  // The heap that the calling thread allocates from.
  NodeHeap& LocalHeap();
  void* TakeFrom(NodeHeap& heap, size_t size);
  void* AllocateSmall(SizeClass c);
  void* AllocateLarge(size_t size, size_t alignment, bool* zeroed);
  void* AllocateLargeOn(NodeHeap& heap, size_t size, size_t alignment, bool* zeroed);
  // Where a call came from: the program's, and that of our function which marks where our frames
  // end in a stack trace.
  struct Caller {
    const void* program;
    const void* entry;
  };
  void OpenProfile();
  // Whether the thread's next allocation is to be recorded.
  bool IsSampled(size_t size) {
    const size_t interval = sample_interval_.load(std::memory_order_acquire);
    return interval != 0 && TakeSample(size, interval);
  }
  static bool TakeSample(size_t size, size_t interval);
  // A block with pages of its own, whatever its size, that is in the profile. Null when there is no
  // memory for that.
  void* AllocateSampled(size_t size, size_t alignment, bool* zeroed, const Caller& caller);
  void* AllocateSampledOn(NodeHeap& heap, size_t size, const Caller& caller);
  void RecordSample(void* block, size_t size, const Caller& caller);
  void ForgetSample(NodeHeap& home, const Special& special);
  // Opens the fast path, or closes it while every allocation and free has to come here.
  void ChooseFastPath() ABSL_EXCLUSIVE_LOCKS_REQUIRED(start_lock_);
  // Looks after the heap that a block came from.
  void* Handed(void* block, const void* caller);
  [[gnu::noinline]] void FreeBeforeStart(NodeHeap& home, SizeClass c, void* ptr);
  // Frees what the byte map shows no class for, large objects and blocks of spans with specials, or
  // dies of it.
  [[gnu::noinline]] void FreeLarge(void* ptr, const char* operation, const void* caller);
  // The end of such a block.
  void GiveBack(NodeHeap& home, const Block& block);
  // The class of the small block at `ptr`, by the byte map alone; kNoClass for what is none, as far
  // as that can tell.
  SizeClass SmallClassOf(const void* ptr) const;
  // The block that starts at `ptr`, or death: what it is not is said as of `operation`.
  Block BlockOrDie(const void* ptr, const char* operation, NodeHeap** home);
  // `online`: the CPUs that are.
  void FillNode(NodeHeap& heap, const IdListFile& online, numaheap_node_snapshot_t* out);
  void FillPairs(const numaheap_snapshot_t& snapshot);
  void FillClasses(const numaheap_snapshot_t& snapshot);
  // What CPUs of the node of `from` have freed of `home`.
  uint64_t FreedBytes(NodeHeap& from, NodeHeap& home);

  std::atomic<int> state_{kNone};
  Lock start_lock_{LockRank::kStart};
  LinuxKernel kernel_;
  AddressSpace space_;
  NodeHeaps heaps_{kernel_, space_};
  CpuCache cache_{kernel_, heaps_, fast_path};
  Background background_;

  // Threads that have a node of their own, and what tells when one of them ends.
  int threads_with_node_ ABSL_GUARDED_BY(start_lock_) = 0;
  bool has_thread_key_ ABSL_GUARDED_BY(start_lock_) = false;
  pthread_key_t thread_key_ ABSL_GUARDED_BY(start_lock_) = 0;

  // Constant once booted.
  NodeHeap* first_heap_ = nullptr;
  int cpu_limit_ = 0;
  int highest_node_ = 0;  // that the machine could have

  // Constant once started.
  Settings settings_;
  NumaPlugin numa_ = {};
  const Topology* topology_ = nullptr;

  // Constant once sample_interval_ is not 0.
  numaheap_profile_trace_t profile_trace_ = nullptr;
  numaheap_profile_write_t profile_write_ = nullptr;
  std::atomic<size_t> sample_interval_{0};  // bytes; 0: nothing is sampled

  std::atomic<uint32_t> placement_mode_{NUMAHEAP_PLACEMENT_SINGLE_NODE};
  std::atomic<uint64_t> watch_at_ms_{0};  // when the cpuset is looked at next
};

extern constinit Allocator allocator;

template <typename Visit>
void Allocator::ForEachNodeSnapshot(Visit visit) {
  if (!Boot()) return;
  const IdListFile online("/sys/devices/system/cpu/online");
  const auto visit_heap = [&](NodeHeap& heap) {
    numaheap_node_snapshot_t node;
    FillNode(heap, online, &node);
    visit(node);
  };
  if (NodeHeap* interleaved = heaps_.interleaved()) visit_heap(*interleaved);
  heaps_.ForEach([&](NodeHeap& heap) {
    if (heap.node() != kNoNode) visit_heap(heap);
  });
}

}  // namespace numaheap
