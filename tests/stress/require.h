// Require: what must hold on any thread and in any forked child. Where memory is broken nothing
// that follows means anything, so it ends the process at once.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace numaheap {

inline void Require(bool condition, const char* what_is_wrong) {
  if (condition) return;
  for (const char* text :
       {const_cast<const char*>(program_invocation_short_name), ": ", what_is_wrong, "\n"}) {
    if (write(STDERR_FILENO, text, std::strlen(text)) < 0) break;
  }
  std::abort();
}

}  // namespace numaheap
