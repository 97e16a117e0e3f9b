// no_mallctl: preloaded in front of an allocator, keeps Debian's redis-server from asking jemalloc
// for its statistics ten times a second, whichever allocator serves it. In a guest that is slowed
// down a hundredfold, that would be much of what it does.

#include <cerrno>
#include <cstddef>

extern "C" int mallctl(const char*, void*, size_t*, void*, size_t) {
  return ENOENT;
}
