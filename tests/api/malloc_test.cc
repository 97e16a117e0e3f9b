// The malloc family keeps what POSIX, ISO C and glibc's manual promise of it.
//
// Linked with libnumaheap.so, so that these functions are numaheap's; called through volatile
// pointers, so that the compiler can't know what they do. The tests run with a scavenger that never
// starts: free pages stay where they are until a test asks for something else.
#include <errno.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <regex>
#include <string>
#include <vector>

#include "tests/api/cpu.h"
#include "tests/api/snapshot.h"

extern "C" {  // C23, not in glibc 2.36
void free_sized(void* ptr, size_t size);
void free_aligned_sized(void* ptr, size_t alignment, size_t size);
}

namespace numaheap {
namespace {

void* (*volatile const Malloc)(size_t) = malloc;
void (*volatile const Free)(void*) = free;
void* (*volatile const Calloc)(size_t, size_t) = calloc;
void* (*volatile const Realloc)(void*, size_t) = realloc;
void* (*volatile const ReallocArray)(void*, size_t, size_t) = reallocarray;
void* (*volatile const AlignedAlloc)(size_t, size_t) = aligned_alloc;
int (*volatile const PosixMemalign)(void**, size_t, size_t) = posix_memalign;
void* (*volatile const Memalign)(size_t, size_t) = memalign;
void* (*volatile const Valloc)(size_t) = valloc;
void* (*volatile const Pvalloc)(size_t) = pvalloc;
size_t (*volatile const UsableSize)(void*) = malloc_usable_size;
void (*volatile const FreeSized)(void*, size_t) = free_sized;
void (*volatile const FreeAlignedSized)(void*, size_t, size_t) = free_aligned_sized;
int (*volatile const Trim)(size_t) = malloc_trim;
struct mallinfo2 (*volatile const Info)() = mallinfo2;
int (*volatile const Opt)(int, int) = mallopt;
int (*volatile const XmlInfo)(int, FILE*) = malloc_info;

constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kPage = 8192;                   // numaheap's
constexpr size_t kMaxSmall = size_t{256} << 10;  // more has pages of its own
constexpr int kMark = 12345;                     // an errno that nobody sets

// Larger than any object may be, or than the heap can be.
constexpr size_t kTooLarge[] = {PTRDIFF_MAX, size_t{PTRDIFF_MAX} + 1, SIZE_MAX - 8192, SIZE_MAX};

struct Freeing {
  void operator()(char* block) const { Free(block); }
};
using Owned = std::unique_ptr<char, Freeing>;

Owned Own(void* block) {
  return Owned(static_cast<char*>(block));
}

bool IsAligned(const void* ptr, size_t alignment) {
  return reinterpret_cast<uintptr_t>(ptr) % alignment == 0;
}

// Every small step, then the surroundings of each power of two.
std::vector<size_t> Sizes() {
  std::vector<size_t> sizes;
  for (size_t size = 0; size <= 1100; ++size) sizes.push_back(size);
  for (size_t power = 2048; power <= 16 * kMiB; power *= 2) {
    for (size_t size : {power - 1, power, power + 1, power + power / 3}) sizes.push_back(size);
  }
  return sizes;
}

// Bytes that tell where they belong.
char ByteAt(size_t i) {
  return static_cast<char>(i * 131 + (i >> 8) * 7 + 1);
}

void Fill(char* block, size_t size) {
  for (size_t i = 0; i < size; ++i) block[i] = ByteAt(i);
}

bool Holds(const char* block, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    if (block[i] != ByteAt(i)) return false;
  }
  return true;
}

bool IsZero(const char* block, size_t size) {
  return std::all_of(block, block + size, [](char c) { return c == 0; });
}

// `call` gives no memory and says why.
template <typename Call>
void ExpectFails(Call call, int error, const char* what) {
  errno = kMark;
  EXPECT_EQ(call(), nullptr) << what;
  EXPECT_EQ(errno, error) << what;
}

// ---- malloc, calloc, free ----------------------------------------------------------------------

TEST(MallocTest, BlocksAreAlignedAndDisjoint) {
  std::vector<Owned> blocks;
  for (size_t size : Sizes()) {
    blocks.push_back(Own(Malloc(size)));
    ASSERT_NE(blocks.back(), nullptr) << size;
    ASSERT_TRUE(IsAligned(blocks.back().get(), 16)) << size;
  }
  std::sort(blocks.begin(), blocks.end());
  for (size_t i = 1; i < blocks.size(); ++i) {
    ASSERT_GE(blocks[i].get(), blocks[i - 1].get() + UsableSize(blocks[i - 1].get()));
  }
}

TEST(MallocTest, SizeZeroGivesBlocksOfTheirOwn) {
  std::vector<Owned> blocks;
  for (int i = 0; i < 100; ++i) {
    blocks.push_back(Own(Malloc(0)));
    blocks.push_back(Own(Calloc(0, 8)));
    blocks.push_back(Own(Calloc(8, 0)));
    blocks.push_back(Own(AlignedAlloc(64, 0)));
    blocks.push_back(Own(Realloc(nullptr, 0)));
  }
  std::sort(blocks.begin(), blocks.end());
  EXPECT_NE(blocks.front(), nullptr);
  EXPECT_EQ(std::adjacent_find(blocks.begin(), blocks.end()), blocks.end());
}

TEST(MallocTest, SuccessKeepsErrno) {
  errno = kMark;
  for (size_t size : {size_t{0}, size_t{100}, kMaxSmall, kMiB, 40 * kMiB}) {
    Owned block = Own(Malloc(size));
    Owned zeros = Own(Calloc(1, size));
    EXPECT_EQ(errno, kMark) << size;
  }
}

TEST(MallocTest, TooLargeIsRefused) {
  for (size_t size : kTooLarge) {
    ExpectFails([=] { return Malloc(size); }, ENOMEM, "malloc");
    ExpectFails([=] { return Calloc(1, size); }, ENOMEM, "calloc");
    ExpectFails([=] { return Calloc(size, 1); }, ENOMEM, "calloc");
    ExpectFails([=] { return Realloc(nullptr, size); }, ENOMEM, "realloc");
    ExpectFails([=] { return ReallocArray(nullptr, 1, size); }, ENOMEM, "reallocarray");
    ExpectFails([=] { return AlignedAlloc(64, size); }, ENOMEM, "aligned_alloc");
    ExpectFails([=] { return AlignedAlloc(1, size); }, ENOMEM, "aligned_alloc");
    ExpectFails([=] { return Memalign(kMiB, size); }, ENOMEM, "memalign");
    ExpectFails([=] { return Valloc(size); }, ENOMEM, "valloc");
    ExpectFails([=] { return Pvalloc(size); }, ENOMEM, "pvalloc");
  }
}

TEST(MallocTest, ProductsThatOverflowAreRefused) {
  const size_t half = size_t{1} << 32;
  const size_t factors[][2] = {
      {half, half}, {SIZE_MAX, 2}, {2, SIZE_MAX}, {SIZE_MAX / 2 + 2, 2}, {half, half + 1}};
  for (const auto& [count, size] : factors) {
    ExpectFails([=] { return Calloc(count, size); }, ENOMEM, "calloc");
    Owned block = Own(Malloc(100));
    Fill(block.get(), 100);
    ExpectFails([&] { return ReallocArray(block.get(), count, size); }, ENOMEM, "reallocarray");
    EXPECT_TRUE(Holds(block.get(), 100));
  }
}

TEST(MallocTest, UsableToTheLastByte) {
  EXPECT_EQ(UsableSize(nullptr), 0u);
  std::vector<Owned> blocks;
  for (size_t size : Sizes()) {
    for (int copy = 0; copy < (size <= 1100 ? 3 : 1); ++copy) {
      Owned block = Own(Malloc(size));
      ASSERT_GE(UsableSize(block.get()), size);
      memset(block.get(), static_cast<int>(blocks.size() % 251), UsableSize(block.get()));
      blocks.push_back(std::move(block));
    }
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    const char* block = blocks[i].get();
    const char expected = static_cast<char>(i % 251);
    ASSERT_TRUE(std::all_of(block, block + UsableSize(blocks[i].get()),
                            [=](char c) { return c == expected; }));
  }
}

TEST(MallocTest, SmallCallocIsZeroAfterDirtyReuse) {
  constexpr int kBlocks = 500;
  for (size_t size : {1, 16, 24, 100, 1000, 5000, 30000}) {
    std::vector<Owned> dirty;
    for (int i = 0; i < kBlocks; ++i) {
      dirty.push_back(Own(Malloc(size)));
      memset(dirty.back().get(), 0xff, UsableSize(dirty.back().get()));
    }
    std::vector<char*> was;
    for (const Owned& block : dirty) was.push_back(block.get());
    dirty.clear();
    std::sort(was.begin(), was.end());
    int reused = 0;
    std::vector<Owned> clean;
    for (int i = 0; i < kBlocks; ++i) {
      clean.push_back(Own(Calloc(1, size)));
      reused += std::binary_search(was.begin(), was.end(), clean.back().get());
      ASSERT_TRUE(IsZero(clean.back().get(), size)) << size;
    }
    EXPECT_GT(reused, 0) << size;
  }
}

// Zeroed blocks until one of them covers `pages`, a freed block; all of them are zero.
void ExpectZeroWhenReused(const char* pages, size_t size) {
  std::vector<Owned> taken;
  do {
    ASSERT_LT(taken.size(), 1000u);
    taken.push_back(Own(Calloc(2, size / 2)));
    ASSERT_TRUE(IsZero(taken.back().get(), size));
  } while (pages < taken.back().get() || pages >= taken.back().get() + size);
}

TEST(MallocTest, LargeCallocIsZeroAfterDirtyReuse) {
  for (bool partly_released : {false, true}) {
    char* const block = static_cast<char*>(Malloc(8 * kMiB));
    memset(block, 0xff, 8 * kMiB);
    if (partly_released) {
      ASSERT_EQ(Realloc(block, 3 * kMiB), block);
      Trim(0);
    }
    Free(block);
    ExpectZeroWhenReused(block + kMiB, 8 * kMiB);
  }
}

TEST(MallocTest, CallocOfReleasedPagesTouchesNone) {
  Free(Calloc(1, 64 * kMiB));
  Trim(0);
  const uint64_t before = Snapshot().Sum(&numaheap_node_snapshot_t::released_bytes);
  ASSERT_GE(before, 64 * kMiB);
  const auto resident = [] {
    long total = 0, pages = 0;
    FILE* file = fopen("/proc/self/statm", "r");
    EXPECT_EQ(fscanf(file, "%ld %ld", &total, &pages), 2);
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
  };
  const long resident_before = resident();
  Owned block = Own(Calloc(1, 64 * kMiB));
  EXPECT_LT(resident() - resident_before, 8 * static_cast<long>(kMiB));
}

TEST(FreeTest, KeepsErrno) {
  errno = kMark;
  Free(nullptr);
  FreeSized(nullptr, 10);
  FreeAlignedSized(nullptr, 64, 10);
  EXPECT_EQ(errno, kMark);

  for (size_t size : {100 * kMiB, kMiB, kMaxSmall}) {
    void* block = Malloc(size);
    errno = kMark;
    Free(block);
    EXPECT_EQ(errno, kMark) << size;
  }

  // More than a CPU's cache and a transfer cache hold, so that whole spans go back.
  std::vector<void*> blocks;
  for (int i = 0; i < 100'000; ++i) blocks.push_back(Malloc(128));
  errno = kMark;
  for (void* block : blocks) Free(block);
  EXPECT_EQ(errno, kMark);

  // With two nodes, half of these are another node's: gathered, sent, and swept there.
  blocks.clear();
  for (int i = 0; i < 20'000; ++i) {
    for (int node : {0, 1}) {
      if (void* block = numaheap_malloc_onnode(100, node)) blocks.push_back(block);
    }
  }
  EXPECT_GE(blocks.size(), 20'000u);
  errno = kMark;
  for (void* block : blocks) Free(block);
  EXPECT_EQ(errno, kMark);

  for (int node : {0, 1}) {
    void* block = numaheap_malloc_onnode(kMiB, node);
    errno = kMark;
    Free(block);
    EXPECT_EQ(errno, kMark);
  }
}

TEST(FreeTest, SizedFormsFree) {
  constexpr int kBlocks = 1000;
  const uint64_t in_use = Snapshot().Sum(&numaheap_node_snapshot_t::large_bytes);
  const uint64_t frees = Snapshot().Frees();
  for (int i = 0; i < kBlocks; ++i) {
    FreeSized(Malloc(100), 100);
    FreeAlignedSized(AlignedAlloc(256, 512), 256, 512);
  }
  FreeSized(Malloc(kMiB), kMiB);
  FreeAlignedSized(AlignedAlloc(kMiB, 2 * kMiB), kMiB, 2 * kMiB);
  const Snapshot after;
  EXPECT_EQ(after.Frees() - frees, 2u * kBlocks + 2);
  EXPECT_EQ(after.Sum(&numaheap_node_snapshot_t::large_bytes), in_use);
}

// ---- realloc -----------------------------------------------------------------------------------

TEST(ReallocTest, KeepsContentInEveryDirection) {
  const size_t sizes[] = {
      1,       16,   17,      100, 1024, 8192, 100'000, kMaxSmall - 1, kMaxSmall, kMaxSmall + 1,
      300'000, kMiB, 5 * kMiB};
  for (size_t from : sizes) {
    for (size_t to : sizes) {
      char* block = static_cast<char*>(Malloc(from));
      Fill(block, from);
      Owned moved = Own(Realloc(block, to));
      ASSERT_NE(moved, nullptr);
      ASSERT_TRUE(IsAligned(moved.get(), 16));
      ASSERT_GE(UsableSize(moved.get()), to);
      ASSERT_TRUE(Holds(moved.get(), std::min(from, to))) << from << " to " << to;
      Fill(moved.get(), UsableSize(moved.get()));
    }
  }
}

TEST(ReallocTest, StepByStep) {
  Owned block;
  size_t size = 0;
  for (size_t next = 1; next < 3 * kMiB; next += next / 5 + 1) {
    block = Own(Realloc(block.release(), next));
    ASSERT_TRUE(Holds(block.get(), size)) << next;
    Fill(block.get(), next);
    size = next;
  }
  for (size_t next = size; next > 0; next -= next / 5 + 1) {
    block = Own(Realloc(block.release(), next));
    ASSERT_TRUE(Holds(block.get(), next)) << next;
    if (next < 6) break;
  }
}

TEST(ReallocTest, WithinTheBlockStaysInPlace) {
  Owned block = Own(Malloc(100));
  const size_t usable = UsableSize(block.get());
  EXPECT_EQ(Realloc(block.get(), usable), block.get());
  EXPECT_EQ(Realloc(block.get(), usable - 1), block.get());
}

TEST(ReallocTest, LargeGrowsInPlaceWhereTheNextPagesAreFree) {
  char* const start = static_cast<char*>(Malloc(16 * kMiB));
  ASSERT_EQ(Realloc(start, kMiB), start);  // what is behind is free now
  Fill(start, kMiB);
  for (size_t size : {kMiB + 1, 2 * kMiB, 8 * kMiB, 16 * kMiB}) {
    ASSERT_EQ(Realloc(start, size), start) << size;
    EXPECT_GE(UsableSize(start), size);
  }
  EXPECT_TRUE(Holds(start, kMiB));
  Free(start);
}

TEST(ReallocTest, LargeMovesWhereTheNextPagesAreNot) {
  char* const start = static_cast<char*>(Malloc(16 * kMiB));
  ASSERT_EQ(Realloc(start, kMiB), start);
  // Whatever fits best takes pages behind `start` at some time.
  std::vector<Owned> others;
  for (numaheap_owner_t owner; numaheap_owner(start + kMiB, &owner) != 0;) {
    others.push_back(Own(Malloc(kMiB)));
    ASSERT_LT(others.size(), 1000u);
  }
  Fill(start, kMiB);
  Owned moved = Own(Realloc(start, 2 * kMiB));
  EXPECT_NE(moved.get(), start);
  EXPECT_TRUE(Holds(moved.get(), kMiB));
}

// Growing by a little, over and over, with neighbours in the way: copied seldom, not in each step.
TEST(ReallocTest, GrowingInStepsMovesSeldom) {
  char* buffers[3] = {};
  int moves = 0;
  size_t size = 64 << 10;
  for (char*& buffer : buffers) Fill(buffer = static_cast<char*>(Malloc(size)), size);
  for (; size <= 4 * kMiB; size += 4096) {
    for (char*& buffer : buffers) {
      char* const moved = static_cast<char*>(Realloc(buffer, size));
      moves += moved != buffer;
      buffer = moved;
    }
  }
  // From 64 KiB to 4 MiB is six doublings, three moves each.
  EXPECT_LE(moves, 3 * 20);
  for (char* buffer : buffers) {
    EXPECT_TRUE(Holds(buffer, 64 << 10));
    EXPECT_LE(UsableSize(buffer), size + size / 4);
    Free(buffer);
  }
}

TEST(ReallocTest, LargeShrinksInPlaceAndGivesPagesBack) {
  char* const start = static_cast<char*>(Malloc(16 * kMiB));
  Fill(start, kMiB);
  const Snapshot before;
  ASSERT_EQ(Realloc(start, kMiB - 5 * kPage - 1), start);
  const Snapshot after;
  const uint64_t given_back = 15 * kMiB + 5 * kPage;
  for (auto field :
       {&numaheap_node_snapshot_t::in_use_bytes, &numaheap_node_snapshot_t::large_bytes}) {
    EXPECT_EQ(before.Sum(field) - after.Sum(field), given_back);
  }
  EXPECT_EQ(after.Sum(&numaheap_node_snapshot_t::idle_bytes) -
                before.Sum(&numaheap_node_snapshot_t::idle_bytes),
            given_back);
  EXPECT_EQ(UsableSize(start), kMiB - 5 * kPage);
  EXPECT_TRUE(Holds(start, kMiB - 5 * kPage - 1));
  Free(start);
}

// A block that would stay mostly empty goes to a smaller one, so that its memory is free.
TEST(ReallocTest, MuchSmallerTakesLessMemory) {
  for (size_t from : {size_t{1000}, size_t{100'000}, 16 * kMiB}) {
    Owned block = Own(Realloc(Malloc(from), 16));
    EXPECT_LE(UsableSize(block.get()), 64u) << from;
  }
}

TEST(ReallocTest, NullIsMallocAndZeroIsFree) {
  const Snapshot before;
  void* block = Realloc(nullptr, 100);
  ASSERT_NE(block, nullptr);
  EXPECT_EQ(Realloc(block, 0), nullptr);
  void* large = ReallocArray(nullptr, 3, kMiB);
  ASSERT_NE(large, nullptr);
  EXPECT_GE(UsableSize(large), 3 * kMiB);
  EXPECT_EQ(ReallocArray(large, 0, kMiB), nullptr);
  const Snapshot after;
  EXPECT_EQ(after.Frees() - before.Frees(), 2u);
  EXPECT_EQ(after.Sum(&numaheap_node_snapshot_t::large_bytes),
            before.Sum(&numaheap_node_snapshot_t::large_bytes));
}

TEST(ReallocTest, FailureKeepsTheBlock) {
  for (size_t size : {size_t{100}, size_t{100'000}, 3 * kMiB}) {
    Owned block = Own(Malloc(size));
    Fill(block.get(), size);
    for (size_t too_large : kTooLarge) {
      ExpectFails([&] { return Realloc(block.get(), too_large); }, ENOMEM, "realloc");
    }
    EXPECT_GE(UsableSize(block.get()), size);
    EXPECT_TRUE(Holds(block.get(), size));
  }
}

TEST(ReallocTest, AlignedBlocksToo) {
  for (size_t alignment : {size_t{64}, size_t{4096}, kMiB}) {
    char* block = static_cast<char*>(AlignedAlloc(alignment, 10'000));
    Fill(block, 10'000);
    Owned moved = Own(Realloc(block, kMiB));
    EXPECT_TRUE(Holds(moved.get(), 10'000)) << alignment;
  }
}

// ---- Alignment ---------------------------------------------------------------------------------

TEST(AlignmentTest, EveryPowerOfTwo) {
  for (size_t alignment = 1; alignment <= size_t{1} << 30; alignment *= 2) {
    for (size_t size : {size_t{0}, size_t{1}, size_t{100}, alignment - 1, alignment + 1,
                        size_t{100'000}, size_t{300'000}}) {
      if (size > 64 * kMiB) continue;
      void* out = nullptr;
      if (alignment >= sizeof(void*)) {
        errno = kMark;
        EXPECT_EQ(PosixMemalign(&out, alignment, size), 0);
        EXPECT_EQ(errno, kMark);
        EXPECT_NE(out, nullptr);
      }
      Owned blocks[] = {Own(AlignedAlloc(alignment, size)), Own(Memalign(alignment, size)),
                        Own(out)};
      for (Owned& block : blocks) {
        if (block == nullptr && &block == &blocks[2] && alignment < sizeof(void*)) continue;
        ASSERT_NE(block, nullptr) << alignment << ", " << size;
        ASSERT_TRUE(IsAligned(block.get(), std::max<size_t>(alignment, 16)))
            << alignment << ", " << size;
        ASSERT_GE(UsableSize(block.get()), size);
        if (size <= kMiB) memset(block.get(), 0xa5, UsableSize(block.get()));
      }
    }
  }
}

TEST(AlignmentTest, SmallAlignedBlocksAreDisjoint) {
  std::vector<Owned> blocks;
  for (int i = 0; i < 300; ++i) {
    for (size_t alignment = 32; alignment <= kPage; alignment *= 2) {
      Owned block = Own(AlignedAlloc(alignment, 1 + i));
      ASSERT_TRUE(IsAligned(block.get(), alignment));
      memset(block.get(), static_cast<int>(blocks.size() % 251), UsableSize(block.get()));
      blocks.push_back(std::move(block));
    }
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    ASSERT_EQ(blocks[i].get()[0], static_cast<char>(i % 251));
    ASSERT_EQ(blocks[i].get()[UsableSize(blocks[i].get()) - 1], static_cast<char>(i % 251));
  }
}

TEST(AlignmentTest, WhatIsNoPowerOfTwo) {
  for (size_t alignment : {size_t{0}, size_t{3}, size_t{24}, size_t{4097}, SIZE_MAX}) {
    ExpectFails([=] { return AlignedAlloc(alignment, 100); }, EINVAL, "aligned_alloc");
  }
  // memalign takes the next power of two.
  for (size_t alignment : {size_t{0}, size_t{3}, size_t{24}, size_t{4097}, kMiB + 1}) {
    Owned block = Own(Memalign(alignment, 100));
    ASSERT_NE(block, nullptr) << alignment;
    size_t power = 16;
    while (power < alignment) power *= 2;
    EXPECT_TRUE(IsAligned(block.get(), power)) << alignment;
  }
  ExpectFails([] { return Memalign(SIZE_MAX / 2 + 2, 100); }, EINVAL, "memalign");
}

TEST(AlignmentTest, TooLargeToHave) {
  for (size_t alignment : {size_t{1} << 45, size_t{1} << 62, SIZE_MAX / 2 + 1}) {
    ExpectFails([=] { return AlignedAlloc(alignment, 100); }, ENOMEM, "aligned_alloc");
    ExpectFails([=] { return Memalign(alignment, 100); }, ENOMEM, "memalign");
    ExpectFails([=] { return AlignedAlloc(alignment, PTRDIFF_MAX); }, ENOMEM, "aligned_alloc");
  }
}

TEST(AlignmentTest, PosixMemalignTouchesNothingWhenItFails) {
  void* const before = reinterpret_cast<void*>(uintptr_t{0x1234});
  const auto expect_fails = [=](size_t alignment, size_t size, int error) {
    void* out = before;
    errno = kMark;
    EXPECT_EQ(PosixMemalign(&out, alignment, size), error) << alignment << ", " << size;
    EXPECT_EQ(errno, kMark);
    EXPECT_EQ(out, before);
  };
  for (size_t alignment : {0, 1, 2, 4, 3, 12, 24, 4097}) expect_fails(alignment, 100, EINVAL);
  expect_fails(SIZE_MAX, 100, EINVAL);
  for (size_t size : kTooLarge) expect_fails(64, size, ENOMEM);
  expect_fails(size_t{1} << 62, 1, ENOMEM);
}

TEST(AlignmentTest, VallocAndPvallocTakeSystemPages) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  for (size_t size : {size_t{0}, size_t{1}, page - 1, page, page + 1, 100 * page + 5, kMiB + 1}) {
    Owned v = Own(Valloc(size));
    ASSERT_NE(v, nullptr);
    EXPECT_TRUE(IsAligned(v.get(), page)) << size;
    EXPECT_GE(UsableSize(v.get()), size);
    Owned p = Own(Pvalloc(size));
    ASSERT_NE(p, nullptr);
    EXPECT_TRUE(IsAligned(p.get(), page)) << size;
    EXPECT_GE(UsableSize(p.get()), (size + page - 1) / page * page);
  }
}

// ---- What glibc adds ---------------------------------------------------------------------------

TEST(GlibcTest, TrimGivesIdleMemoryBack) {
  Free(Malloc(16 * kMiB));
  ASSERT_GE(Snapshot().Sum(&numaheap_node_snapshot_t::idle_bytes), 16 * kMiB);
  EXPECT_EQ(Trim(0), 1);
  EXPECT_EQ(Snapshot().Sum(&numaheap_node_snapshot_t::idle_bytes), 0u);
  EXPECT_EQ(Trim(0), 0);
}

TEST(GlibcTest, Mallinfo2IsTheSnapshotInGlibcsWords) {
  const struct mallinfo2 before = Info();
  Owned large = Own(Malloc(10 * kMiB));
  std::vector<Owned> small(1000);
  for (Owned& block : small) block = Own(Malloc(8192));
  const struct mallinfo2 info = Info();
  const Snapshot snapshot;
  EXPECT_EQ(info.arena + info.hblkhd, snapshot.Sum(&numaheap_node_snapshot_t::committed_bytes));
  EXPECT_EQ(info.hblkhd - before.hblkhd, 10 * kMiB);
  EXPECT_GE(info.uordblks - before.uordblks, 1000u * 8192);
  EXPECT_EQ(info.ordblks, snapshot.Sum(&numaheap_node_snapshot_t::spans_free));
  // As in glibc, what has pages of its own is in hblkhd alone.
  EXPECT_EQ(info.uordblks + info.fordblks, info.arena);
  EXPECT_LE(info.keepcost, info.fordblks);
  EXPECT_EQ(info.smblks + info.fsmblks + info.usmblks, 0u);  // glibc's fast bins: there are none

  large.reset();
  const struct mallinfo2 after = Info();
  EXPECT_EQ(after.hblkhd, before.hblkhd);
  EXPECT_GE(after.keepcost, 10 * kMiB);
}

TEST(GlibcTest, MalloptAcceptsWhatItDoesNotNeed) {
  for (int parameter : {M_MXFAST, M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX,
                        M_CHECK_ACTION, M_PERTURB, M_ARENA_TEST, M_ARENA_MAX}) {
    EXPECT_EQ(Opt(parameter, 1), 1);
  }
  // M_PERTURB and M_MMAP_MAX change nothing.
  Owned block = Own(Calloc(1, 100));
  EXPECT_TRUE(IsZero(block.get(), 100));
  EXPECT_NE(Own(Malloc(kMiB)), nullptr);
}

TEST(GlibcTest, MallocInfoWritesXml) {
  char* text = nullptr;
  size_t size = 0;
  FILE* stream = open_memstream(&text, &size);
  Owned large = Own(Malloc(10 * kMiB));
  ASSERT_EQ(XmlInfo(0, stream), 0);
  fclose(stream);
  const std::string xml(text, size);
  Free(text);

  const std::regex whole(
      "<malloc version=\"numaheap-[0-9.]+\">\n"
      "(<heap( [a-z_]+=\"-?[0-9]+\")+/>\n)+"
      "</malloc>\n");
  EXPECT_TRUE(std::regex_match(xml, whole)) << xml;
  const std::regex heap("<heap node=\"(-?[0-9]+)\" committed=\"([0-9]+)\" in_use=\"([0-9]+)\"");
  const Snapshot snapshot;
  size_t heaps = 0;
  uint64_t in_use = 0;
  for (std::sregex_iterator it(xml.begin(), xml.end(), heap), end; it != end; ++it, ++heaps) {
    EXPECT_NE(snapshot.Find(std::stoi((*it)[1])), nullptr) << (*it)[0];
    in_use += std::stoull((*it)[3]);
  }
  EXPECT_EQ(heaps, snapshot.all().node_count);
  EXPECT_GE(in_use, 10 * kMiB);
}

TEST(GlibcTest, MallocInfoRefuses) {
  char* text = nullptr;
  size_t size = 0;
  FILE* stream = open_memstream(&text, &size);
  errno = kMark;
  EXPECT_NE(XmlInfo(1, stream), 0);
  EXPECT_EQ(errno, EINVAL);
  fclose(stream);
  EXPECT_EQ(size, 0u);
  Free(text);

  FILE* full = fopen("/dev/full", "w");
  ASSERT_NE(full, nullptr);
  setvbuf(full, nullptr, _IONBF, 0);
  EXPECT_EQ(XmlInfo(0, full), -1);
  fclose(full);
}

}  // namespace
}  // namespace numaheap
