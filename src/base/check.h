// CHECK for corruption (always on), DCHECK for logic errors of our own (debug builds only).
// Running out of memory is neither: it is a return value.
#pragma once

namespace numaheap {

// Writes one line to stderr and aborts. Allocates nothing.
[[noreturn]] void CheckFailed(const char* file, int line, const char* expression);

}  // namespace numaheap

#define CHECK(condition)                             \
  (__builtin_expect(static_cast<bool>(condition), 1) \
       ? static_cast<void>(0)                        \
       : ::numaheap::CheckFailed(__FILE__, __LINE__, #condition))

#ifdef NDEBUG
#define DCHECK(condition) static_cast<void>(sizeof(static_cast<bool>(condition)))
inline constexpr bool kDebugChecks = false;
#else
#define DCHECK(condition) CHECK(condition)
inline constexpr bool kDebugChecks = true;
#endif
