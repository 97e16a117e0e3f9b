#include "src/os/loaded_object.h"

#include <link.h>
#include <sys/auxv.h>

#include <algorithm>

namespace numaheap {
LoadedObject LoadedObject::Loader() {
  return At(reinterpret_cast<const void*>(getauxval(AT_BASE)));
}

// dladdr would look at every symbol of the object: 20 us for libc.
LoadedObject LoadedObject::At(const void* address) {
  struct Search {
    const void* address;
    LoadedObject found;
  } search = {address, {}};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* argument) {
        auto& search = *static_cast<Search*>(argument);
        LoadedObject object = {UINTPTR_MAX, 0};
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const ElfW(Phdr)& segment = info->dlpi_phdr[i];
          if (segment.p_type != PT_LOAD) continue;
          const uintptr_t start = info->dlpi_addr + segment.p_vaddr;
          object.start = std::min(object.start, start);
          object.end = std::max(object.end, start + segment.p_memsz);
        }
        if (object.end == 0 || !object.Contains(search.address)) return 0;
        search.found = object;
        return 1;
      },
      &search);
  return search.found;
}

}  // namespace numaheap
