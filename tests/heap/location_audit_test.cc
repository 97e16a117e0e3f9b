// The audit of made-up pages: which it looks at, what it counts, what it moves, and what it does
// where the kernel will not say.
#include "src/heap/location_audit.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <vector>

#include "tests/os/fake_kernel.h"

namespace numaheap {
namespace {

constexpr size_t kPage = kSmallestPage;
constexpr NodeId kHome{2};

class LocationAuditTest : public testing::Test {
 protected:
  using Part = LocationAudit::Part;

  // Addresses that nobody touches.
  static const char* At(size_t page) {
    return reinterpret_cast<const char*>((uintptr_t{1} << 44) + page * kPage);
  }
  void Put(size_t first, size_t count, int node) {
    for (size_t i = first; i < first + count; ++i) kernel_.SetPageNode(At(i), node);
  }
  // A round, a second after the one before.
  void Round(bool heal = false) {
    now_ms_ += LocationAudit::kPeriodMs;
    kernel_.SetNow(now_ms_);
    audit_.Round(kernel_, kHome, parts_.data(), static_cast<int>(parts_.size()), {At(0), 1 << 30},
                 heal);
  }
  uint64_t home() const { return audit_.home_pages(); }
  uint64_t away() const { return audit_.away_pages(); }

  FakeKernel kernel_;
  LocationAudit audit_;
  std::vector<Part> parts_;
  uint64_t now_ms_ = 1'000'000;
};

TEST_F(LocationAuditTest, NothingToLookAt) {
  Round();
  parts_ = {{At(0), 0}, {At(7), 0}};
  Round();
  EXPECT_EQ(kernel_.count_all(), 0);
}

TEST_F(LocationAuditTest, CountsPagesByWhereTheyAre) {
  parts_ = {{At(0), 3 * kPage + 1}, {At(100), 0}, {At(200), 10 * kPage}};
  Put(0, 4, 2);
  Put(200, 3, 2);
  Put(203, 2, 5);
  Put(104, 50, 1);  // in no part
  Round();
  EXPECT_EQ(home(), 7u);
  EXPECT_EQ(away(), 2u);
  EXPECT_EQ(kernel_.count(FakeKernel::kPageNodes), 1);
  EXPECT_EQ(kernel_.count(FakeKernel::kMovePages), 0) << "not asked for";
}

TEST_F(LocationAuditTest, OncePerSecond) {
  parts_ = {{At(0), kPage}};
  Put(0, 1, 2);
  Round();
  audit_.Round(kernel_, kHome, parts_.data(), 1, parts_[0], false);
  kernel_.SetNow(now_ms_ + LocationAudit::kPeriodMs - 1);
  audit_.Round(kernel_, kHome, parts_.data(), 1, parts_[0], false);
  EXPECT_EQ(home(), 1u);
  Round();
  EXPECT_EQ(home(), 2u);
}

// However large the heap, a round is bounded, and every page is looked at before one is again.
TEST_F(LocationAuditTest, EveryPageHasItsTurn) {
  for (const size_t pages : {size_t{1}, size_t{64}, size_t{65}, size_t{4096}, size_t{4097},
                             size_t{20'000}, size_t{131'072}}) {
    SCOPED_TRACE(pages);
    audit_.~LocationAudit();
    new (&audit_) LocationAudit();
    parts_ = {{At(0), pages / 3 * kPage}, {At(1'000'000), (pages - pages / 3) * kPage}};
    Put(0, pages / 3, 2);
    Put(1'000'000, pages - pages / 3, 2);
    uint64_t before = 0;
    // Of the last run a part may be missing, so a round can see a little less.
    const size_t rounds =
        (pages + LocationAudit::kPagesPerRound - 1) / LocationAudit::kPagesPerRound;
    for (size_t round = 0; round < rounds; ++round) {
      Round();
      EXPECT_LE(home() - before, LocationAudit::kPagesPerRound);
      before = home();
    }
    EXPECT_GE(home(), pages) << "more only where the last round began the next turn";
    EXPECT_LE(home(), rounds * LocationAudit::kPagesPerRound);
  }
}

TEST_F(LocationAuditTest, ASampleIsSpreadOverTheHeap) {
  constexpr size_t kPages = 1 << 18;  // 1 GiB, of which a quarter is away, in one piece
  parts_ = {{At(0), kPages * kPage}};
  Put(0, kPages / 4, 0);
  Put(kPages / 4, kPages - kPages / 4, 2);
  Round();
  EXPECT_EQ(home() + away(), LocationAudit::kPagesPerRound);
  EXPECT_NEAR(static_cast<double>(away()) / static_cast<double>(home() + away()), 0.25, 0.05);
}

TEST_F(LocationAuditTest, HealsWhatIsAway) {
  constexpr size_t kPages = 10'000;
  parts_ = {{At(0), kPages * kPage}};
  Put(0, kPages, 0);
  Put(0, 100, 2);
  Round(/*heal=*/true);
  EXPECT_GT(audit_.healed_pages(), 3'000u);
  EXPECT_LE(audit_.healed_pages(), LocationAudit::kPagesPerRound) << "a bounded rate";
  for (int round = 0; round < 5; ++round) Round(true);
  EXPECT_EQ(audit_.healed_pages(), kPages - 100);
  const uint64_t strays = away();
  Round(true);
  EXPECT_EQ(away(), strays) << "all are home";
}

TEST_F(LocationAuditTest, HealsOnlyWhenThereIsRoomAtHome) {
  parts_ = {{At(0), 10 * kPage}};
  Put(0, 10, 0);
  kernel_.SetFreeBytes(kHome, 1 << 20);
  Round(true);
  EXPECT_EQ(kernel_.count(FakeKernel::kMovePages), 0);
  kernel_.SetFreeBytes(kHome, 1 << 30);
  Round(true);
  EXPECT_EQ(audit_.healed_pages(), 10u);
  EXPECT_EQ(away(), 20u);
}

TEST_F(LocationAuditTest, ARefusedMoveEndsTheRoundsMoves) {
  constexpr size_t kPages = 1'000;
  parts_ = {{At(0), kPages * kPage}};
  Put(0, kPages, 0);
  kernel_.FailFrom(FakeKernel::kMovePages, 1, ENOMEM);
  Round(true);
  EXPECT_EQ(kernel_.count(FakeKernel::kMovePages), 1);
  EXPECT_EQ(away(), kPages) << "it goes on looking";
  EXPECT_EQ(audit_.healed_pages(), 0u);
}

TEST_F(LocationAuditTest, NumaMapsWherePageNodesIsForbidden) {
  for (const int error : {EPERM, ENOSYS}) {
    audit_.~LocationAudit();
    new (&audit_) LocationAudit();
    kernel_.FailFrom(FakeKernel::kPageNodes, 1, error);
    parts_ = {{At(0), 10 * kPage}};
    Put(0, 9, 2);
    Put(9, 1, 0);
    Round();
    EXPECT_EQ(home(), 9u);
    EXPECT_EQ(away(), 1u);
    const int asked = kernel_.count(FakeKernel::kPageNodes);
    for (int second = 1; second < 60; ++second) Round();
    EXPECT_EQ(home(), 9u) << "at a slower pace";
    Round();
    EXPECT_EQ(home(), 18u);
    EXPECT_EQ(kernel_.count(FakeKernel::kPageNodes), asked) << "asked once";
  }
}

TEST_F(LocationAuditTest, AFailureCostsOneRound) {
  parts_ = {{At(0), 1'000 * kPage}};
  Put(0, 1'000, 2);
  kernel_.FailFrom(FakeKernel::kPageNodes, 1, ENOMEM);
  Round();
  EXPECT_EQ(kernel_.count(FakeKernel::kPageNodes), 1);
  EXPECT_EQ(kernel_.count(FakeKernel::kMappedBytes), 0);
  kernel_.FailNothing();
  Round();
  EXPECT_EQ(home(), 1'000u);
}

// Against a model: pages that come, go and stray at random.
TEST_F(LocationAuditTest, RandomPages) {
  std::mt19937 random(20241124);
  constexpr size_t kPages = 4'096;  // all in one round
  std::map<size_t, int> model;
  uint64_t expected_home = 0, expected_away = 0, expected_healed = 0;
  parts_ = {{At(0), 1'000 * kPage}, {At(2'000), (kPages - 1'000) * kPage}};
  for (int round = 0; round < 100; ++round) {
    for (int change = 0; change < 200; ++change) {
      const size_t index = random() % kPages;
      const size_t page = index < 1'000 ? index : index + 1'000;
      model[page] = static_cast<int>(random() % 4);
      kernel_.SetPageNode(At(page), model[page]);
    }
    const bool heal = random() % 4 == 0;
    for (auto& [page, node] : model) {
      ++(NodeId{node} == kHome ? expected_home : expected_away);
      if (heal && NodeId{node} != kHome) {
        ++expected_healed;
        node = kHome.value;
      }
    }
    Round(heal);
    ASSERT_EQ(home(), expected_home);
    ASSERT_EQ(away(), expected_away);
    ASSERT_EQ(audit_.healed_pages(), expected_healed);
  }
}

}  // namespace
}  // namespace numaheap
