// What the program did wrong: one line on stderr each, then abort. Nothing here allocates.
#pragma once

#include "src/base/ids.h"

namespace numaheap {

// `operation` is the function the program called, "free" or "realloc". `size`: bytes of the block;
// kNoClass is an object with pages of its own, whose size is 0 when nobody knows it any more.
[[noreturn]] void ReportForeignPointer(const char* operation, const void* ptr);
[[noreturn]] void ReportInteriorPointer(const char* operation, const void* ptr, NodeId node,
                                        SizeClass c, size_t size, const void* block);
[[noreturn]] void ReportAlreadyFree(const char* operation, const void* ptr, NodeId node,
                                    SizeClass c, size_t size);

}  // namespace numaheap
