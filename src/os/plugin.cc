#include "src/os/plugin.h"

#include <dlfcn.h>
#include <limits.h>
#include <unistd.h>

#include <cstring>

namespace numaheap {
namespace {

// The path of `file` in the directory of the object that holds this function; false if too long.
bool PathBesideThis(const char* file, char (&path)[PATH_MAX]) {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&OpenPlugin), &info) == 0 || info.dli_fname == nullptr) {
    return false;
  }
  const char* slash = std::strrchr(info.dli_fname, '/');
  const size_t directory = slash == nullptr ? 0 : static_cast<size_t>(slash - info.dli_fname) + 1;
  const size_t size = std::strlen(file) + 1;
  if (directory == 0 || directory + size > sizeof path) return false;
  std::memcpy(path, info.dli_fname, directory);
  std::memcpy(path + directory, file, size);
  return true;
}

}  // namespace

void* OpenPlugin(const char* file, const char* symbol, Message* reason) {
  constexpr int kFlags = RTLD_NOW | RTLD_LOCAL;
  char path[PATH_MAX];
  // What lies beside this library is tried alone, so that the reason is why that one failed.
  const bool beside = PathBesideThis(file, path) && access(path, F_OK) == 0;
  void* library = dlopen(beside ? path : file, kFlags);
  void* address = library == nullptr ? nullptr : dlsym(library, symbol);
  if (address == nullptr) {
    const char* error = dlerror();
    *reason << (error == nullptr ? "no reason given" : error);
  }
  return address;
}

}  // namespace numaheap
