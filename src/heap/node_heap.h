// NodeHeap: everything one node owns. Pages, central lists, transfer caches, and what other nodes
// have freed.
//
// Lives at the start of its own address range, so its locks and lists are on its node. Created
// once, never destroyed. Thread-safe.
//
//   AllocateBatch: transfer cache -> (many remote frees: swept) -> central list -> remote frees
//   swept
//                  -> new span
//   FreeBatch:     transfer cache -> central list -> page heap
#pragma once

#include <atomic>
#include <cstddef>

#include "src/base/ids.h"
#include "src/heap/allocation_profile.h"
#include "src/heap/central_free_list.h"
#include "src/heap/finalizer_queue.h"
#include "src/heap/location_audit.h"
#include "src/heap/metadata_arena.h"
#include "src/heap/page_heap.h"
#include "src/heap/remote_frees.h"
#include "src/heap/size_map.h"
#include "src/heap/special.h"
#include "src/heap/transfer_cache.h"
#include "src/os/address_space.h"
#include "src/stats/counters.h"

namespace numaheap {

// A block that is, or was, handed out.
struct Block {
  Span* span = nullptr;  // null: no block there
  char* start = nullptr;
  size_t size = 0;       // usable bytes
  SizeClass size_class;  // kNoClass: large
};

class NodeHeap {
 public:
  // Builds a heap in the range [start, start + bytes). `node`: kNoNode for the interleaved heap.
  // `whole_maps`: commit the page map at once, where that costs nothing before it is touched: fewer
  // mappings. Null when the kernel refuses even the first pages.
  static NodeHeap* Create(Kernel& kernel, char* start, size_t bytes, size_t arena_extra,
                          NodeId node, bool whole_maps = false);

  NodeId node() const { return node_; }
  const PageMap& map() const { return pages_.map(); }
  const NodeRange& range() const { return range_; }

  // From now on transfer caches are kept for this many last-level caches. Called while starting.
  void SetCacheDomains(int domains);

  // Whether the process may use this node's memory. While it may not, the heap hands nothing out;
  // what it has handed out may come back.
  bool usable() const { return usable_.load(std::memory_order_relaxed); }
  void SetUsable(bool usable) { usable_.store(usable, std::memory_order_relaxed); }

  // Notes that the kernel is told where the range's memory should lie; true the first time.
  bool SetPlaced() { return !placed_.exchange(true, std::memory_order_relaxed); }

  // Takes up to `n` (at most kMaxBatch) blocks; returns how many, 0 when memory has run out.
  int AllocateBatch(SizeClass c, int cache_domain, void** out, int n);
  // Takes back blocks of class `c` of this heap.
  void FreeBatch(SizeClass c, int cache_domain, void* const* blocks, int n);

  // As above, past the transfer cache: for a block of a span that has specials.
  void FreeToSpan(SizeClass c, void* block) { central(c).InsertBatch(&block, 1); }

  // An object with pages of its own. `alignment` in bytes, a power of two. Null when memory has run
  // out. *zeroed says whether it is known to be zero.
  void* AllocateLarge(size_t size, size_t alignment, bool* zeroed);
  void FreeLarge(Span* span) { pages_.Free(span); }
  // Makes a large object `size` bytes without moving it, if that can be done.
  bool ResizeLarge(Span* span, size_t size);

  // How many caches of CPUs live on this heap.
  int cpu_caches() const { return cpu_caches_.load(std::memory_order_relaxed); }
  void AddCpuCaches(int n) { cpu_caches_.fetch_add(n, std::memory_order_relaxed); }

  // Takes blocks that a CPU of another node has freed.
  void ReceiveRemote(void* const* blocks, int n);
  // Gives what ReceiveRemote() gathered back to the lists. Returns the number of blocks.
  size_t SweepRemote();

  // The class that the byte map shows for `ptr`, which may lie anywhere: kNoClass where blocks have
  // specials, too.
  SizeClass ClassAt(const void* ptr) const {
    const size_t offset = static_cast<size_t>(static_cast<const char*>(ptr) - range_.heap.start());
    if (offset >= range_.heap.reserved_bytes()) return kNoClass;
    return map().ClassAt({static_cast<uint32_t>(offset >> kPageShift)});
  }

  // The class of a small block of this heap that is on its way home, whatever the byte map shows;
  // kNoClass where none lies any more.
  SizeClass ClassOfBlock(const void* block) const {
    const PageId page = map().PageOf(block);
    const SizeClass c = map().ClassAt(page);
    return c != kNoClass ? c : HiddenClassAt(page);
  }

  // The block that contains `ptr`, which must lie in this heap's range. Safe for any such address.
  Block Find(const void* ptr) const;

  // Whether `block`, found just now, lies in the central list.
  bool IsFree(const Block& block) {
    return block.size_class != kNoClass &&
           central(block.size_class).IsFree(block.span, block.start);
  }

  // Empties transfer caches: all of them, or only what has not been needed since the last call.
  void FlushTransferCaches(bool only_unused);

  size_t ReleaseIdle(uint64_t cutoff_ms, size_t at_most) {
    return pages_.ReleaseIdle(cutoff_ms, at_most);
  }

  // A round of the location audit, if it is time; for one thread at a time.
  void AuditLocations(bool heal);
  const LocationAudit& audit() const { return audit_; }

  size_t TransferCachedBytes();
  PageHeapStats page_stats() { return pages_.stats(); }
  ClassStats class_stats(SizeClass c) { return central(c).stats(); }
  size_t remote_waiting() const { return remote_.waiting(); }
  size_t metadata_bytes();
  PageHeap& pages() { return pages_; }
  Specials& specials() { return specials_; }
  AllocationProfile& profile() { return profile_; }
  FinalizerQueue& finalizers() { return finalizers_; }
  const FinalizerQueue& finalizers() const { return finalizers_; }
  MetadataArena& arena() { return arena_; }
  HeapCounters& counters() { return counters_; }

  // Takes or releases this heap's locks of one rank.
  void LockRankForFork(LockRank rank) ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void UnlockRankAfterFork(LockRank rank) ABSL_NO_THREAD_SAFETY_ANALYSIS;

  void CheckInvariants();
  // That the heap's statistics are what its spans add up to. Only while nobody uses it: a span on
  // its way from one list to another is in neither count.
  void CheckStatsAtRest();

 private:
  friend struct Inspection;  // src/api/inspection.h

  static constexpr int kMaxCacheDomains = 64;  // more share

  NodeHeap(Kernel& kernel, char* areas, size_t bytes, size_t arena_extra, NodeId node);

  CentralFreeList& central(SizeClass c) { return central_[c.value]; }
  TransferCache* transfer(SizeClass c, int domain) {
    TransferCache* caches = transfer_[domain % domains_.load(std::memory_order_acquire)];
    return caches == nullptr ? nullptr : &caches[c.value];
  }
  SizeClass HiddenClassAt(PageId page) const;
  bool AddCacheDomain(int domain);
  template <typename Visit>
  void ForEachTransferCache(Visit visit);
  template <typename Visit>
  void ForEachLock(LockRank rank, Visit visit);

  Kernel& kernel_;
  const NodeId node_;
  size_t header_bytes_ = 0;
  NodeRange range_;
  MetadataArena arena_;
  PageHeap pages_;
  Specials specials_{pages_, arena_};
  AllocationProfile profile_{arena_};
  FinalizerQueue finalizers_;
  RemoteFrees remote_;
  HeapCounters counters_;
  LocationAudit audit_;
  std::atomic<int> cpu_caches_{0};
  std::atomic<bool> usable_{true};
  std::atomic<bool> placed_{false};
  std::atomic<int> domains_{1};
  TransferCache* transfer_[kMaxCacheDomains] = {};  // [kSizeClasses] each; constant once published
  union {                                           // built one by one: no default constructor
    CentralFreeList central_[kSizeClasses];
  };
};

}  // namespace numaheap
