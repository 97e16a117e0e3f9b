#include "src/os/loaded_object.h"

#include <dlfcn.h>
#include <link.h>
#include <sys/auxv.h>

#include <algorithm>

namespace numaheap {
namespace {

// `base`: where the object's ELF header lies.
LoadedObject FromHeader(uintptr_t base) {
  if (base == 0) return {};
  const auto* header = reinterpret_cast<const ElfW(Ehdr)*>(base);
  const auto* segment = reinterpret_cast<const ElfW(Phdr)*>(base + header->e_phoff);
  // A program that is not position-independent has its real addresses here: 0 does not mean `base`.
  const uintptr_t bias = header->e_type == ET_EXEC ? 0 : base;
  uintptr_t end = base;
  for (int i = 0; i < header->e_phnum; ++i, ++segment) {
    if (segment->p_type == PT_LOAD) end = std::max(end, bias + segment->p_vaddr + segment->p_memsz);
  }
  return {base, end};
}

}  // namespace

LoadedObject LoadedObject::Loader() {
  return FromHeader(getauxval(AT_BASE));
}

LoadedObject LoadedObject::At(const void* address) {
  Dl_info info;
  if (dladdr(address, &info) == 0) return {};
  return FromHeader(reinterpret_cast<uintptr_t>(info.dli_fbase));
}

}  // namespace numaheap
