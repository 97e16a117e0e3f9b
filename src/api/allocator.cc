#include "src/api/allocator.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include <algorithm>

#include "src/heap/report.h"

namespace numaheap {

constinit Allocator allocator;

namespace {

// What numaheap_set_thread_node chose; null: the heap of the CPU.
[[gnu::tls_model("initial-exec")]] constinit thread_local NodeHeap* thread_heap = nullptr;

// Larger requests can't be blocks: differences of pointers into them would overflow.
constexpr size_t kMaxSize = PTRDIFF_MAX;

}  // namespace

// ---- Allocation --------------------------------------------------------------------------------

void* Allocator::Allocate(size_t size, const void* caller) {
  if (size > kMaxSize || !Boot()) return nullptr;
  bool zeroed;
  if (IsSampled(size)) {
    void* block = AllocateSampled(size, 1, &zeroed, {caller, __builtin_return_address(0)});
    if (block != nullptr) return Handed(block, caller);
  }
  return Handed(size <= kMaxSmallSize ? AllocateSmall(kSizeMap.ClassOf(size))
                                      : AllocateLarge(size, 1, &zeroed),
                caller);
}

void* Allocator::AllocateAligned(size_t size, size_t alignment, const void* caller) {
  if (size > kMaxSize || alignment > kMaxSize || !Boot()) return nullptr;
  const SizeClass c = kSizeMap.ClassOf(size, alignment);
  bool zeroed;
  if (IsSampled(size)) {
    void* block = AllocateSampled(size, alignment, &zeroed, {caller, __builtin_return_address(0)});
    if (block != nullptr) return Handed(block, caller);
  }
  return Handed(c != kNoClass ? AllocateSmall(c)
                              : AllocateLarge(std::max<size_t>(size, 1), alignment, &zeroed),
                caller);
}

void* Allocator::AllocateZeroed(size_t size, const void* caller) {
  if (size > kMaxSize || !Boot()) return nullptr;
  bool zeroed = false;
  void* block = nullptr;
  if (IsSampled(size)) {
    block = AllocateSampled(size, 1, &zeroed, {caller, __builtin_return_address(0)});
  }
  if (block == nullptr) {
    block = size <= kMaxSmallSize ? AllocateSmall(kSizeMap.ClassOf(size))
                                  : AllocateLarge(size, 1, &zeroed);
  }
  block = Handed(block, caller);
  return block == nullptr || zeroed ? block : memset(block, 0, size);
}

void* Allocator::AllocateOn(NodeHeap& heap, size_t size, const void* caller) {
  if (size <= kMaxSize && IsSampled(size)) {
    void* block = AllocateSampledOn(heap, size, {caller, __builtin_return_address(0)});
    if (block != nullptr) return Handed(block, caller);
  }
  return Handed(TakeFrom(heap, size), caller);
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
  ChooseFastPath();
  return true;
}

void Allocator::ChooseFastPath() {
  if (threads_with_node_ > 0 || sample_interval_.load(std::memory_order_relaxed) > 0) {
    cache_.CloseFastPath();
  } else {
    cache_.OpenFastPath();
  }
}

void Allocator::ResetInChild() {
  background_.ResetInChild();
  LockHolder holder(start_lock_);
  threads_with_node_ = thread_heap != nullptr;  // of the threads, this one alone is here
  ChooseFastPath();
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

void Allocator::Free(void* ptr, const char* operation, const void* caller) {
  NodeHeap* home = heaps_.HomeOf(ptr);
  const SizeClass c = home == nullptr ? kNoClass : home->ClassAt(ptr);
  if (c == kNoClass) return FreeLarge(ptr, operation, caller);
  if (cache_.KeepRemote(c, ptr)) return;
  if (started()) return cache_.Free(*home, c, ptr, operation);
  FreeBeforeStart(*home, c, ptr);
}

void Allocator::FreeBeforeStart(NodeHeap& home, SizeClass c, void* ptr) {
  home.counters().frees_local.Add(1);
  home.FreeBatch(c, 0, &ptr, 1);
}

void Allocator::FreeLarge(void* ptr, const char* operation, const void* caller) {
  NodeHeap* home;
  const Block block = BlockOrDie(ptr, operation, &home);
  Specials::Freed specials;
  if (Specials::HasAny(*block.span)) specials = home->specials().TakeFreed(block.span, ptr);
  if (specials.twice) {
    ReportAlreadyFree(operation, ptr, home->node(), block.size_class, block.size);
  }
  const NodeHeap& here = started() ? cache_.LocalHeap() : *home;
  const bool local = home == &here || home->node() == kNoNode;
  if (specials.has_profile) ForgetSample(*home, specials.profile);
  (local ? home->counters().frees_local : home->counters().frees_remote).Add(1);
  heaps_.freed().Add(heaps_.RangeOf(here), heaps_.RangeOf(*home), block.size);
  if (specials.finalizer == nullptr) return GiveBack(*home, block);
  home->finalizers().Put(specials.finalizer);
  background_.MaybeStart(*home, heaps_.RangeOf(*home), caller);
}

void Allocator::GiveBack(NodeHeap& home, const Block& block) {
  if (block.size_class == kNoClass) {
    home.FreeLarge(block.span);
  } else {
    home.FreeToSpan(block.size_class, block.start);
  }
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
  RunFinalizers(heap);
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

// ---- Fork --------------------------------------------------------------------------------------

namespace {

// The ranks of a NodeHeap's locks, in order.
constexpr LockRank kHeapRanks[] = {LockRank::kRemoteInbox,     LockRank::kTransferCache,
                                   LockRank::kCentralFreeList, LockRank::kSpecials,
                                   LockRank::kProfile,         LockRank::kFinalizers,
                                   LockRank::kPageHeap,        LockRank::kMetadata};

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
