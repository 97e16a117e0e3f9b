// Process: tells the simulator what a process keeps at which addresses.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace numasim {

// Declares all regions of the process as its maps are now. What was declared before is not
// forgotten. `allocator`: the file name of its allocator's library. What is not declared, and so is
// heap, are the anonymous mappings that are no thread's stack and not the .bss of a file. Allocates
// nothing.
void DeclareProcess(pid_t pid, const char* allocator);

// Adds a stretch of addresses, after DeclareProcess. `region`: a name of plugin/regions.h.
void DeclareRegion(const char* region, const void* begin, const void* end);

// Starts counting, under the name "ALLOCATOR WORKLOAD", and ends it. `operations`: how many there
// were in between, of the kind that the workload does.
void StartCounting(const char* allocator, const char* workload);
void StopCounting(uint64_t operations);

}  // namespace numasim
