// SnapshotPage: one snapshot of the heaps as Prometheus metrics.
//
// Keeps no values of its own: each page is read from a fresh snapshot, so the heaps' counters are
// the only ones there are. Thread-safe; every page stands for itself.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "exporters/prometheus/prometheus_plugin.h"

namespace numaheap::exporters {

class SnapshotPage final : public prometheus::Collectable {
 public:
  explicit SnapshotPage(const numaheap_exporter_host& host) : host_(host) {}

  // The metrics of the table, or none when the snapshot fails, which is counted.
  std::vector<prometheus::MetricFamily> Collect() const override;

  // The same in Prometheus's text format; "" when there is no snapshot or no memory to make it,
  // which is counted.
  std::string Text() const noexcept;

 private:
  const numaheap_exporter_host host_;
  mutable std::atomic<uint64_t> failures_{0};
};

}  // namespace numaheap::exporters
