#include "exporters/prometheus/snapshot_page.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <utility>

#include "exporters/prometheus/metric_table.h"

namespace numaheap::exporters {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;

// Linux has at most 1024 nodes (CONFIG_NODES_SHIFT 10); the interleaved heap comes on top.
constexpr uint32_t kMaxHeaps = 1025;

// Size classes are numbered by a byte.
constexpr uint32_t kMaxClasses = 256;

// A snapshot and the arrays behind it.
struct Taken {
  numaheap_snapshot_t snapshot = {};
  std::vector<numaheap_node_snapshot_t> nodes;
  std::vector<uint64_t> pairs[std::size(kPairMetrics)];  // nodes.size() squared each
  std::vector<numaheap_class_snapshot_t> classes;        // nodes.size() * kMaxClasses
};

// The number of heaps may grow between two calls, while the library's constructor opens the nodes,
// so the arrays are made larger until all fit.
bool Take(const numaheap_exporter_host& host, Taken* taken) {
  numaheap_snapshot_t& snapshot = taken->snapshot;
  do {
    const size_t capacity = snapshot.node_count;
    taken->nodes.resize(capacity);
    snapshot = {};
    snapshot.version = NUMAHEAP_SNAPSHOT_VERSION;
    snapshot.node_capacity = static_cast<uint32_t>(capacity);
    snapshot.nodes = taken->nodes.data();
    for (size_t i = 0; i < std::size(kPairMetrics); ++i) {
      taken->pairs[i].resize(capacity * capacity);
      snapshot.*kPairMetrics[i].values = taken->pairs[i].data();
    }
    taken->classes.assign(capacity * kMaxClasses, {});
    snapshot.classes = taken->classes.data();
    snapshot.class_capacity = kMaxClasses;
    if (host.snapshot(&snapshot) != 0 || snapshot.node_count > kMaxHeaps) return false;
  } while (snapshot.node_count > taken->nodes.size());
  taken->nodes.resize(snapshot.node_count);
  return true;
}

MetricFamily FamilyOf(const Metric& metric) {
  MetricFamily family;
  family.name = metric.name;
  family.help = metric.help;
  family.type = metric.kind == MetricKind::kCounter ? prometheus::MetricType::Counter
                                                    : prometheus::MetricType::Gauge;
  return family;
}

void AddSample(std::vector<ClientMetric::Label> labels, uint64_t value, MetricFamily* family) {
  ClientMetric sample;
  sample.label = std::move(labels);
  // Prometheus has nothing but doubles: exact up to 2^53.
  (family->type == prometheus::MetricType::Counter ? sample.counter.value : sample.gauge.value) =
      static_cast<double>(value);
  family->metric.push_back(std::move(sample));
}

std::string NodeName(const numaheap_node_snapshot_t& node) {
  return node.node < 0 ? std::string(kInterleavedNode) : std::to_string(node.node);
}

MetricFamily FamilyOf(const NodeMetric& row, const std::vector<numaheap_node_snapshot_t>& nodes) {
  MetricFamily family = FamilyOf(row.metric);
  for (const numaheap_node_snapshot_t& node : nodes) {
    for (const NodeSample& sample : row.samples) {
      if (sample.value == nullptr) continue;
      std::vector<ClientMetric::Label> labels{{std::string(kNodeLabel), NodeName(node)}};
      if (!row.split.empty()) {
        labels.push_back({std::string(row.split), std::string(sample.label)});
      }
      AddSample(std::move(labels), sample.value(node), &family);
    }
  }
  return family;
}

MetricFamily FamilyOf(const PairMetric& row, const Taken& taken) {
  MetricFamily family = FamilyOf(row.metric);
  const uint64_t* values = taken.snapshot.*row.values;
  for (const numaheap_node_snapshot_t& from : taken.nodes) {
    for (const numaheap_node_snapshot_t& to : taken.nodes) {
      AddSample({{std::string(row.from), NodeName(from)}, {std::string(row.to), NodeName(to)}},
                *values++, &family);
    }
    values += taken.snapshot.node_capacity - taken.nodes.size();
  }
  return family;
}

MetricFamily FamilyOf(const ClassMetric& row, const Taken& taken) {
  MetricFamily family = FamilyOf(row.metric);
  const uint32_t count = std::min(taken.snapshot.class_count, kMaxClasses);
  for (size_t i = 0; i < taken.nodes.size(); ++i) {
    for (uint32_t c = 0; c < count; ++c) {
      const numaheap_class_snapshot_t& sample = taken.classes[i * kMaxClasses + c];
      if (sample.spans == 0) continue;
      AddSample({{std::string(kNodeLabel), NodeName(taken.nodes[i])},
                 {std::string(kClassLabel), std::to_string(sample.object_size)}},
                sample.*row.value, &family);
    }
  }
  return family;
}

MetricFamily FamilyOf(const ProcessMetric& row, const ProcessState& state) {
  MetricFamily family = FamilyOf(row.metric);
  std::vector<ClientMetric::Label> labels;
  for (const ProcessLabel& label : row.labels) {
    if (label.value == nullptr) continue;
    labels.push_back({std::string(label.name), std::string(label.value(state))});
  }
  AddSample(std::move(labels), row.value(state), &family);
  return family;
}

}  // namespace

std::vector<MetricFamily> SnapshotPage::Collect() const {
  Taken taken;
  if (!Take(host_, &taken)) {
    failures_.fetch_add(1, std::memory_order_relaxed);
    return {};
  }
  const ProcessState state{taken.snapshot, host_.version(),
                           failures_.load(std::memory_order_relaxed)};
  std::vector<MetricFamily> families;
  families.reserve(std::size(kNodeMetrics) + std::size(kPairMetrics) + std::size(kClassMetrics) +
                   std::size(kProcessMetrics));
  for (const NodeMetric& row : kNodeMetrics) families.push_back(FamilyOf(row, taken.nodes));
  for (const PairMetric& row : kPairMetrics) families.push_back(FamilyOf(row, taken));
  for (const ClassMetric& row : kClassMetrics) families.push_back(FamilyOf(row, taken));
  for (const ProcessMetric& row : kProcessMetrics) families.push_back(FamilyOf(row, state));
  return families;
}

std::string SnapshotPage::Text() const noexcept {
  try {
    return prometheus::TextSerializer().Serialize(Collect());
  } catch (...) {
    failures_.fetch_add(1, std::memory_order_relaxed);
    return {};
  }
}

}  // namespace numaheap::exporters
