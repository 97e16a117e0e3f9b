// What the compiler expects of a C++ run-time library, which libnumaheap does without.
#include "src/base/check.h"

// In the vtable of an abstract class. Weak: a program's own library has it too.
extern "C" [[gnu::weak, gnu::visibility("hidden")]] void __cxa_pure_virtual() {
  numaheap::CheckFailed(__FILE__, __LINE__, "a pure virtual function was called");
}
