// The location audit: pages that were moved away are seen, in the share in which they are there.
#include <gtest/gtest.h>
#include <numaif.h>
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "numa/libnuma_placement.h"
#include "src/api/numaheap.h"
#include "tests/api/snapshot.h"
#include "tests/guest/kernel_nodes.h"
#include "tests/guest/page_census.h"

namespace numaheap {
namespace {

// Rounds are a second apart; the emulated machine's own slowness comes on top.
void WaitForPages(int node, uint64_t more) {
  const auto seen = [node] {
    const Snapshot snapshot;
    return snapshot.Find(node)->audited_home_pages + snapshot.Find(node)->audited_away_pages;
  };
  const uint64_t start = seen();
  for (int tenths = 0; tenths < 300 && seen() < start + more; ++tenths) {
    const timespec tenth = {0, 100'000'000};
    nanosleep(&tenth, nullptr);
  }
  EXPECT_GE(seen(), start + more);
}

TEST(AuditTest, SeesWhatIsAway) {
  constexpr size_t kBytes = 32 << 20;
  constexpr size_t kPages = kBytes / PageCensus::kPageBytes;
  const std::vector<KernelNode> nodes = NodesWithCpus();
  const int home = nodes.front().id, other = nodes.back().id;
  auto* block = static_cast<char*>(numaheap_malloc_onnode(kBytes, home));
  ASSERT_NE(block, nullptr);
  memset(block, 1, kBytes);
  WaitForPages(home, kPages);
  const Snapshot before;
  std::printf("all at home: %lu pages audited at home, %lu away\n",
              before.Find(home)->audited_home_pages, before.Find(home)->audited_away_pages);
  EXPECT_EQ(before.Find(home)->audited_away_pages, 0u);

  // Every other stretch of 4 MiB goes to the other node: a huge page moves as a whole.
  std::vector<const void*> pages;
  for (size_t i = 0; i < kPages; ++i) {
    const char* page = block + i * PageCensus::kPageBytes;
    if (reinterpret_cast<uintptr_t>(page) >> 22 & 1) pages.push_back(page);
  }
  std::vector<int> at(pages.size());
  ASSERT_EQ(LibnumaPlacement().move_pages(pages.data(), pages.size(), {other}, at.data()), 0);
  PageCensus census;
  census.Count(block, kBytes, home);
  WaitForPages(home, 2 * kPages);
  const Snapshot after;
  const auto seen_home = static_cast<double>(after.Find(home)->audited_home_pages -
                                             before.Find(home)->audited_home_pages);
  const auto seen_away = static_cast<double>(after.Find(home)->audited_away_pages -
                                             before.Find(home)->audited_away_pages);
  const double share = 100 * seen_away / (seen_away + seen_home);
  std::printf("half moved away: %.1f%% of its pages are there; the audit saw %.1f%% away\n",
              census.percent_at_home(), share);
  EXPECT_NEAR(census.percent_at_home(), 50, 10) << "the ends may be shorter";
  EXPECT_NEAR(share, 100 - census.percent_at_home(), 12)
      << "its records are at home, and the first round may be from before";
  PageCensus later;
  later.Count(block, kBytes, home);
  EXPECT_EQ(later.at_home(), census.at_home()) << "nothing is moved unless placement.heal says so";
  EXPECT_EQ(after.Find(home)->healed_pages, 0u);
  free(block);
}

}  // namespace
}  // namespace numaheap
