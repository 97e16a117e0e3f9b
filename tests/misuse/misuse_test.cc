// Each mistake with a pointer ends the program at once, with one line that says which it was.
//
// Linked with libnumaheap.so, so that malloc and free are numaheap's. The compiler must not see
// through the mistakes: they go by way of volatile pointers to functions.
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <sstream>
#include <string>
#include <string_view>

#include "src/api/numaheap.h"

namespace {

void* (*volatile const Malloc)(size_t) = malloc;
void (*volatile const Free)(void*) = free;
void* (*volatile const Realloc)(void*, size_t) = realloc;
size_t (*volatile const UsableSize)(void*) = malloc_usable_size;

using testing::ExitedWithCode;
using testing::KilledBySignal;
using testing::MatchesRegex;

// "numaheap: free(0x7f12…): TEXT" and the end of the line, nothing before and nothing after.
// `text` is a POSIX extended regular expression.
testing::Matcher<const std::string&> OneLine(const char* function, const void* ptr,
                                             std::string_view text) {
  std::ostringstream regex;
  regex << "numaheap: " << function << "\\(" << ptr << "\\): " << text << "\n";
  return MatchesRegex(regex.str());
}

constexpr std::string_view kForeign = "not a pointer of this heap \\(no node, no size class\\)";

std::string MiddleOf(const void* block, size_t bytes) {
  std::ostringstream regex;
  regex << "points into the middle of a block \\(node [0-9]+, [a-z, ]*" << bytes << " bytes, block "
        << block << "\\)";
  return regex.str();
}

std::string AlreadyFree(size_t bytes) {
  std::ostringstream regex;
  regex << "already free \\(node [0-9]+, [a-z, ]*" << bytes << " bytes\\)";
  return regex.str();
}

// A block, and its span's other blocks, some of which stay allocated: the span outlives the block.
struct Blocks {
  explicit Blocks(size_t size) {
    for (char*& block : all) block = static_cast<char*>(Malloc(size));
  }
  ~Blocks() {
    for (char* block : all) Free(block);
  }
  char* one() const { return all[50]; }
  char* all[100];
};

constexpr size_t kSmall = 64;               // a size class of its own
constexpr size_t kLarge = size_t{1} << 20;  // has pages of its own

TEST(Pointers, FreeOfStack) {
  char on_stack[64];
  EXPECT_EXIT(Free(on_stack + 16), KilledBySignal(SIGABRT),
              OneLine("free", on_stack + 16, kForeign));
}

TEST(Pointers, FreeOfStatic) {
  alignas(16) static char in_data[64];
  EXPECT_EXIT(Free(in_data), KilledBySignal(SIGABRT), OneLine("free", in_data, kForeign));
}

TEST(Pointers, FreeOfMapping) {
  void* mapping =
      mmap(nullptr, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(mapping, MAP_FAILED);
  EXPECT_EXIT(Free(mapping), KilledBySignal(SIGABRT), OneLine("free", mapping, kForeign));
  munmap(mapping, 1 << 16);
}

// Addresses that no mapping can have: next to null, not canonical, the kernel's.
TEST(Pointers, FreeOfNonsense) {
  for (uintptr_t address : {uintptr_t{16}, uintptr_t{1} << 60, ~uintptr_t{15}}) {
    void* ptr = reinterpret_cast<void*>(address);
    EXPECT_EXIT(Free(ptr), KilledBySignal(SIGABRT), OneLine("free", ptr, kForeign));
  }
}

// The heap's own range, but a page that it has never handed out.
TEST(Pointers, FreeOfReservedAddress) {
  Blocks blocks(kSmall);
  numaheap_node_snapshot_t nodes[64];
  numaheap_snapshot_t snapshot = {};
  snapshot.version = NUMAHEAP_SNAPSHOT_VERSION;
  snapshot.node_capacity = 64;
  snapshot.nodes = nodes;
  ASSERT_EQ(numaheap_snapshot(&snapshot), 0);
  void* ptr = blocks.one() + nodes[0].reserved_bytes / 2;
  numaheap_owner_t owner;
  ASSERT_NE(numaheap_owner(ptr, &owner), 0);
  EXPECT_EXIT(Free(ptr), KilledBySignal(SIGABRT), OneLine("free", ptr, kForeign));
}

TEST(Pointers, FreeIntoSmallBlock) {
  Blocks blocks(kSmall);
  ASSERT_EQ(UsableSize(blocks.one()), kSmall);
  for (int offset : {1, 16, 63}) {
    char* ptr = blocks.one() + offset;
    EXPECT_EXIT(
        {
          Free(ptr);
          numaheap_release_memory();  // where a cache believed the pointer, this finds out
        },
        KilledBySignal(SIGABRT), OneLine("free", ptr, MiddleOf(blocks.one(), kSmall)));
  }
}

TEST(Pointers, FreeIntoLargeBlock) {
  char* block = static_cast<char*>(Malloc(kLarge));
  for (size_t offset : {size_t{1}, size_t{8192}, kLarge - 8192}) {
    EXPECT_EXIT(Free(block + offset), KilledBySignal(SIGABRT),
                OneLine("free", block + offset, MiddleOf(block, UsableSize(block))));
  }
  Free(block);
}

TEST(Pointers, DoubleFreeAtOnce) {
  Blocks blocks(kSmall);
  EXPECT_EXIT(
      {
        Free(blocks.one());
        Free(blocks.one());
        numaheap_release_memory();  // where the cache holds it twice, this finds out
      },
      KilledBySignal(SIGABRT), OneLine("free", blocks.one(), AlreadyFree(kSmall)));
}

TEST(Pointers, DoubleFreeAfterTheFirstLeftTheCache) {
  Blocks blocks(kSmall);
  EXPECT_EXIT(
      {
        Free(blocks.one());
        numaheap_release_memory();
        Free(blocks.one());
        numaheap_release_memory();
      },
      KilledBySignal(SIGABRT), OneLine("free", blocks.one(), AlreadyFree(kSmall)));
}

TEST(Pointers, DoubleFreeOfABlockThatWaitsForItsFinalizer) {
  for (size_t size : {kSmall, kLarge}) {
    void* block = Malloc(size);
    const auto never_ends = [](void*, void*) {
      for (;;) pause();
    };
    ASSERT_EQ(numaheap_add_finalizer(block, never_ends, nullptr), 0);
    EXPECT_EXIT(
        {
          Free(block);
          Free(block);
        },
        KilledBySignal(SIGABRT), OneLine("free", block, AlreadyFree(size)));
    Free(block);
  }
}

TEST(Pointers, DoubleFreeByAFinalizer) {
  void* block = Malloc(kSmall);
  ASSERT_EQ(numaheap_add_finalizer(
                block, [](void* ptr, void*) { Free(ptr); }, nullptr),
            0);
  EXPECT_EXIT(
      {
        Free(block);
        for (;;) numaheap_run_finalizers();
      },
      KilledBySignal(SIGABRT), OneLine("free", block, AlreadyFree(kSmall)));
  numaheap_remove_finalizer(block);
  Free(block);
}

TEST(Pointers, DoubleFreeOfLargeBlock) {
  char* block = static_cast<char*>(Malloc(kLarge));
  char* next = static_cast<char*>(Malloc(kLarge));  // keeps the pages from joining what follows
  EXPECT_EXIT(
      {
        Free(block);
        Free(block);
      },
      KilledBySignal(SIGABRT), OneLine("free", block, "already free[^\n]*"));
  Free(next);
  Free(block);
}

TEST(Pointers, ReallocOfForeignPointer) {
  alignas(16) static char in_data[64];
  EXPECT_EXIT(Realloc(in_data, 128), KilledBySignal(SIGABRT),
              OneLine("realloc", in_data, kForeign));
}

TEST(Pointers, ReallocIntoBlock) {
  Blocks blocks(kSmall);
  EXPECT_EXIT(Realloc(blocks.one() + 16, 128), KilledBySignal(SIGABRT),
              OneLine("realloc", blocks.one() + 16, MiddleOf(blocks.one(), kSmall)));
}

TEST(Pointers, UsableSizeOfForeignPointer) {
  alignas(16) static char in_data[64];
  EXPECT_EXIT(UsableSize(in_data), KilledBySignal(SIGABRT),
              OneLine("malloc_usable_size", in_data, kForeign));
}

// What looks like a mistake and is none.
TEST(Pointers, NullAndReuseAreFine) {
  Blocks blocks(kSmall);
  EXPECT_EXIT(
      {
        Free(nullptr);
        Free(Realloc(nullptr, 10));
        for (int i = 0; i < 1000; ++i) Free(Malloc(kSmall));
        numaheap_release_memory();
        _exit(0);
      },
      ExitedWithCode(0), MatchesRegex(""));
}

}  // namespace
