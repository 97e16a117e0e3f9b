#include "src/base/check.h"

#include <stdlib.h>

#include "src/base/message.h"

namespace numaheap {

void CheckFailed(const char* file, int line, const char* expression) {
  Message message;
  message << "numaheap: internal check failed at " << file << ":" << line << ": " << expression;
  message.WriteTo(2);
  abort();
}

}  // namespace numaheap
