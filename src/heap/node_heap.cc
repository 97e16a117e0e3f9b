#include "src/heap/node_heap.h"

#include <algorithm>
#include <new>

#include "src/heap/span_walk.h"

namespace numaheap {
namespace {

// Remote frees that make a refill sweep: so many that a sweep is seldom for a handful.
constexpr size_t kSweepAt = 256;

// Remote frees that are sorted at a time: some of each class, and little of anybody's stack.
constexpr int kSweepBatch = 128;
static_assert(kSweepBatch <= UINT8_MAX);

constexpr size_t RoundUp(size_t value, size_t step) {
  return (value + step - 1) & ~(step - 1);
}

}  // namespace

NodeHeap* NodeHeap::Create(Kernel& kernel, char* start, size_t bytes, size_t arena_extra,
                           NodeId node, bool whole_maps) {
  const size_t header = RoundUp(sizeof(NodeHeap), kSmallestPage);
  // The header takes the place of a huge page, so that areas keep their alignment.
  if (kernel.Commit(start, whole_maps ? kHugePageSize : header) != 0) return nullptr;
  auto* heap =
      new (start) NodeHeap(kernel, start + kHugePageSize, bytes - kHugePageSize, arena_extra, node);
  NodeRange& range = heap->range_;
  if (range.heap.start() == nullptr) return nullptr;
  // Advice is a wish: a kernel without huge pages refuses it, and that is as good.
  kernel.Advise(start, static_cast<size_t>(range.heap.start() - start), Advice::kNoHugePages);
  char* const maps = range.page_classes.start();
  const auto maps_bytes = static_cast<size_t>(range.arena.start() - maps);
  if (whole_maps && kernel.Commit(maps, maps_bytes) == 0) {
    kernel.Advise(maps, maps_bytes, Advice::kNoDump);
    for (Area* area : {&range.page_classes, &range.released_bits, &range.span_indices}) {
      area->Adopt();
    }
  } else if (kernel.MakeReadable(maps, range.page_classes.reserved_bytes()) != 0) {
    return nullptr;
  }
  heap->header_bytes_ = header;
  if (!heap->AddCacheDomain(0)) return nullptr;
  return heap;
}

NodeHeap::NodeHeap(Kernel& kernel, char* areas, size_t bytes, size_t arena_extra, NodeId node)
    : kernel_(kernel),
      node_(node),
      range_(areas, bytes, arena_extra),
      arena_(kernel, range_.arena),
      pages_(kernel, range_, arena_),
      remote_(arena_, range_.heap) {
  for (int c = 0; c < kSizeClasses; ++c) {
    new (&central_[c]) CentralFreeList(pages_, arena_, node, {static_cast<uint8_t>(c)});
  }
}

bool NodeHeap::AddCacheDomain(int domain) {
  auto* caches = static_cast<TransferCache*>(arena_.Allocate(sizeof(TransferCache) * kSizeClasses));
  if (caches == nullptr) return false;
  for (int c = 0; c < kSizeClasses; ++c) {
    new (&caches[c]) TransferCache(arena_, {static_cast<uint8_t>(c)});
  }
  transfer_[domain] = caches;
  return true;
}

void NodeHeap::SetCacheDomains(int domains) {
  int count = domains_.load(std::memory_order_relaxed);
  while (count < std::min(domains, kMaxCacheDomains) && AddCacheDomain(count)) ++count;
  domains_.store(count, std::memory_order_release);
}

template <typename Visit>
void NodeHeap::ForEachTransferCache(Visit visit) {
  const int domains = domains_.load(std::memory_order_acquire);
  for (int d = 0; d < domains; ++d) {
    for (int c = 0; c < kSizeClasses; ++c)
      visit(transfer_[d][c], SizeClass{static_cast<uint8_t>(c)});
  }
}

int NodeHeap::AllocateBatch(SizeClass c, int cache_domain, void** out, int n) {
  if (!usable()) return 0;
  int taken = transfer(c, cache_domain)->RemoveBatch(out, n);
  if (taken == n) return taken;
  // What came home lately is still in a cache; what lies cold is better used later.
  if (remote_.waiting() >= kSweepAt) SweepRemote();
  taken += central(c).RemoveBatch(out + taken, n - taken);
  // Less than asked for is enough to go on with; only an empty hand may cost a span.
  if (taken > 0) return taken;
  if (SweepRemote() > 0) {
    taken = transfer(c, cache_domain)->RemoveBatch(out, n);
    if (taken == 0) taken = central(c).RemoveBatch(out, n);
    if (taken > 0) return taken;
  }
  return central(c).Populate(out, n);
}

void NodeHeap::FreeBatch(SizeClass c, int cache_domain, void* const* blocks, int n) {
  const int kept = transfer(c, cache_domain)->InsertBatch(blocks, n);
  if (kept < n) central(c).InsertBatch(blocks + kept, n - kept);
}

void* NodeHeap::AllocateLarge(size_t size, size_t alignment, bool* zeroed) {
  if (!usable()) return nullptr;
  Span* span = pages_.Allocate(LengthOf(size), kNoClass, LengthOf(alignment));
  if (span == nullptr && SweepRemote() > 0) {
    span = pages_.Allocate(LengthOf(size), kNoClass, LengthOf(alignment));
  }
  if (span == nullptr) return nullptr;
  *zeroed = span->zeroed;
  return map().AddressOf(span->start);
}

bool NodeHeap::ResizeLarge(Span* span, size_t size) {
  const Length n = LengthOf(size);
  if (n > span->length()) return usable() && pages_.GrowInPlace(span, n);
  // What it has ready to grow into it keeps, as long as three quarters are in use.
  if (n.pages <= span->pages - span->pages / 4 && n < span->length()) pages_.Shrink(span, n);
  return true;
}

void NodeHeap::ReceiveRemote(void* const* blocks, int n) {
  counters_.frees_remote.Add(static_cast<uint64_t>(n));
  while (!remote_.Put(blocks, n)) {
    if (SweepRemote() > 0) continue;
    // No memory to keep them in: straight to the spans.
    for (int i = 0; i < n; ++i) {
      central(ClassOfBlock(blocks[i])).InsertBatch(&blocks[i], 1);
    }
    return;
  }
}

size_t NodeHeap::SweepRemote() {
  size_t swept = 0;
  void* blocks[kSweepBatch];
  while (const int n = remote_.Take(blocks, kSweepBatch)) {
    // Those of a class go back together, with one hold of its lock; a counting sort brings them so.
    uint8_t class_of[kSweepBatch];
    uint8_t ends[kSizeClasses] = {};
    for (int i = 0; i < n; ++i) {
      class_of[i] = ClassOfBlock(blocks[i]).value;
      ++ends[class_of[i]];
    }
    for (int c = 1; c < kSizeClasses; ++c) ends[c] = static_cast<uint8_t>(ends[c] + ends[c - 1]);
    void* sorted[kSweepBatch];
    for (int i = n - 1; i >= 0; --i) sorted[--ends[class_of[i]]] = blocks[i];
    // Now they are where each class begins.
    for (int c = 0; c < kSizeClasses; ++c) {
      const int end = c + 1 < kSizeClasses ? ends[c + 1] : n;
      if (ends[c] < end) {
        central({static_cast<uint8_t>(c)}).InsertBatch(sorted + ends[c], end - ends[c]);
      }
    }
    swept += static_cast<size_t>(n);
  }
  return swept;
}

SizeClass NodeHeap::HiddenClassAt(PageId page) const {
  const Span* span = map().SpanAt(page);
  return span != nullptr && span->state == SpanState::kSmall ? span->size_class : kNoClass;
}

Block NodeHeap::Find(const void* ptr) const {
  const PageMap& pages = map();
  if (!pages.IsCommitted(ptr)) return {};
  Span* span = pages.SpanAt(pages.PageOf(ptr));
  if (span == nullptr) return {};
  char* start = pages.AddressOf(span->start);
  if (span->state == SpanState::kLarge) return {span, start, span->length().bytes(), kNoClass};
  if (span->state != SpanState::kSmall) return {};
  const SizeClass c = span->size_class;
  const SizeClassInfo& info = kSizeMap[c];
  const uint32_t index =
      kSizeMap.IndexOf(c, static_cast<size_t>(static_cast<const char*>(ptr) - start));
  if (index >= info.span_objects) return {};  // the unused tail of a span
  return {span, start + size_t{index} * info.size, info.size, c};
}

void NodeHeap::FlushTransferCaches(bool only_unused) {
  ForEachTransferCache([&](TransferCache& cache, SizeClass c) {
    void* blocks[kMaxBatch];
    const auto take = [&] {
      return only_unused ? cache.RemoveUnused(blocks, kMaxBatch)
                         : cache.RemoveBatch(blocks, kMaxBatch);
    };
    while (const int n = take()) central(c).InsertBatch(blocks, n);
    cache.EndRound();
  });
}

void NodeHeap::AuditLocations(bool heal) {
  const size_t pages = map().committed_pages();
  const LocationAudit::Part parts[] = {
      {reinterpret_cast<const char*>(this), header_bytes_},
      {range_.page_classes.start(), pages},
      {range_.released_bits.start(), pages / 8},
      {range_.span_indices.start(), pages * sizeof(uint32_t)},
      {range_.arena.start(), arena_.used_bytes()},
      {range_.heap.start(), range_.heap.committed_bytes()},
  };
  const char* const end = range_.heap.start() + range_.heap.reserved_bytes();
  const LocationAudit::Part range = {parts[0].start, static_cast<size_t>(end - parts[0].start)};
  audit_.Round(kernel_, node_, parts, std::size(parts), range, heal && usable());
}

size_t NodeHeap::TransferCachedBytes() {
  size_t bytes = 0;
  ForEachTransferCache(
      [&bytes](TransferCache& cache, SizeClass c) { bytes += cache.objects() * kSizeMap[c].size; });
  return bytes;
}

size_t NodeHeap::metadata_bytes() {
  return header_bytes_ + arena_.used_bytes() + map().used_bytes();
}

template <typename Visit>
void NodeHeap::ForEachLock(LockRank rank, Visit visit) {
  switch (rank) {
    case LockRank::kRemoteInbox:
      return visit(remote_.lock());
    case LockRank::kTransferCache:
      return ForEachTransferCache([&](TransferCache& cache, SizeClass) { visit(cache.lock()); });
    case LockRank::kCentralFreeList:
      for (CentralFreeList& list : central_) visit(list.lock());
      return;
    case LockRank::kSpecials:
      return specials_.ForEachLock(visit);
    case LockRank::kProfile:
      return visit(profile_.lock());
    case LockRank::kFinalizers:
      return visit(finalizers_.lock());
    case LockRank::kPageHeap:
      return visit(pages_.lock());
    case LockRank::kMetadata:
      return visit(arena_.lock());
    default:
      return;  // not a lock of a heap
  }
}

void NodeHeap::LockRankForFork(LockRank rank) {
  ForEachLock(rank, [](Lock& lock) ABSL_NO_THREAD_SAFETY_ANALYSIS { lock.Acquire(); });
}

void NodeHeap::UnlockRankAfterFork(LockRank rank) {
  ForEachLock(rank, [](Lock& lock) ABSL_NO_THREAD_SAFETY_ANALYSIS { lock.Release(); });
}

void NodeHeap::CheckInvariants() {
  pages_.CheckInvariants();
  specials_.CheckInvariants();
  for (int c = 1; c < kSizeClasses; ++c) central_[c].CheckInvariants();
}

void NodeHeap::CheckStatsAtRest() {
  ClassStats classes[kSizeClasses];
  PageHeapStats sum;
  SpanWalk walk(pages_);
  while (const SpanView* view = walk.Next()) {
    sum.committed += view->length;
    if (view->state == SpanState::kFree) {
      sum.released += view->released;
      sum.idle += view->length - view->released;
      continue;
    }
    sum.in_use += view->length;
    if (view->state == SpanState::kLarge) {
      sum.large += view->length;
      ++sum.large_spans;
    } else {
      ++classes[view->size_class.value].spans;
      classes[view->size_class.value].live_objects += view->live_objects;
    }
  }
  const PageHeapStats stats = pages_.stats();
  CHECK(sum.committed == stats.committed && sum.in_use == stats.in_use);
  CHECK(sum.idle == stats.idle && sum.released == stats.released);
  CHECK(sum.large == stats.large && sum.large_spans == stats.large_spans);
  for (int c = 1; c < kSizeClasses; ++c) {
    const ClassStats counted = central_[c].stats();
    CHECK(classes[c].spans == counted.spans);
    CHECK(classes[c].live_objects == counted.live_objects);
  }
}

}  // namespace numaheap
