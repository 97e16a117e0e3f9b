// Plugins: shared libraries beside this one that are loaded only when there is work for them, so
// that the core needs nothing but libc.
#pragma once

#include "src/base/message.h"

namespace numaheap {

// Loads `file` from the directory of this library, else from where the loader looks, and returns
// the address of `symbol`. Null when that fails, with the reason appended to *reason. Allocates.
// The library stays loaded.
void* OpenPlugin(const char* file, const char* symbol, Message* reason);

}  // namespace numaheap
