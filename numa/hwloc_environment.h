// HwlocEnvironment: what hwloc finds in the environment while it reads the machine.
//
// hwloc takes its source of topology, its plugins and its quirks from HWLOC_* variables with plain
// getenv(). Those are set for other programs (MPI jobs use HWLOC_XMLFILE), HWLOC_PLUGINS_PATH would
// even load code into a set-uid program, and the plugins that Debian packages bring in OpenCL and
// X11. While an object of this class lives, getenv() sees only our own choice of them, and
// HWLOC_HIDE_ERRORS.
//
// `environ` is exchanged, not edited: the strings and the process's own array are untouched, and
// come back at the end. So nothing may call setenv() or its kin meanwhile, in any thread: glibc
// would free the array that is to come back.
#pragma once

#include <vector>

namespace numaheap {

class HwlocEnvironment {
 public:
  HwlocEnvironment();
  ~HwlocEnvironment();
  HwlocEnvironment(const HwlocEnvironment&) = delete;
  HwlocEnvironment& operator=(const HwlocEnvironment&) = delete;

 private:
  char** const process_environment_;
  std::vector<char*> variables_;  // ends with a null pointer
};

}  // namespace numaheap
