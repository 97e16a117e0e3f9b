// A C++ plugin of a C program: see plugin_host.c.
#include <stddef.h>
#include <stdint.h>

#include <new>

namespace {

void* (*volatile const New)(size_t) = operator new;
void* (*volatile const NewNothrow)(size_t, const std::nothrow_t&) = operator new;

bool NewThrowsBadAlloc() {
  try {
    New(PTRDIFF_MAX);
  } catch (const std::bad_alloc&) {
    return true;
  }
  return false;
}

int calls = 0;

bool HandlerIsCalled() {
  std::set_new_handler([] {
    if (++calls == 2) std::set_new_handler(nullptr);
  });
  return NewThrowsBadAlloc() && calls == 2;
}

struct OwnBadAlloc : std::bad_alloc {};

bool HandlerMayThrow() {
  std::set_new_handler([] { throw OwnBadAlloc(); });
  bool thrown = false;
  try {
    New(PTRDIFF_MAX);
  } catch (const OwnBadAlloc&) {
    thrown = true;
  }
  std::set_new_handler(nullptr);
  return thrown;
}

bool NothrowReturnsNull() {
  return NewNothrow(PTRDIFF_MAX, std::nothrow) == nullptr;
}

bool NothrowReturnsNullWhenTheHandlerThrows() {
  std::set_new_handler([] { throw OwnBadAlloc(); });
  bool null = false;
  try {
    null = NewNothrow(PTRDIFF_MAX, std::nothrow) == nullptr;
  } catch (...) {
  }
  std::set_new_handler(nullptr);
  return null;
}

bool Works() {
  int* number = new int(7);
  const bool right = *number == 7;
  delete number;
  return right;
}

}  // namespace

// The name of the first check that fails, or null.
extern "C" const char* FirstFailure() {
  if (!Works()) return "Works";
  if (!NewThrowsBadAlloc()) return "NewThrowsBadAlloc";
  if (!HandlerIsCalled()) return "HandlerIsCalled";
  if (!HandlerMayThrow()) return "HandlerMayThrow";
  if (!NothrowReturnsNull()) return "NothrowReturnsNull";
  if (!NothrowReturnsNullWhenTheHandlerThrows()) return "NothrowReturnsNullWhenTheHandlerThrows";
  return nullptr;
}
