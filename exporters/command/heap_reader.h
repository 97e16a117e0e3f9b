// Reads the heaps of another process: the spans that numaheap_walk would show there.
//
// The process goes on meanwhile. What does not fit together is read again; what still does not is
// counted and shown as unknown. Of a process at rest everything fits.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "exporters/command/process.h"
#include "src/api/inspection.h"
#include "src/api/numaheap.h"

namespace numaheap::command {

inline constexpr uint32_t kSpanUnknown = 0;  // beside NUMAHEAP_SPAN_…: pages that made no sense

// As numaheap_span_t, of the other process.
struct SpanRecord {
  uint64_t start = 0, bytes = 0, released_bytes = 0, object_size = 0;
  uint32_t state = kSpanUnknown, size_class = 0, objects = 0, live_objects = 0;
};

// A stretch of a span that is partly released.
struct FreeRun {
  uint64_t start = 0, bytes = 0;
  bool released = false;
};

struct HeapRecord {
  int node = 0;  // -1: the interleaved heap
  uint32_t page_bytes = 0;
  uint64_t reserved_bytes = 0;
  std::vector<SpanRecord> spans;  // by address, without a gap; the reserved rest is the last
  std::vector<FreeRun> runs;      // by address: all of the spans that are partly released
};

// By rising node, the interleaved heap first. `inspection` has been checked.
absl::StatusOr<std::vector<HeapRecord>> ReadHeaps(const Process& process,
                                                  const numaheap_inspection_t& inspection);

}  // namespace numaheap::command
