// AddressSpace, NodeRange and Area: which range an address belongs to, what happens when the kernel
// refuses, how a range is cut, and how far an area is committed.
#include "src/os/address_space.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <utility>

#include "tests/os/fake_kernel.h"
#include "tests/os/reservation.h"

namespace numaheap {
namespace {

constexpr size_t kSmallestRange = size_t{1} << AddressSpace::kMinShift;

// What Open asks for when the kernel chooses the place.
constexpr size_t Request(int ranges, int shift) {
  return (static_cast<size_t>(ranges) << shift) + kHugePageSize;
}

bool IsAligned(const void* address, size_t alignment) {
  return reinterpret_cast<uintptr_t>(address) % alignment == 0;
}

// ---- AddressSpace ------------------------------------------------------------------------------

class AddressSpaceTest : public testing::Test {
 protected:
  // Small ranges, so that there is room for them under every sanitizer.
  bool OpenSmallest(int ranges, void* at = nullptr) {
    kernel_.FailAbove(FakeKernel::kReserve, Request(ranges, AddressSpace::kMinShift));
    const bool opened = space_.Open(kernel_, ranges, at);
    kernel_.FailNothing();
    return opened;
  }
  void TearDown() override { space_.Close(kernel_); }

  // The same as HomeOf(), by looking at each range.
  int SlowHomeOf(uintptr_t address) const {
    for (int range = 0; range < space_.ranges(); ++range) {
      const uintptr_t start = reinterpret_cast<uintptr_t>(space_.RangeStart(range));
      if (start <= address && address - start < space_.range_bytes()) return range;
    }
    return -1;
  }
  void ExpectHomeOf(uintptr_t address) const {
    ASSERT_EQ(space_.HomeOf(reinterpret_cast<void*>(address)), SlowHomeOf(address))
        << std::hex << address;
  }

  FakeKernel kernel_;
  AddressSpace space_;
};

TEST_F(AddressSpaceTest, HasNothingBeforeItIsOpened) {
  EXPECT_EQ(space_.ranges(), 0);
  for (uintptr_t address : {uintptr_t{0}, uintptr_t{1}, uintptr_t{1} << 46, ~uintptr_t{0}}) {
    EXPECT_EQ(space_.HomeOf(reinterpret_cast<void*>(address)), -1);
  }
}

TEST_F(AddressSpaceTest, OpensWhereItIsAsked) {
  char* const place = Reservation::FreePlace(3 * kSmallestRange);
  ASSERT_TRUE(OpenSmallest(3, place));
  EXPECT_EQ(space_.ranges(), 3);
  EXPECT_EQ(space_.range_bytes(), kSmallestRange);
  for (int range = 0; range < 3; ++range) {
    EXPECT_EQ(space_.RangeStart(range), place + range * kSmallestRange);
  }
  // Each larger size was tried there and anywhere.
  EXPECT_EQ(kernel_.count(FakeKernel::kReserve), 2 * space_.halvings() + 1);
}

TEST_F(AddressSpaceTest, OpensElsewhereWhenThePlaceIsTaken) {
  const Reservation taken(kHugePageSize, Reservation::FreePlace(2 * kSmallestRange));
  ASSERT_NE(taken.start(), nullptr);
  ASSERT_TRUE(OpenSmallest(2, taken.start()));
  EXPECT_EQ(space_.HomeOf(taken.start()), -1);
  EXPECT_EQ(space_.range_bytes(), kSmallestRange);
  EXPECT_TRUE(IsAligned(space_.RangeStart(0), kHugePageSize));
  EXPECT_NE(space_.RangeStart(0), taken.start());
}

TEST_F(AddressSpaceTest, WhatItReservedIsItsOwn) {
  ASSERT_TRUE(OpenSmallest(2));
  char* const end = space_.RangeStart(1) + kSmallestRange;
  for (char* page : {space_.RangeStart(0), space_.RangeStart(1), end - kSmallestPage}) {
    EXPECT_EQ(Reservation(kSmallestPage, page).start(), nullptr) << "anyone could have it";
  }
  EXPECT_EQ(kernel_.real().Commit(space_.RangeStart(0), 2 * kSmallestRange), 0);
}

TEST_F(AddressSpaceTest, HalvesUntilTheKernelAgrees) {
  for (const int ranges : {1, 2, 5}) {
    for (int shift = AddressSpace::kMinShift; shift <= 30; ++shift) {
      AddressSpace space;
      kernel_.FailAbove(FakeKernel::kReserve, Request(ranges, shift));
      const int before = kernel_.count(FakeKernel::kReserve);
      ASSERT_TRUE(space.Open(kernel_, ranges, nullptr));
      EXPECT_EQ(space.ranges(), ranges);
      EXPECT_EQ(space.range_bytes(), size_t{1} << shift);
      EXPECT_EQ(space.halvings(), AddressSpace::kMaxShift - shift);
      EXPECT_EQ(kernel_.count(FakeKernel::kReserve) - before, space.halvings() + 1);
      space.Close(kernel_);
    }
  }
}

TEST_F(AddressSpaceTest, ManyRangesAreSmallFromTheStart) {
  // 200 ranges of 1 TiB are more than a process has. That is no refusal by the kernel.
  constexpr int kRanges = 200;
  constexpr int kLargest = 38;
  static_assert(size_t{kRanges} << kLargest <= size_t{1} << AddressSpace::kMaxTotalShift);
  static_assert(size_t{kRanges} << (kLargest + 1) > size_t{1} << AddressSpace::kMaxTotalShift);
  ASSERT_TRUE(OpenSmallest(kRanges));
  EXPECT_EQ(space_.range_bytes(), kSmallestRange);
  EXPECT_EQ(space_.halvings(), kLargest - AddressSpace::kMinShift);
  EXPECT_EQ(kernel_.count(FakeKernel::kReserve), space_.halvings() + 1);
}

TEST_F(AddressSpaceTest, GivesUpBelowTheSmallestRange) {
  kernel_.FailAbove(FakeKernel::kReserve, 2 * kSmallestRange - 1);
  EXPECT_FALSE(space_.Open(kernel_, 2, Reservation::FreePlace(kSmallestRange)));
  EXPECT_EQ(space_.ranges(), 0);
  EXPECT_EQ(space_.HomeOf(nullptr), -1);
  EXPECT_EQ(space_.HomeOf(&space_), -1);
  constexpr int kSizes = AddressSpace::kMaxShift - AddressSpace::kMinShift + 1;
  EXPECT_EQ(kernel_.count(FakeKernel::kReserve), 2 * kSizes);
}

TEST_F(AddressSpaceTest, MayBeOpenedAfterItWasRefused) {
  kernel_.FailFrom(FakeKernel::kReserve, 1);
  ASSERT_FALSE(space_.Open(kernel_, 2, nullptr));
  kernel_.FailNothing();
  ASSERT_TRUE(OpenSmallest(2));
  EXPECT_EQ(space_.ranges(), 2);
  EXPECT_EQ(space_.halvings(), AddressSpace::kMaxShift - AddressSpace::kMinShift);
}

TEST_F(AddressSpaceTest, CloseGivesTheRangesBack) {
  char* const place = Reservation::FreePlace(2 * kSmallestRange);
  ASSERT_TRUE(OpenSmallest(2, place));
  space_.Close(kernel_);
  EXPECT_EQ(space_.ranges(), 0);
  EXPECT_EQ(space_.HomeOf(place), -1);
  EXPECT_EQ(Reservation(2 * kSmallestRange, place).start(), place);
}

TEST_F(AddressSpaceTest, ExtendAddsRangesBehind) {
  char* const place = Reservation::FreePlace(4 * kSmallestRange);
  ASSERT_TRUE(OpenSmallest(2, place));
  char* const added = place + 2 * kSmallestRange;
  EXPECT_EQ(space_.HomeOf(added), -1);
  ASSERT_TRUE(space_.Extend(kernel_, 2));
  EXPECT_EQ(space_.ranges(), 4);
  EXPECT_EQ(space_.RangeStart(2), added);
  EXPECT_EQ(space_.HomeOf(added), 2);
  EXPECT_EQ(space_.HomeOf(added + 2 * kSmallestRange - 1), 3);
  EXPECT_EQ(space_.HomeOf(added + 2 * kSmallestRange), -1);
  EXPECT_EQ(Reservation(kSmallestPage, added + kSmallestRange).start(), nullptr);
}

TEST_F(AddressSpaceTest, ExtendChangesNothingWhenWhatFollowsIsTaken) {
  char* const place = Reservation::FreePlace(4 * kSmallestRange);
  ASSERT_TRUE(OpenSmallest(2, place));
  const Reservation taken(kSmallestPage, place + 4 * kSmallestRange - kSmallestPage);
  ASSERT_NE(taken.start(), nullptr);
  EXPECT_FALSE(space_.Extend(kernel_, 2));
  EXPECT_EQ(space_.ranges(), 2);
  EXPECT_EQ(space_.HomeOf(place + 2 * kSmallestRange), -1);
  EXPECT_TRUE(space_.Extend(kernel_, 1));
}

TEST_F(AddressSpaceTest, HomeOfAtEveryBoundary) {
  ASSERT_TRUE(OpenSmallest(5));
  for (int range = 0; range <= 5; ++range) {  // the last is where a sixth would begin
    char* const start = space_.RangeStart(range);
    const int home = range < 5 ? range : -1;
    EXPECT_EQ(space_.HomeOf(start - 1), range - 1);
    EXPECT_EQ(space_.HomeOf(start), home);
    EXPECT_EQ(space_.HomeOf(start + 1), home);
    EXPECT_EQ(space_.HomeOf(start + kSmallestRange / 2), home);
    EXPECT_EQ(space_.HomeOf(start + kSmallestRange - 1), home);
  }
}

TEST_F(AddressSpaceTest, HomeOfAnyAddress) {
  ASSERT_TRUE(OpenSmallest(3));
  const int on_stack = 0;
  EXPECT_EQ(space_.HomeOf(&on_stack), -1);
  EXPECT_EQ(space_.HomeOf(&kSmallestRange), -1);
  EXPECT_EQ(space_.HomeOf(nullptr), -1);
  // Every power of two, the addresses around it, and as many seen from the end of the addresses.
  for (int bit = 0; bit < 64; ++bit) {
    const uintptr_t power = uintptr_t{1} << bit;
    for (uintptr_t address : {power - 1, power, power + 1}) {
      ASSERT_NO_FATAL_FAILURE(ExpectHomeOf(address));
      ASSERT_NO_FATAL_FAILURE(ExpectHomeOf(-address));
      ASSERT_NO_FATAL_FAILURE(
          ExpectHomeOf(reinterpret_cast<uintptr_t>(space_.RangeStart(0)) + address));
    }
  }
}

TEST_F(AddressSpaceTest, RandomAddressesAgainstEachRangesBounds) {
  ASSERT_TRUE(OpenSmallest(6));
  std::mt19937_64 random(20240121);
  const uintptr_t base = reinterpret_cast<uintptr_t>(space_.RangeStart(0));
  for (int i = 0; i < 100'000; ++i) {
    // From two ranges before the first to two behind the last, and from everywhere.
    const uintptr_t near = base - 2 * kSmallestRange + random() % (10 * kSmallestRange);
    ASSERT_NO_FATAL_FAILURE(ExpectHomeOf(near));
    ASSERT_NO_FATAL_FAILURE(ExpectHomeOf(random() >> (random() % 64)));
  }
}

// Bytes of address space that this process has mapped.
size_t MappedBytes() {
  size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

// Ends the process, with status 0 when two ranges shrink to what fits into 1 GiB more.
[[noreturn]] void OpenUnderALimit() {
  const rlim_t limit = MappedBytes() + (rlim_t{1} << 30);
  const rlimit limits = {limit, limit};
  if (setrlimit(RLIMIT_AS, &limits) != 0) _exit(2);
  LinuxKernel kernel;
  AddressSpace space;
  if (!space.Open(kernel, 2, nullptr)) _exit(3);
  if (space.range_bytes() != size_t{1} << 28) _exit(4);  // twice 512 MiB don't fit
  if (space.Extend(kernel, 8)) _exit(5);
  _exit(space.halvings() == AddressSpace::kMaxShift - 28 ? 0 : 6);
}

// ulimit -v, with the real kernel.
TEST(AddressSpaceLimitTest, FitsIntoWhatTheProcessMayMap) {
  EXPECT_EXIT(OpenUnderALimit(), testing::ExitedWithCode(0), "");
}

// ---- NodeRange ---------------------------------------------------------------------------------

// Cutting takes no memory, so any address will do.
char* const kStart = reinterpret_cast<char*>(uintptr_t{1} << 44);

class NodeRangeTest : public testing::TestWithParam<int> {};

TEST_P(NodeRangeTest, AreasFollowEachOtherAndFillTheRange) {
  const size_t bytes = size_t{1} << GetParam();
  for (const size_t extra : {size_t{0}, size_t{1}, bytes / 8}) {
    NodeRange range(kStart, bytes, extra);
    char* expected = kStart;
    for (const Area* area : {&range.page_classes, &range.released_bits, &range.span_indices,
                             &range.arena, &range.heap}) {
      EXPECT_EQ(area->start(), expected);
      EXPECT_GT(area->reserved_bytes(), 0u);
      EXPECT_EQ(area->committed_bytes(), 0u);
      // Advice and policy of one area never split a huge page of its neighbour, but in ranges too
      // small for that.
      const size_t step = bytes > (size_t{32} << 20) ? kHugePageSize : 64 << 10;
      EXPECT_EQ(area->reserved_bytes() % step, 0u);
      expected += area->reserved_bytes();
    }
    EXPECT_EQ(expected, kStart + bytes);
  }
}

TEST_P(NodeRangeTest, MapsHaveRoomForEveryPage) {
  const size_t bytes = size_t{1} << GetParam();
  NodeRange range(kStart, bytes, 1 << 20);
  const size_t pages = range.heap.reserved_bytes() / kPageSize;
  EXPECT_GE(range.page_classes.reserved_bytes(), pages);
  EXPECT_GE(range.released_bits.reserved_bytes() * 8, pages);
  EXPECT_GE(range.span_indices.reserved_bytes() / sizeof(uint32_t), pages);
  EXPECT_GE(range.arena.reserved_bytes(), bytes / 100 * 12 / 10 + (1 << 20));
  EXPECT_GE(range.heap.reserved_bytes(), bytes / 2);
}

INSTANTIATE_TEST_SUITE_P(EverySize, NodeRangeTest,
                         testing::Range(AddressSpace::kMinShift, AddressSpace::kMaxShift + 1));

void ExpectEmpty(NodeRange& range) {
  for (const Area* area : {&range.page_classes, &range.released_bits, &range.span_indices,
                           &range.arena, &range.heap}) {
    EXPECT_EQ(area->start(), nullptr);
    EXPECT_EQ(area->reserved_bytes(), 0u);
    EXPECT_EQ(area->committed_bytes(), 0u);
  }
}

TEST(NodeRangeSizeTest, EmptyWhenTheHeapWouldGetLessThanHalf) {
  // Four areas of 64 KiB each are the least.
  constexpr size_t kLeast = 512 << 10;
  NodeRange fits(kStart, kLeast, 0);
  EXPECT_EQ(fits.heap.reserved_bytes(), kLeast / 2);
  NodeRange small(kStart, kLeast - kSmallestPage, 0);
  ExpectEmpty(small);
  NodeRange tiny(kStart, kPageSize, 0);
  ExpectEmpty(tiny);
}

TEST(NodeRangeSizeTest, EmptyWhenTheRecordsTakeTooMuch) {
  // 64 MiB: 6 MiB of maps, so the arena may have 26 MiB, 1 MiB of them for spans.
  constexpr size_t kRange = 64 << 20;
  constexpr size_t kMost = 25 << 20;
  NodeRange fits(kStart, kRange, kMost);
  EXPECT_EQ(fits.arena.reserved_bytes(), size_t{26} << 20);
  EXPECT_EQ(fits.heap.reserved_bytes(), kRange / 2);
  NodeRange over(kStart, kRange, kMost + 1);
  ExpectEmpty(over);
  FakeKernel kernel;
  EXPECT_FALSE(over.heap.CommitUpTo(kernel, 1, kHugePageSize));
  EXPECT_EQ(kernel.count_all(), 0);
}

// ---- Area --------------------------------------------------------------------------------------

class AreaTest : public testing::Test {
 protected:
  static constexpr size_t kStep = 64 << 10;
  static constexpr size_t kReserved = 3 * kStep + kSmallestPage;  // not a multiple of the step

  int commits() const { return kernel_.count(FakeKernel::kCommit); }

  FakeKernel kernel_;
  Reservation reservation_{kReserved};
  Area area_{reservation_.start(), kReserved};
};

TEST_F(AreaTest, GoesForwardInSteps) {
  EXPECT_TRUE(area_.CommitUpTo(kernel_, 0, kStep));
  EXPECT_EQ(area_.committed_bytes(), 0u);
  EXPECT_EQ(commits(), 0);
  const std::pair<size_t, size_t> bytes_and_committed[] = {{1, kStep},
                                                           {kStep, kStep},
                                                           {kStep + 1, 2 * kStep},
                                                           {2 * kStep - 1, 2 * kStep},
                                                           {5, 2 * kStep},
                                                           {2 * kStep + kStep / 2, 3 * kStep}};
  for (const auto& [bytes, committed] : bytes_and_committed) {
    EXPECT_TRUE(area_.CommitUpTo(kernel_, bytes, kStep));
    EXPECT_EQ(area_.committed_bytes(), committed);
    std::memset(area_.start(), 0x5a, committed);  // usable
  }
  EXPECT_EQ(commits(), 3);
}

TEST_F(AreaTest, SeveralStepsAreOneCall) {
  EXPECT_TRUE(area_.CommitUpTo(kernel_, 2 * kStep + 1, kStep));
  EXPECT_EQ(area_.committed_bytes(), 3 * kStep);
  EXPECT_EQ(commits(), 1);
}

TEST_F(AreaTest, TheLastStepEndsWithTheArea) {
  EXPECT_TRUE(area_.CommitUpTo(kernel_, 3 * kStep + 1, kStep));
  EXPECT_EQ(area_.committed_bytes(), kReserved);
  EXPECT_TRUE(area_.CommitUpTo(kernel_, kReserved, kStep));
  EXPECT_EQ(commits(), 1);
}

TEST_F(AreaTest, NeverGoesBeyondItsEnd) {
  for (size_t bytes : {kReserved + 1, kReserved + kStep, SIZE_MAX - kStep, SIZE_MAX}) {
    EXPECT_FALSE(area_.CommitUpTo(kernel_, bytes, kStep));
  }
  EXPECT_EQ(area_.committed_bytes(), 0u);
  EXPECT_EQ(commits(), 0);
}

TEST_F(AreaTest, ARefusalChangesNothing) {
  ASSERT_TRUE(area_.CommitUpTo(kernel_, kStep, kStep));
  kernel_.FailFrom(FakeKernel::kCommit, 1);
  EXPECT_FALSE(area_.CommitUpTo(kernel_, kStep + 1, kStep));
  EXPECT_EQ(area_.committed_bytes(), kStep);
  EXPECT_TRUE(area_.CommitUpTo(kernel_, kStep, kStep)) << "what is there needs no kernel";
  kernel_.FailNothing();
  EXPECT_TRUE(area_.CommitUpTo(kernel_, kStep + 1, kStep));
  EXPECT_EQ(area_.committed_bytes(), 2 * kStep);
}

TEST_F(AreaTest, AnAreaOfNothing) {
  Area none;
  EXPECT_TRUE(none.CommitUpTo(kernel_, 0, kStep));
  EXPECT_FALSE(none.CommitUpTo(kernel_, 1, kStep));
  EXPECT_EQ(none.reserved_bytes(), 0u);
}

TEST(AreaModel, RandomAgainstArithmetic) {
  std::mt19937 random(20240122);
  FakeKernel kernel;
  for (int round = 0; round < 200; ++round) {
    const size_t reserved = (1 + random() % 300) * kSmallestPage;
    const Reservation reservation(reserved);
    Area area(reservation.start(), reserved);
    size_t committed = 0;
    for (int i = 0; i < 20; ++i) {
      const size_t step = kSmallestPage << (random() % 6);
      const size_t bytes = random() % (reserved + 2 * kSmallestPage);
      const bool refused = random() % 4 == 0;
      if (refused) kernel.FailFrom(FakeKernel::kCommit, 1);
      const bool grows = bytes > committed;
      const bool granted = !grows || (bytes <= reserved && !refused);
      ASSERT_EQ(area.CommitUpTo(kernel, bytes, step), granted);
      if (grows && granted) committed = std::min((bytes + step - 1) / step * step, reserved);
      ASSERT_EQ(area.committed_bytes(), committed);
      kernel.FailNothing();
    }
    std::memset(area.start(), 1, committed);
  }
}

}  // namespace
}  // namespace numaheap
