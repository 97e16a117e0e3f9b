// CpuCache: the caches of all CPUs, and what happens when one misses, overflows, or meets a block
// of another node.
//
// The fast path (SlabPop, SlabPush on FastPath) never comes here. In the rseq mode slabs change by
// restartable sequences; in the locked mode, for kernels and sandboxes without them, FastPath leads
// nowhere and every operation comes here and takes the CPU's lock. In the rseq mode it can be
// closed for a while; operations then come here, too, and use the slabs by a path of this object's
// own.
//
// Each CPU may cache bytes_per_cpu; less while the heap is small. A class that often misses or
// overflows gets capacity from what is left, else from classes that were not used since the hand
// last passed them (second chance).
//
// A CPU's cache belongs to one heap. When that can't be used any more (the process has lost the
// node), the CPU gets another cache, of the heap that serves its node now, and keeps the old one
// for when the node comes back.
//
// Opened once, while starting; thread-safe afterwards. Locks: a CPU's own, then those of heaps.
#pragma once

#include <atomic>
#include <cstddef>

#include "numa/topology.h"
#include "src/base/lock.h"
#include "src/cache/cpu_slab.h"
#include "src/cache/slab_ops.h"
#include "src/heap/node_heaps.h"
#include "src/stats/counters.h"

namespace numaheap {

// What the caches of one node's CPUs hold and have done.
struct CacheTotals {
  uint64_t cached_bytes = 0;
  uint64_t allocations = 0;
  uint64_t allocated_bytes = 0;
  uint64_t frees_local = 0;
  uint64_t freed_local_bytes = 0;
};

class CpuCache {
 public:
  constexpr CpuCache(Kernel& kernel, NodeHeaps& heaps, FastPath& fast)
      : kernel_(kernel), heaps_(heaps), fast_(fast) {}

  // `topology` must outlive this object. `rseq_offset`: where threads have their registered area,
  // or 0 for the locked mode. False when there is no memory for the tables. Opens the fast path
  // last.
  bool Open(const Topology& topology, ptrdiff_t rseq_offset, size_t bytes_per_cpu);

  // Bytes of address space that the records of `cpus` CPUs take in a heap's arena.
  static size_t RecordBytes(int cpus);

  bool uses_rseq() const { return uses_rseq_; }

  // Sends every allocation and free here, and no longer. For one thread at a time.
  void CloseFastPath();
  void OpenFastPath();

  // A block of class `c` from the node of the CPU that runs the caller, or, when that is full, from
  // the next one. Null when no node has memory.
  void* Allocate(SizeClass c);

  // As above, past the caches, from `heap` or the next one.
  void* AllocatePast(NodeHeap& heap, SizeClass c);

  // Keeps a block of class `c` until it is sent home, if it is another node's and there is room.
  // What most frees of other nodes' blocks come to, so it is short.
  [[gnu::always_inline]] bool KeepRemote(SizeClass c, void* block) {
    // No offset: the locked mode, or not open yet.
    return own_.rseq_offset.load(std::memory_order_acquire) != 0 &&
           c <= kSizeMap.ClassOf(kRemoteSlotBytes) &&
           SlabPushRemote(own_, c, block) == PushResult::kDone;
  }

  // Takes back a block of class `c` of `home`. Dies of a misaligned or just freed one; `operation`
  // is what the program called.
  void Free(NodeHeap& home, SizeClass c, void* block, const char* operation);

  // Sends what all CPUs have gathered for `home` there.
  void DeliverRemoteFrees(NodeHeap& home);

  // Empties the caches of all CPUs, or, on the CPUs of `node`, the classes that were not used
  // between the last two calls. Where the kernel can't interrupt sequences, caches stay as they
  // are.
  void DrainAll();
  void DrainUnused(NodeId node);

  // Gives each CPU a cache of the heap that now serves its node. Where the kernel can't interrupt
  // sequences, caches stay.
  void Rehome();

  CacheTotals Totals(NodeId node) const;
  // What CPUs of all nodes have gathered of `home`: blocks, and those of the node `from`: bytes.
  uint64_t RemotePending(const NodeHeap& home) const;
  uint64_t RemotePendingBytes(NodeId from, const NodeHeap& home) const;

  // The heap that serves a CPU. Once open.
  NodeHeap& HeapOf(CpuId cpu) const;
  NodeHeap& LocalHeap() const { return HeapOf(kernel_.CurrentCpu()); }

  void LockForFork() ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void UnlockAfterFork() ABSL_NO_THREAD_SAFETY_ANALYSIS;

  // Dies if a cached block is of another node or class, or if capacities don't add up to the
  // budget. The caches must be at rest.
  void CheckInvariants();

 private:
  // What a stack had none of when it was last used in vain, and how often in a row.
  enum class Lack : uint8_t { kNothing, kBlocks, kRoom };
  struct Streak {
    Lack lack = Lack::kNothing;
    uint8_t times = 0;
    uint32_t pops = 0;  // the stack's, then
  };
  // What a stack may hold, and whether blocks only pass through it one way.
  struct Room {
    int capacity;
    bool one_way;
  };

  // The records of one CPU for one heap, in the arena of that.
  struct PerCpu {
    PerCpu(NodeHeap& h, NodeId node, int domain, CpuSlab* s)
        : heap(h), node(node), cache_domain(domain), slab(s) {}

    // Constant.
    NodeHeap& heap;
    const NodeId node;  // of the CPU
    const int cache_domain;
    CpuSlab* const slab;

    // A ring of all records of this CPU; grows under create_lock_.
    std::atomic<PerCpu*> other{this};

    Lock lock{LockRank::kCpuCache};
    int64_t limit ABSL_GUARDED_BY(lock) = 0;   // bytes of capacity that the stacks may have
    int64_t budget ABSL_GUARDED_BY(lock) = 0;  // of these, not dealt out
    int hand ABSL_GUARDED_BY(lock) = 1;        // the class to take capacity from next
    uint32_t seen_pops[kSizeClasses] ABSL_GUARDED_BY(lock) = {};   // when the hand passed
    uint64_t seen_words[kSizeClasses] ABSL_GUARDED_BY(lock) = {};  // when DrainUnused looked
    Streak streaks[kSizeClasses] ABSL_GUARDED_BY(lock);            // of calls of MakeRoom
    bool asked_to_gather ABSL_GUARDED_BY(lock) = false;            // see StartGathering

    // Own synchronisation.
    // Blocks that came into and left the slab in batches, and that went past it.
    Counter moved_in, moved_in_bytes, moved_out, moved_out_bytes;
    Counter allocations, allocated_bytes, frees, freed_bytes;
  };

  NodeId NodeOf(CpuId cpu) const;
  // The records in use of a CPU, null if it has none.
  PerCpu* At(int64_t cpu) const {
    return cpu >= 0 && cpu < cpu_limit_ ? cpus_[cpu].load(std::memory_order_acquire) : nullptr;
  }
  // Calls visit(PerCpu&) for all records, those put away among them.
  template <typename Visit>
  void ForEachRecord(Visit visit) const;
  // The records whose slab a batch operation has moved `block` into or out of.
  PerCpu& RecordOf(const BatchResult& moved, const void* block) const;
  // The records of a CPU, made now if need be. Null when there is no memory for them.
  PerCpu* Get(CpuId cpu);
  // New records, not in use yet.
  PerCpu* Make(CpuId cpu, NodeId node, NodeHeap& heap) ABSL_EXCLUSIVE_LOCKS_REQUIRED(create_lock_);
  // The records of the ring of `cpu` for `heap`, made now if need be.
  PerCpu* FindOrMake(CpuId cpu, PerCpu& any, NodeHeap& heap)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(create_lock_);
  // Empties `from` and lets `to` take its place.
  void Replace(CpuId cpu, PerCpu& from, PerCpu& to);
  // Bytes that the cache of each CPU of `heap` may hold by now.
  int64_t LimitOf(const NodeHeap& heap) const;
  // Records have a budget while they are in use.
  void OpenBudget(PerCpu& cpu);
  void RaiseLimit(PerCpu& cpu) ABSL_EXCLUSIVE_LOCKS_REQUIRED(cpu.lock);

  // Operations on a CPU's slab in whichever mode. In the rseq mode they work on the CPU that runs
  // the caller, which may have become another one; so each says where.
  static void CountOut(PerCpu& cpu, SizeClass c, int blocks);
  BatchResult PushBatch(PerCpu& cpu, SizeClass c, void* const* blocks, int n);
  BatchResult PopBatch(PerCpu& cpu, SizeClass c, void** out, int n);
  BatchResult Take(PerCpu& cpu, SizeClass c, void** out, int n);
  PushResult Push(PerCpu& cpu, SizeClass c, void* block);
  PushResult PushRemote(PerCpu& cpu, SizeClass c, void* block);
  void* Pop(PerCpu& cpu, SizeClass c);

  // Gives class `c` capacity for up to a batch more, if that helps against what it lacks.
  Room MakeRoom(PerCpu& cpu, SizeClass c, Lack lack);
  void TakeCapacity(PerCpu& cpu, SizeClass for_class, int64_t need)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(cpu.lock);
  // Takes up to `n` blocks of the slab of whichever CPU this is and gives them to that CPU's heap.
  void Evict(PerCpu& cpu, SizeClass c, int n);
  void EvictLocked(PerCpu& cpu, SizeClass c, int n) ABSL_EXCLUSIVE_LOCKS_REQUIRED(cpu.lock);
  void GiveBack(const BatchResult& taken, SizeClass c, void* const* blocks);
  void FreeRemote(PerCpu& cpu, SizeClass c, void* block);
  // Puts a block, or null, on the remote stack; what is there goes home first if need be.
  bool Gather(PerCpu& cpu, SizeClass c, void* block);
  // Opens the remote stack, if what is gathered there can be taken out again. Asks the kernel once.
  void StartGathering(PerCpu& cpu);
  // Sends blocks home that a CPU of the node `from` has freed. Reorders them.
  void SendHome(NodeHeap& from, void** blocks, int n);
  // What lies on the remote stack and is `home`'s. Of a stack that changes meanwhile, bytes are 0.
  struct Gathered {
    uint64_t blocks = 0, bytes = 0;
  };
  Gathered GatheredFor(const NodeHeap& home, PerCpu& cpu) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(cpu.lock);

  // Takes a slab from its CPU; afterwards nobody else touches it. False when that can't be done.
  bool Withdraw(int64_t index, PerCpu& cpu) ABSL_EXCLUSIVE_LOCKS_REQUIRED(cpu.lock);
  // Lets the CPU use the slab.
  void Install(int64_t index, PerCpu& cpu);
  // Empties those classes of a withdrawn slab for which selected(SizeClass) holds.
  template <typename Selected>
  void Empty(PerCpu& cpu, Selected selected) ABSL_EXCLUSIVE_LOCKS_REQUIRED(cpu.lock);
  // Takes all off the remote stack of a withdrawn slab; returns how many.
  static int EmptyRemote(PerCpu& cpu, void** out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(cpu.lock) {
    return cpu.slab->PopBatchExclusive(kRemoteStack, out, kRemoteSlots);
  }

  Kernel& kernel_;
  NodeHeaps& heaps_;
  FastPath& fast_;
  FastPath own_{0, nullptr};

  // Constant after Open().
  const Topology* topology_ = nullptr;
  bool uses_rseq_ = false;
  int cpu_limit_ = 0;
  int64_t bytes_per_cpu_ = 0;
  std::atomic<PerCpu*>* cpus_ = nullptr;    // [cpu_limit_]: records in use
  std::atomic<CpuSlab*>* slabs_ = nullptr;  // [-2, cpu_limit_): what fast_.slabs points to
  CpuSlab* no_slab_ = nullptr;

  Lock create_lock_{LockRank::kCpuCreate};
};

}  // namespace numaheap
