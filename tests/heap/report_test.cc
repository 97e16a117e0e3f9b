// What a program's mistakes look like on stderr: exactly one line each, then SIGABRT.
#include "src/heap/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdint>
#include <string>

namespace numaheap {
namespace {

using testing::Eq;
using testing::KilledBySignal;

const void* const kPointer = reinterpret_cast<const void*>(uintptr_t{0x7f0012345678});
const void* const kBlock = reinterpret_cast<const void*>(uintptr_t{0x7f0012345670});
constexpr SizeClass kClass{4};

TEST(ReportDeathTest, ForeignPointer) {
  EXPECT_EXIT(ReportForeignPointer("free", kPointer), KilledBySignal(SIGABRT),
              Eq("numaheap: free(0x7f0012345678): not a pointer of this heap (no node, no size "
                 "class)\n"));
  EXPECT_EXIT(ReportForeignPointer("realloc", nullptr), KilledBySignal(SIGABRT),
              Eq("numaheap: realloc(0x0): not a pointer of this heap (no node, no size class)\n"));
  EXPECT_EXIT(ReportForeignPointer("malloc_usable_size", reinterpret_cast<void*>(UINTPTR_MAX)),
              KilledBySignal(SIGABRT),
              Eq("numaheap: malloc_usable_size(0xffffffffffffffff): not a pointer of this heap (no "
                 "node, no size class)\n"));
}

TEST(ReportDeathTest, InteriorPointer) {
  EXPECT_EXIT(ReportInteriorPointer("free", kPointer, NodeId{0}, kClass, 64, kBlock),
              KilledBySignal(SIGABRT),
              Eq("numaheap: free(0x7f0012345678): points into the middle of a block (node 0, size "
                 "class 64 bytes, block 0x7f0012345670)\n"));
  EXPECT_EXIT(ReportInteriorPointer("realloc", kPointer, NodeId{1023}, kNoClass, 1 << 20, kBlock),
              KilledBySignal(SIGABRT),
              Eq("numaheap: realloc(0x7f0012345678): points into the middle of a block (node 1023, "
                 "large object, 1048576 bytes, block 0x7f0012345670)\n"));
  EXPECT_EXIT(ReportInteriorPointer("free", kPointer, kNoNode, kClass, 64, kBlock),
              KilledBySignal(SIGABRT),
              Eq("numaheap: free(0x7f0012345678): points into the middle of a block (interleaved, "
                 "size class 64 bytes, block 0x7f0012345670)\n"));
}

TEST(ReportDeathTest, AlreadyFree) {
  EXPECT_EXIT(
      ReportAlreadyFree("free", kPointer, NodeId{2}, kClass, 262144), KilledBySignal(SIGABRT),
      Eq("numaheap: free(0x7f0012345678): already free (node 2, size class 262144 bytes)\n"));
  EXPECT_EXIT(ReportAlreadyFree("realloc", kPointer, NodeId{2}, kNoClass, 0),
              KilledBySignal(SIGABRT),
              Eq("numaheap: realloc(0x7f0012345678): already free (node 2, no size class: free "
                 "pages)\n"));
  EXPECT_EXIT(ReportAlreadyFree("free", kPointer, kNoNode, kNoClass, 8192), KilledBySignal(SIGABRT),
              Eq("numaheap: free(0x7f0012345678): already free (interleaved, large object, 8192 "
                 "bytes)\n"));
}

}  // namespace
}  // namespace numaheap
