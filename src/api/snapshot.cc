// What the Allocator tells of its heaps.
#include <errno.h>
#include <string.h>

#include <algorithm>

#include "src/api/allocator.h"

namespace numaheap {

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
  out->large_objects = pages.large_spans;
}

void Allocator::FillClasses(const numaheap_snapshot_t& snapshot) {
  if (snapshot.classes == nullptr) return;
  const uint32_t nodes = std::min(snapshot.node_count, snapshot.node_capacity);
  const uint32_t classes = std::min(snapshot.class_count, snapshot.class_capacity);
  for (uint32_t i = 0; i < nodes; ++i) {
    NodeHeap& heap = *heaps_.heap({snapshot.nodes[i].node});
    numaheap_class_snapshot_t* row = snapshot.classes + size_t{i} * snapshot.class_capacity;
    for (uint32_t c = 0; c < classes; ++c) {
      row[c] = {};
      if (c == kNoClass.value) continue;
      const SizeClass size_class{static_cast<uint8_t>(c)};
      const ClassStats stats = heap.class_stats(size_class);
      row[c].object_size = kSizeMap[size_class].size;
      row[c].spans = stats.spans;
      row[c].live_objects = stats.live_objects;
      row[c].live_bytes = stats.live_objects * row[c].object_size;
    }
  }
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
  snapshot->class_count = kSizeClasses;
  FillPairs(*snapshot);
  FillClasses(*snapshot);
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

}  // namespace numaheap
