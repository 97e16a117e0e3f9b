// The replaceable allocation and deallocation functions of C++ ([new.delete]).
//
// libnumaheap needs no C++ run-time library, but whoever calls these has one. Its parts are found
// when they are wanted: bad_alloc, the new-handler, and what a catch needs.
#include <dlfcn.h>
#include <stdlib.h>

#include <new>

#include "src/api/fast_path.h"
#include "src/base/message.h"

// Weak, so that a program without C++ loads; null there, and nobody throws.
asm(".weak __gxx_personality_v0\n"
    ".weak __cxa_begin_catch\n"
    ".weak __cxa_end_catch\n"
    ".weak _ZSt9terminatev\n");

extern "C" {
[[gnu::weak]] std::new_handler _ZSt15get_new_handlerv() noexcept;  // std::get_new_handler()
[[gnu::weak, noreturn]] void _ZSt17__throw_bad_allocv();           // libstdc++'s
[[gnu::weak]] void LinkedPersonality() asm("__gxx_personality_v0");
}

namespace numaheap {
namespace {

// A function of the C++ run-time library, or null. One that was loaded with RTLD_LOCAL, by a plugin
// of a C program, is found by its name.
template <typename Function>
Function* FindRuntime(Function* linked, const char* symbol) {
  if (linked != nullptr) return linked;
  void* library = dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD);
  return library == nullptr ? nullptr : reinterpret_cast<Function*>(dlsym(library, symbol));
}

[[noreturn, gnu::cold]] void ThrowBadAlloc(size_t size) {
  if (auto* throw_it = FindRuntime(&_ZSt17__throw_bad_allocv, "_ZSt17__throw_bad_allocv")) {
    throw_it();
  }
  Message message;
  message << "numaheap: operator new(" << size
          << "): out of memory, and no C++ run-time library to "
          << "throw std::bad_alloc";
  message.WriteTo(2);
  abort();
}

// Calls the new-handler. False when there is none.
bool CallNewHandler() {
  auto* get = FindRuntime(&_ZSt15get_new_handlerv, "_ZSt15get_new_handlerv");
  const std::new_handler handler = get == nullptr ? nullptr : get();
  if (handler == nullptr) return false;
  handler();
  return true;
}

[[gnu::cold, gnu::noinline]] void* NewAfterFailure(size_t size, size_t alignment) {
  for (;;) {
    if (!CallNewHandler()) ThrowBadAlloc(size);
    if (void* block = MallocAligned(size, alignment)) return block;
  }
}

[[gnu::cold, gnu::noinline]] void* NewAfterFailureNothrow(size_t size, size_t alignment) noexcept {
  if (LinkedPersonality == nullptr) {
    // Nothing is caught here. The library that brings exceptions has a function that calls ours and
    // catches; where there is none, there is no handler either.
    constexpr char kItsOwn[] = "_ZnwmSt11align_val_tRKSt9nothrow_t";
    using Function = void*(size_t, std::align_val_t, const std::nothrow_t&);
    auto* its_own = FindRuntime<Function>(nullptr, kItsOwn);
    return its_own == nullptr ? nullptr
                              : its_own(size, std::align_val_t(alignment), std::nothrow_t());
  }
  try {
    while (CallNewHandler()) {
      if (void* block = MallocAligned(size, alignment)) return block;
    }
  } catch (...) {  // the handler's way to give up
  }
  return nullptr;
}

[[gnu::always_inline]] inline void* New(size_t size) {
  if (void* block = Malloc(size)) [[likely]]
    return block;
  return NewAfterFailure(size, kMinAlignment);
}

[[gnu::always_inline]] inline void* New(size_t size, std::align_val_t alignment) {
  if (void* block = MallocAligned(size, static_cast<size_t>(alignment))) [[likely]]
    return block;
  return NewAfterFailure(size, static_cast<size_t>(alignment));
}

[[gnu::always_inline]] inline void* NewNothrow(size_t size) noexcept {
  if (void* block = Malloc(size)) [[likely]]
    return block;
  return NewAfterFailureNothrow(size, kMinAlignment);
}

[[gnu::always_inline]] inline void* NewNothrow(size_t size, std::align_val_t alignment) noexcept {
  if (void* block = MallocAligned(size, static_cast<size_t>(alignment))) [[likely]]
    return block;
  return NewAfterFailureNothrow(size, static_cast<size_t>(alignment));
}

}  // namespace
}  // namespace numaheap

#define EXPORT __attribute__((visibility("default")))
using std::align_val_t;
using std::nothrow_t;

EXPORT void* operator new(size_t size) {
  return numaheap::New(size);
}
EXPORT void* operator new[](size_t size) {
  return numaheap::New(size);
}
EXPORT void* operator new(size_t size, align_val_t a) {
  return numaheap::New(size, a);
}
EXPORT void* operator new[](size_t size, align_val_t a) {
  return numaheap::New(size, a);
}

EXPORT void* operator new(size_t size, const nothrow_t&) noexcept {
  return numaheap::NewNothrow(size);
}
EXPORT void* operator new[](size_t size, const nothrow_t&) noexcept {
  return numaheap::NewNothrow(size);
}
EXPORT void* operator new(size_t size, align_val_t a, const nothrow_t&) noexcept {
  return numaheap::NewNothrow(size, a);
}
EXPORT void* operator new[](size_t size, align_val_t a, const nothrow_t&) noexcept {
  return numaheap::NewNothrow(size, a);
}

EXPORT void operator delete(void* p) noexcept {
  numaheap::Free(p);
}
EXPORT void operator delete[](void* p) noexcept {
  numaheap::Free(p);
}
EXPORT void operator delete(void* p, size_t) noexcept {
  numaheap::Free(p);
}
EXPORT void operator delete[](void* p, size_t) noexcept {
  numaheap::Free(p);
}
EXPORT void operator delete(void* p, align_val_t) noexcept {
  numaheap::Free(p);
}
EXPORT void operator delete[](void* p, align_val_t) noexcept {
  numaheap::Free(p);
}
EXPORT void operator delete(void* p, size_t, align_val_t) noexcept {
  numaheap::Free(p);
}
EXPORT void operator delete[](void* p, size_t, align_val_t) noexcept {
  numaheap::Free(p);
}
EXPORT void operator delete(void* p, const nothrow_t&) noexcept {
  numaheap::Free(p);
}
EXPORT void operator delete[](void* p, const nothrow_t&) noexcept {
  numaheap::Free(p);
}
EXPORT void operator delete(void* p, align_val_t, const nothrow_t&) noexcept {
  numaheap::Free(p);
}
EXPORT void operator delete[](void* p, align_val_t, const nothrow_t&) noexcept {
  numaheap::Free(p);
}
