#include "src/heap/report.h"

#include <stdlib.h>

#include "src/base/message.h"

namespace numaheap {
namespace {

Message Begin(const char* operation, const void* ptr) {
  Message message;
  message << "numaheap: " << operation << "(" << Hex(ptr) << "): ";
  return message;
}

void AppendPlace(Message& message, NodeId node, SizeClass c, size_t size) {
  if (node == kNoNode) {
    message << "interleaved";
  } else {
    message << "node " << node.value;
  }
  if (c != kNoClass) {
    message << ", size class " << size << " bytes";
  } else if (size > 0) {
    message << ", large object, " << size << " bytes";
  } else {
    message << ", no size class: free pages";
  }
}

[[noreturn]] void Die(const Message& message) {
  message.WriteTo(2);
  abort();
}

}  // namespace

void ReportForeignPointer(const char* operation, const void* ptr) {
  Message message = Begin(operation, ptr);
  message << "not a pointer of this heap (no node, no size class)";
  Die(message);
}

void ReportInteriorPointer(const char* operation, const void* ptr, NodeId node, SizeClass c,
                           size_t size, const void* block) {
  Message message = Begin(operation, ptr);
  message << "points into the middle of a block (";
  AppendPlace(message, node, c, size);
  message << ", block " << Hex(block) << ")";
  Die(message);
}

void ReportAlreadyFree(const char* operation, const void* ptr, NodeId node, SizeClass c,
                       size_t size) {
  Message message = Begin(operation, ptr);
  message << "already free (";
  AppendPlace(message, node, c, size);
  message << ")";
  Die(message);
}

}  // namespace numaheap
