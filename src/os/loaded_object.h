// LoadedObject: the addresses that a shared library or program occupies.
#pragma once

#include <cstdint>

namespace numaheap {

struct LoadedObject {
  uintptr_t start = 0;
  uintptr_t end = 0;  // start == end: nothing

  bool Contains(const void* address) const {
    return reinterpret_cast<uintptr_t>(address) - start < end - start;
  }

  // The dynamic loader; nothing in a static program.
  static LoadedObject Loader();

  // The object that contains `address`; nothing if none does.
  static LoadedObject At(const void* address);
};

}  // namespace numaheap
