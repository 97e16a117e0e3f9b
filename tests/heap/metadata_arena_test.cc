// MetadataArena: alignment, fresh and reused memory, the end of memory; at random and from several
// threads no record overlaps another.
#include "src/heap/metadata_arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "tests/heap/small_arena.h"

namespace numaheap {
namespace {

constexpr size_t kLargestReused = 1024;
constexpr size_t kCommitStep = 64 << 10;

size_t RoundedUp(size_t bytes) {
  return (bytes + 15) / 16 * 16;
}

bool IsFilledWith(const void* record, size_t bytes, unsigned char value) {
  const auto* byte = static_cast<const unsigned char*>(record);
  return std::all_of(byte, byte + bytes, [value](unsigned char b) { return b == value; });
}

class MetadataArenaTest : public testing::Test {
 protected:
  size_t OffsetOf(const void* record) const {
    return static_cast<size_t>(static_cast<const char*>(record) - arena_.start());
  }

  SmallArena place_;
  MetadataArena& arena_ = place_.arena();
};

TEST_F(MetadataArenaTest, RecordsAreAlignedAndZero) {
  for (size_t bytes : {1, 15, 16, 17, 48, 1024, 1025, 4095, 4096, 5000, 100'000}) {
    void* record = arena_.Allocate(bytes);
    ASSERT_NE(record, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(record) % 16, 0u) << bytes;
    if (bytes >= kSmallestPage) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(record) % kSmallestPage, 0u) << bytes;
    }
    EXPECT_TRUE(IsFilledWith(record, bytes, 0)) << bytes;
    std::memset(record, 0xff, bytes);
  }
}

TEST_F(MetadataArenaTest, NoRecordLiesAtTheStart) {
  // An offset of zero means "no record" to those who keep offsets.
  EXPECT_EQ(arena_.start(), place_.area().start());
  EXPECT_GT(OffsetOf(arena_.Allocate(1)), 0u);
  SmallArena other;
  EXPECT_GT(static_cast<char*>(other.arena().Allocate(kSmallestPage)), other.arena().start());
}

TEST_F(MetadataArenaTest, FreedRecordsOfASizeAreReused) {
  void* const small = arena_.Allocate(40);
  void* const large = arena_.Allocate(kLargestReused);
  const size_t used = arena_.used_bytes();
  arena_.Free(small, 40);
  arena_.Free(large, kLargestReused);
  EXPECT_EQ(arena_.used_bytes(), used - 48 - kLargestReused);
  EXPECT_NE(arena_.Allocate(32), small) << "another size";
  EXPECT_NE(arena_.Allocate(64), small);
  EXPECT_EQ(arena_.Allocate(33), small) << "40 and 33 are both 48";
  EXPECT_EQ(arena_.Allocate(kLargestReused), large);
  EXPECT_NE(arena_.Allocate(40), small) << "once";
}

TEST_F(MetadataArenaTest, UsedBytesAreWhatIsAllocated) {
  const size_t before = arena_.used_bytes();
  void* const record = arena_.Allocate(100);
  EXPECT_EQ(arena_.used_bytes(), before + 112);
  arena_.Free(record, 100);
  EXPECT_EQ(arena_.used_bytes(), before);
  arena_.Allocate(112);
  EXPECT_EQ(arena_.used_bytes(), before + 112);
}

TEST_F(MetadataArenaTest, MemoryComesInSteps) {
  EXPECT_EQ(place_.kernel().count(FakeKernel::kCommit), 0) << "nothing before the first record";
  size_t allocated = 0;
  while (allocated + 512 < kCommitStep) {
    ASSERT_NE(arena_.Allocate(512), nullptr);
    allocated += 512;
  }
  EXPECT_EQ(place_.kernel().count(FakeKernel::kCommit), 1);
  EXPECT_EQ(place_.area().committed_bytes(), kCommitStep);
  ASSERT_NE(arena_.Allocate(512), nullptr);
  EXPECT_EQ(place_.area().committed_bytes(), 2 * kCommitStep);
}

TEST_F(MetadataArenaTest, NullWhenTheKernelRefuses) {
  void* const record = arena_.Allocate(64);
  const size_t used = arena_.used_bytes();
  place_.RefuseMemory();
  EXPECT_EQ(arena_.Allocate(kCommitStep), nullptr);
  EXPECT_EQ(arena_.used_bytes(), used);
  EXPECT_NE(arena_.Allocate(64), nullptr) << "what is committed is there";
  arena_.Free(record, 64);
  EXPECT_EQ(arena_.Allocate(64), record);
  place_.GrantMemory();
  EXPECT_NE(arena_.Allocate(kCommitStep), nullptr);
}

TEST_F(MetadataArenaTest, NullAtTheEndOfTheArea) {
  constexpr size_t kBytes = 256 << 10;
  SmallArena place(kBytes);
  MetadataArena& arena = place.arena();
  EXPECT_EQ(arena.Allocate(kBytes), nullptr) << "the first bytes stay free";
  EXPECT_EQ(arena.Allocate(kBytes + 1), nullptr);
  EXPECT_EQ(arena.Allocate(size_t{1} << 60), nullptr);
  size_t records = 0;
  void* last = nullptr;
  while (void* record = arena.Allocate(kLargestReused)) {
    last = record;
    ++records;
  }
  EXPECT_EQ(records, kBytes / kLargestReused - 1);
  EXPECT_EQ(arena.Allocate(kLargestReused), nullptr);
  EXPECT_NE(arena.Allocate(kLargestReused - 16), nullptr) << "what is left of the last KiB";
  arena.Free(last, kLargestReused);
  EXPECT_EQ(arena.Allocate(kLargestReused), last);
}

struct Record {
  Record(int first, std::string_view second) : number(first), text(second) {}
  int number;
  std::string_view text;
  void* rest[10] = {};
};

TEST_F(MetadataArenaTest, NewConstructs) {
  Record* const record = arena_.New<Record>(7, "seven");
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record->number, 7);
  EXPECT_EQ(record->text, "seven");
  arena_.Free(record, sizeof *record);
  EXPECT_EQ(arena_.New<Record>(8, "eight"), record);
  EXPECT_EQ(record->number, 8);
}

TEST_F(MetadataArenaTest, NewIsNullWhenTheKernelRefuses) {
  place_.RefuseMemory();
  EXPECT_EQ(arena_.New<Record>(7, "seven"), nullptr);
}

TEST_F(MetadataArenaTest, LargeRecordsAreNeverFreed) {
  void* const record = arena_.Allocate(kLargestReused + 1);
  EXPECT_DEATH(arena_.Free(record, kLargestReused + 1), "check failed");
}

TEST_F(MetadataArenaTest, DebugBuildsOverwriteWhatIsFreed) {
  if (!kDebugChecks) GTEST_SKIP() << "this build has no debug checks";
  void* const record = arena_.Allocate(64);
  std::memset(record, 1, 64);
  arena_.Free(record, 64);
  ASSERT_EQ(arena_.Allocate(64), record);
  EXPECT_TRUE(IsFilledWith(static_cast<char*>(record) + 16, 48, 0xdd));
}

// A map of what is allocated, and the freed records of each size.
TEST_F(MetadataArenaTest, RandomAgainstIntervals) {
  std::mt19937 random(20240124);
  std::map<char*, size_t> live;
  std::map<size_t, std::set<char*>> freed;
  size_t used = arena_.used_bytes();
  for (int step = 0; step < 20'000; ++step) {
    const bool refused = random() % 8 == 0;
    if (refused) place_.RefuseMemory();
    if (live.size() < 200 && random() % 2 == 0) {
      const size_t bytes = 1 + random() % (random() % 64 == 0 ? 3 * kSmallestPage : kLargestReused);
      const size_t rounded = RoundedUp(bytes);
      const size_t committed = place_.area().committed_bytes();
      auto* record = static_cast<char*>(arena_.Allocate(bytes));
      auto& reusable = freed[rounded];
      if (record == nullptr) {
        // The rest of what is committed was too small, even without alignment to a page.
        ASSERT_TRUE(refused || committed == place_.area().reserved_bytes());
        ASSERT_TRUE(reusable.empty());
        ASSERT_EQ(arena_.used_bytes(), used);
      } else {
        const size_t more = arena_.used_bytes() - used;
        if (!reusable.empty()) {
          ASSERT_EQ(reusable.erase(record), 1u)
              << "fresh memory, although there was a freed record";
          ASSERT_EQ(more, rounded);
        } else {
          ASSERT_TRUE(IsFilledWith(record, rounded, 0));
          ASSERT_GE(more, rounded);
          ASSERT_LT(more, rounded + (rounded < kSmallestPage ? 16 : kSmallestPage));
        }
        used += more;
        const auto next = live.lower_bound(record);
        ASSERT_TRUE(next == live.end() || record + rounded <= next->first);
        if (next != live.begin()) {
          const auto& [before, before_bytes] = *std::prev(next);
          ASSERT_LE(before + RoundedUp(before_bytes), record);
        }
        std::memset(record, static_cast<int>(bytes % 251), rounded);
        // Large records stay for good.
        if (bytes <= kLargestReused) live[record] = bytes;
      }
    } else if (!live.empty()) {
      auto victim = live.lower_bound(arena_.start() + random() % (1 << 20));
      if (victim == live.end()) victim = live.begin();
      const auto [record, bytes] = *victim;
      ASSERT_TRUE(IsFilledWith(record, RoundedUp(bytes), static_cast<unsigned char>(bytes % 251)));
      arena_.Free(record, bytes);
      used -= RoundedUp(bytes);
      ASSERT_EQ(arena_.used_bytes(), used);
      freed[RoundedUp(bytes)].insert(record);
      live.erase(victim);
    }
    place_.GrantMemory();
  }
}

TEST_F(MetadataArenaTest, ThreadsNeverShareARecord) {
  constexpr int kThreads = 4, kSteps = 5'000;
  const size_t used = arena_.used_bytes();
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      const auto mark = static_cast<unsigned char>(t + 1);
      std::vector<std::pair<void*, size_t>> mine;
      for (int step = 0; step < kSteps; ++step) {
        if (mine.size() < 50 && random() % 2 == 0) {
          const size_t bytes = 16 * (1 + random() % 8);  // few sizes: records change hands
          void* record = arena_.Allocate(bytes);
          ASSERT_NE(record, nullptr);
          std::memset(record, mark, bytes);
          mine.emplace_back(record, bytes);
        } else if (!mine.empty()) {
          std::swap(mine[random() % mine.size()], mine.back());
          const auto [record, bytes] = mine.back();
          mine.pop_back();
          ASSERT_TRUE(IsFilledWith(record, bytes, mark));
          arena_.Free(record, bytes);
        }
      }
      for (const auto& [record, bytes] : mine) {
        ASSERT_TRUE(IsFilledWith(record, bytes, mark));
        arena_.Free(record, bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(arena_.used_bytes(), used);
}

}  // namespace
}  // namespace numaheap
