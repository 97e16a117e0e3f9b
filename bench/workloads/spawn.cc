// spawn: one short process after the other, as a shell script or a build starts them. The children
// inherit the preload: what is measured is what an allocator's start and end cost.
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/workloads/block.h"
#include "bench/workloads/workloads.h"

namespace numaheap::workloads {

void Spawn(const Parameters& parameters) {
  char program[] = "/bin/true";
  char* const arguments[] = {program, nullptr};
  for (uint64_t left = parameters["processes"]; left > 0; --left) {
    pid_t child;
    Check(posix_spawn(&child, program, nullptr, nullptr, arguments, environ) == 0, "posix_spawn");
    int status;
    Check(waitpid(child, &status, 0) == child && status == 0, "/bin/true failed");
  }
}

}  // namespace numaheap::workloads
