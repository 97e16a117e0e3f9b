// The table in docs/metrics.md, made from the table of metrics. Nothing on the page needs it; the
// test that compares the two does.
#pragma once

#include <string>

#include "exporters/prometheus/metric_table.h"

namespace numaheap::exporters {

namespace docs_internal {

inline std::string Code(std::string_view text) {
  return "`" + std::string(text) + "`";
}

inline void AppendLabel(std::string_view name, std::string_view values, std::string* labels) {
  if (!labels->empty()) *labels += ", ";
  *labels += Code(name);
  if (!values.empty()) *labels += " (" + std::string(values) + ")";
}

inline std::string Row(const Metric& metric, const std::string& labels) {
  return "| " + Code(metric.name) + " | " +
         (metric.kind == MetricKind::kCounter ? "counter" : "gauge") + " | " + labels + " | " +
         std::string(metric.unit) + " | " + std::string(metric.help) + " |\n";
}

inline std::string Row(const NodeMetric& row) {
  std::string labels = Code(kNodeLabel);
  std::string values;
  for (const NodeSample& sample : row.samples) {
    if (sample.label.empty()) continue;
    if (!values.empty()) values += ", ";
    values += sample.label;
  }
  if (!row.split.empty()) AppendLabel(row.split, values, &labels);
  return Row(row.metric, labels);
}

inline std::string Row(const PairMetric& row) {
  return Row(row.metric, Code(row.from) + ", " + Code(row.to));
}

inline std::string Row(const ClassMetric& row) {
  return Row(row.metric, Code(kNodeLabel) + ", " + Code(kClassLabel));
}

inline std::string Row(const ProcessMetric& row) {
  std::string labels;
  for (const ProcessLabel& label : row.labels) {
    if (label.value == nullptr) continue;
    std::string values;
    for (std::string_view value : label.values) {
      if (!values.empty()) values += ", ";
      values += value;
    }
    AppendLabel(label.name, values, &labels);
  }
  return Row(row.metric, labels);
}

}  // namespace docs_internal

// The Markdown table, a line per metric, in the order of the page.
inline std::string MetricDocs() {
  std::string text =
      "| Metric | Type | Labels | Unit | Meaning |\n"
      "|---|---|---|---|---|\n";
  for (const NodeMetric& row : kNodeMetrics) text += docs_internal::Row(row);
  for (const PairMetric& row : kPairMetrics) text += docs_internal::Row(row);
  for (const ClassMetric& row : kClassMetrics) text += docs_internal::Row(row);
  for (const ProcessMetric& row : kProcessMetrics) text += docs_internal::Row(row);
  return text;
}

}  // namespace numaheap::exporters
