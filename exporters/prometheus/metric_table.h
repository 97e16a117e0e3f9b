// The table of metrics: the page and docs/metrics.md come from it, and from nowhere else.
//
// A new field of the snapshot is one row here. Immutable.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "src/api/numaheap.h"

namespace numaheap::exporters {

enum class MetricKind : uint8_t { kCounter, kGauge };

// What every metric has. Names and units as https://prometheus.io/docs/practices/naming/ has them.
struct Metric {
  std::string_view name;
  MetricKind kind;
  std::string_view unit;  // of the value, for the docs
  std::string_view help;  // one line
};

// One sample of each heap: the value and, where the metric is split, the value of its split label.
struct NodeSample {
  uint64_t (*value)(const numaheap_node_snapshot_t& node) = nullptr;
  std::string_view label = "";
};

// A metric with a sample, or one per value of `split`, for each heap. The heaps are told apart by
// the label kNodeLabel.
struct NodeMetric {
  Metric metric;
  std::string_view split = "";  // the name of the second label, "" if there is none
  NodeSample samples[3];        // those with a `value`
};

inline constexpr std::string_view kNodeLabel = "numa_node";
inline constexpr std::string_view kInterleavedNode = "interleaved";  // kNodeLabel of node -1

template <auto kField>
constexpr uint64_t Field(const numaheap_node_snapshot_t& node) {
  return node.*kField;
}

using NodeSnapshot = numaheap_node_snapshot_t;

inline constexpr NodeMetric kNodeMetrics[] = {
    {{"numaheap_heap_bytes", MetricKind::kGauge, "bytes",
      "Committed pages by state: holding objects (cached ones included), free and backed by "
      "memory, free without memory."},
     "state",
     {{Field<&NodeSnapshot::in_use_bytes>, "in_use"},
      {Field<&NodeSnapshot::idle_bytes>, "idle"},
      {Field<&NodeSnapshot::released_bytes>, "released"}}},
    {{"numaheap_committed_bytes", MetricKind::kGauge, "bytes",
      "The part of the heap's address range that was ever used: the sum of numaheap_heap_bytes."},
     "",
     {{Field<&NodeSnapshot::committed_bytes>}}},
    {{"numaheap_reserved_bytes", MetricKind::kGauge, "bytes",
      "Address space kept for the heap, used or not."},
     "",
     {{Field<&NodeSnapshot::reserved_bytes>}}},
    {{"numaheap_cached_bytes", MetricKind::kGauge, "bytes",
      "Freed objects in the CPU and transfer caches, a part of the pages in use."},
     "",
     {{Field<&NodeSnapshot::cached_bytes>}}},
    {{"numaheap_large_bytes", MetricKind::kGauge, "bytes",
      "Objects with pages of their own, a part of the pages in use."},
     "",
     {{Field<&NodeSnapshot::large_bytes>}}},
    {{"numaheap_large_objects", MetricKind::kGauge, "objects", "Those of numaheap_large_bytes."},
     "",
     {{Field<&NodeSnapshot::large_objects>}}},
    {{"numaheap_metadata_bytes", MetricKind::kGauge, "bytes",
      "Committed for the heap's own records, outside numaheap_committed_bytes."},
     "",
     {{Field<&NodeSnapshot::metadata_bytes>}}},
    {{"numaheap_spans", MetricKind::kGauge, "spans", "Runs of pages by state."},
     "state",
     {{Field<&NodeSnapshot::spans_in_use>, "in_use"}, {Field<&NodeSnapshot::spans_free>, "free"}}},
    {{"numaheap_cpus", MetricKind::kGauge, "CPUs", "Online CPUs whose nearest heap this is."},
     "",
     {{Field<&NodeSnapshot::cpus>}}},
    {{"numaheap_allocations_total", MetricKind::kCounter, "objects", "Objects handed out."},
     "",
     {{Field<&NodeSnapshot::allocations>}}},
    {{"numaheap_allocated_bytes_total", MetricKind::kCounter, "bytes",
      "Objects handed out, by usable size."},
     "",
     {{Field<&NodeSnapshot::allocated_bytes>}}},
    {{"numaheap_frees_total", MetricKind::kCounter, "objects",
      "Objects of this heap that were freed, on a CPU of its own node or of another."},
     "from",
     {{Field<&NodeSnapshot::frees_local>, "local"},
      {Field<&NodeSnapshot::frees_remote>, "remote"}}},
    {{"numaheap_remote_frees_pending", MetricKind::kGauge, "objects",
      "Objects freed on other nodes that this heap has not swept yet."},
     "",
     {{Field<&NodeSnapshot::remote_pending>}}},
    {{"numaheap_scavenged_bytes_total", MetricKind::kCounter, "bytes",
      "Idle memory returned to the kernel."},
     "",
     {{Field<&NodeSnapshot::scavenged_bytes>}}},
    {{"numaheap_growths_total", MetricKind::kCounter, "growths",
      "Times the committed part of the range grew."},
     "",
     {{Field<&NodeSnapshot::growths>}}},
    {{"numaheap_failed_growths_total", MetricKind::kCounter, "growths",
      "Times the kernel refused to let it grow."},
     "",
     {{Field<&NodeSnapshot::failed_growths>}}},
    {{"numaheap_node_usable", MetricKind::kGauge, "1 or 0",
      "Whether the process may use the node's memory (its cpuset and placement.use_memory_only)."},
     "",
     {{Field<&NodeSnapshot::usable>}}},
    {{"numaheap_audited_pages_total", MetricKind::kCounter, "pages of 4 KiB",
      "Samples of the memory behind the heap: on its node, or away on another."},
     "located",
     {{Field<&NodeSnapshot::audited_home_pages>, "home"},
      {Field<&NodeSnapshot::audited_away_pages>, "away"}}},
    {{"numaheap_healed_pages_total", MetricKind::kCounter, "pages of 4 KiB",
      "Pages found away that were moved home (placement.heal)."},
     "",
     {{Field<&NodeSnapshot::healed_pages>}}},
};

// A metric with a sample for each pair of heaps, from an array of the snapshot.
struct PairMetric {
  Metric metric;
  std::string_view from, to;  // the names of the labels, in the order of the array's dimensions
  uint64_t* numaheap_snapshot_t::*values;
};

inline constexpr PairMetric kPairMetrics[] = {
    {{"numaheap_freed_bytes_total", MetricKind::kCounter, "bytes",
      "Objects of heap numa_node that were freed on CPUs of cpu_node, by usable size."},
     "cpu_node",
     kNodeLabel,
     &numaheap_snapshot_t::freed_bytes},
    {{"numaheap_spills_total", MetricKind::kCounter, "objects",
      "Allocations that wanted heap numa_node and were given memory of got_node."},
     kNodeLabel,
     "got_node",
     &numaheap_snapshot_t::spills},
};

// A metric with a sample for each size class of each heap that has spans of it.
struct ClassMetric {
  Metric metric;
  uint64_t numaheap_class_snapshot_t::*value;
};

inline constexpr std::string_view kClassLabel = "object_size";  // bytes

inline constexpr ClassMetric kClassMetrics[] = {
    {{"numaheap_class_live_objects", MetricKind::kGauge, "objects",
      "Objects of a size class that are in use or cached."},
     &numaheap_class_snapshot_t::live_objects},
    {{"numaheap_class_live_bytes", MetricKind::kGauge, "bytes",
      "Their usable sizes, a part of the pages in use."},
     &numaheap_class_snapshot_t::live_bytes},
    {{"numaheap_class_spans", MetricKind::kGauge, "spans",
      "Runs of pages cut into objects of that size."},
     &numaheap_class_snapshot_t::spans},
};

// What a metric of the whole process is read from.
struct ProcessState {
  const numaheap_snapshot_t& snapshot;
  std::string_view version;
  uint64_t scrape_failures;
};

// A label of a process metric; `values` lists what it can be, "" if anything.
struct ProcessLabel {
  std::string_view name = "";
  std::string_view (*value)(const ProcessState& state) = nullptr;
  std::span<const std::string_view> values = {};
};

// A metric with one sample.
struct ProcessMetric {
  Metric metric;
  uint64_t (*value)(const ProcessState& state);
  ProcessLabel labels[2] = {};  // those with a `value`
};

// The label values of the modes, at the index that numaheap.h gives each.
inline constexpr std::string_view kCacheModes[] = {"boot", "rseq", "locked"};
inline constexpr std::string_view kPlacementModes[] = {"single_node", "preferred", "bind",
                                                       "first_touch", "synthetic"};
static_assert(std::size(kCacheModes) == NUMAHEAP_CACHE_LOCKED + 1);
static_assert(std::size(kPlacementModes) == NUMAHEAP_PLACEMENT_SYNTHETIC + 1);

constexpr std::string_view NameOf(std::span<const std::string_view> names, uint32_t index) {
  return index < names.size() ? names[index] : "unknown";
}

inline constexpr ProcessMetric kProcessMetrics[] = {
    {{"numaheap_build_info", MetricKind::kGauge, "always 1", "The library that runs."},
     [](const ProcessState&) -> uint64_t { return 1; },
     {{"version", [](const ProcessState& state) { return state.version; }}}},
    {{"numaheap_mode_info", MetricKind::kGauge, "always 1",
      "How the CPU caches are kept consistent and what the kernel was asked for."},
     [](const ProcessState&) -> uint64_t { return 1; },
     {{"cache",
       [](const ProcessState& state) { return NameOf(kCacheModes, state.snapshot.cache_mode); },
       kCacheModes},
      {"placement",
       [](const ProcessState& state) {
         return NameOf(kPlacementModes, state.snapshot.placement_mode);
       },
       kPlacementModes}}},
    {{"numaheap_reservation_halvings_total", MetricKind::kCounter, "halvings",
      "Times the kernel refused the address space and half of it was asked for."},
     [](const ProcessState& state) -> uint64_t { return state.snapshot.reservation_halvings; }},
    {{"numaheap_scrape_failures_total", MetricKind::kCounter, "pages",
      "Pages that could not be made, for lack of memory or of a snapshot."},
     [](const ProcessState& state) -> uint64_t { return state.scrape_failures; }},
};

}  // namespace numaheap::exporters
