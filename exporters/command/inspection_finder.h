// Finds numaheap_inspection in another process: by its symbol in the files that are mapped, or,
// where a file is stripped, gone or out of reach, by its magic number in their data.
#pragma once

#include "absl/status/statusor.h"
#include "exporters/command/process.h"
#include "src/api/inspection.h"

namespace numaheap::command {

// A copy of the process's struct, whose version is the one of this build and whose numbers make
// sense; or why there is none, and what to do about it.
absl::StatusOr<numaheap_inspection_t> FindInspection(const Process& process);

// The second half of it, for tests: what is wrong with the struct, if anything.
absl::Status CheckInspection(const numaheap_inspection_t& inspection);

}  // namespace numaheap::command
