#include "exporters/prometheus/snapshot_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <new>
#include <set>
#include <sstream>

#include "exporters/prometheus/metric_table.h"
#include "tests/exporters/fake_host.h"
#include "tests/exporters/promtool.h"

namespace numaheap::exporters {
namespace {

using testing::HasSubstr;
using testing::Not;

class SnapshotPageTest : public testing::Test {
 protected:
  SnapshotPageTest() {
    FakeHost::Get().SetInterruption(nullptr);
    FakeHost::Get().SetHeaps();
    FakeHost::Get().SetModes(NUMAHEAP_CACHE_RSEQ, NUMAHEAP_PLACEMENT_PREFERRED);
  }

  SnapshotPage page_{FakeHost::Entries()};
};

std::set<std::string> Lines(const std::string& text) {
  std::set<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.insert(line);
  return lines;
}

TEST_F(SnapshotPageTest, NamesAndLabelsAreTheDocumentedOnes) {
  numaheap_node_snapshot_t node{};
  node.node = 3;
  node.in_use_bytes = 1;
  node.idle_bytes = 2;
  node.released_bytes = uint64_t{1} << 52;
  node.cached_bytes = 4;
  node.allocations = 5;
  node.allocated_bytes = 6;
  node.frees_local = 7;
  node.frees_remote = 8;
  node.scavenged_bytes = 9;
  numaheap_node_snapshot_t interleaved{};
  interleaved.node = -1;
  interleaved.in_use_bytes = 10;
  FakeHost::Get().SetNodes({interleaved, node});

  const std::set<std::string> lines = Lines(page_.Text());
  for (const char* line : {
           "# TYPE numaheap_heap_bytes gauge",
           "# TYPE numaheap_frees_total counter",
           R"(numaheap_heap_bytes{numa_node="3",state="in_use"} 1)",
           R"(numaheap_heap_bytes{numa_node="3",state="idle"} 2)",
           R"(numaheap_heap_bytes{numa_node="3",state="released"} 4503599627370496)",
           R"(numaheap_heap_bytes{numa_node="interleaved",state="in_use"} 10)",
           R"(numaheap_cached_bytes{numa_node="3"} 4)",
           R"(numaheap_allocations_total{numa_node="3"} 5)",
           R"(numaheap_allocated_bytes_total{numa_node="3"} 6)",
           R"(numaheap_frees_total{numa_node="3",from="local"} 7)",
           R"(numaheap_frees_total{numa_node="3",from="remote"} 8)",
           R"(numaheap_scavenged_bytes_total{numa_node="3"} 9)",
           R"(numaheap_build_info{version="1.2.3"} 1)",
           R"(numaheap_mode_info{cache="rseq",placement="preferred"} 1)",
           "numaheap_reservation_halvings_total 7",
           "numaheap_scrape_failures_total 0",
       }) {
    EXPECT_TRUE(lines.contains(line)) << line;
  }
}

// No field of the snapshot is forgotten, and none is shown twice: each has a value that no other
// has, and each value is on the page once.
TEST_F(SnapshotPageTest, EveryFieldOfEveryHeapIsThereOnce) {
  std::multiset<uint64_t> shown;
  for (const auto& family : page_.Collect()) {
    const auto is_family = [&](const auto& row) { return row.metric.name == family.name; };
    if (std::ranges::any_of(kPairMetrics, is_family)) continue;
    if (std::ranges::any_of(kClassMetrics, is_family)) continue;
    for (const auto& sample : family.metric) {
      if (sample.label.empty() || sample.label[0].name != kNodeLabel) continue;
      shown.insert(static_cast<uint64_t>(sample.gauge.value + sample.counter.value));
    }
  }
  std::multiset<uint64_t> expected;
  for (uint64_t position = 1; position <= 3; ++position) {
    const auto heap = FakeHost::DistinctHeap(0, position);
    expected.insert(heap.cpus);
    for (const uint64_t* field = &heap.reserved_bytes;
         field != reinterpret_cast<const uint64_t*>(&heap + 1); ++field) {
      expected.insert(*field);
    }
  }
  EXPECT_EQ(shown, expected);
}

TEST_F(SnapshotPageTest, PairsOfHeaps) {
  const std::set<std::string> lines = Lines(page_.Text());
  const char* const nodes[] = {"interleaved", "0", "5"};
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) {
      const auto line = [&](const char* name, const char* from, const char* to, int value) {
        return std::string(name) + "{" + from + "=\"" + nodes[i] + "\"," + to + "=\"" + nodes[j] +
               "\"} " + std::to_string(value + 10 * i + j);
      };
      const std::string freed =
          line("numaheap_freed_bytes_total", "cpu_node", "numa_node", 9'100'000);
      EXPECT_TRUE(lines.contains(freed)) << freed;
      const std::string spills = line("numaheap_spills_total", "numa_node", "got_node", 9'200'000);
      EXPECT_TRUE(lines.contains(spills)) << spills;
    }
  }
}

TEST_F(SnapshotPageTest, ClassesThatHaveSpans) {
  const std::string text = page_.Text();
  for (const char* line :
       {R"(numaheap_class_live_objects{numa_node="interleaved",object_size="100"} 10)",
        R"(numaheap_class_live_objects{numa_node="5",object_size="300"} 32)",
        R"(numaheap_class_live_bytes{numa_node="0",object_size="300"} 3001)",
        R"(numaheap_class_spans{numa_node="5",object_size="100"} 3)"}) {
    EXPECT_TRUE(Lines(text).contains(line)) << line;
  }
  EXPECT_THAT(text, Not(HasSubstr("object_size=\"200\"")));
  EXPECT_THAT(text, Not(HasSubstr("object_size=\"0\"")));
}

TEST_F(SnapshotPageTest, SparseNodesKeepTheirNumbers) {
  const std::string text = page_.Text();
  for (const char* node : {"interleaved", "0", "5"}) {
    EXPECT_THAT(text, HasSubstr("numaheap_cpus{numa_node=\"" + std::string(node) + "\"}"));
  }
  EXPECT_THAT(text, Not(HasSubstr("numa_node=\"1\"")));
  EXPECT_THAT(text, Not(HasSubstr("numa_node=\"-1\"")));
}

TEST_F(SnapshotPageTest, ModesHaveTheirNames) {
  const std::pair<uint32_t, const char*> caches[] = {{NUMAHEAP_CACHE_BOOT, "boot"},
                                                     {NUMAHEAP_CACHE_RSEQ, "rseq"},
                                                     {NUMAHEAP_CACHE_LOCKED, "locked"},
                                                     {99, "unknown"}};
  for (const auto& [mode, name] : caches) {
    FakeHost::Get().SetModes(mode, NUMAHEAP_PLACEMENT_BIND);
    EXPECT_THAT(page_.Text(), HasSubstr("numaheap_mode_info{cache=\"" + std::string(name) +
                                        "\",placement=\"bind\"} 1"));
  }
  const std::pair<uint32_t, const char*> placements[] = {
      {NUMAHEAP_PLACEMENT_SINGLE_NODE, "single_node"},
      {NUMAHEAP_PLACEMENT_PREFERRED, "preferred"},
      {NUMAHEAP_PLACEMENT_BIND, "bind"},
      {NUMAHEAP_PLACEMENT_FIRST_TOUCH, "first_touch"},
      {NUMAHEAP_PLACEMENT_SYNTHETIC, "synthetic"},
      {99, "unknown"}};
  for (const auto& [mode, name] : placements) {
    FakeHost::Get().SetModes(NUMAHEAP_CACHE_LOCKED, mode);
    EXPECT_THAT(page_.Text(), HasSubstr("numaheap_mode_info{cache=\"locked\",placement=\"" +
                                        std::string(name) + "\"} 1"));
  }
}

TEST_F(SnapshotPageTest, HeapsMayAppearWhileThePageIsMade) {
  FakeHost::Get().SetNodes({FakeHost::DistinctHeap(0, 1)});
  FakeHost::Get().SetInterruption([calls = 0](FakeHost& host) mutable {
    if (++calls == 2) host.AddNode(FakeHost::DistinctHeap(1, 2));  // after its number was asked
    return 0;
  });
  const std::string text = page_.Text();
  EXPECT_THAT(text, HasSubstr("numaheap_cpus{numa_node=\"0\"} 1000000\n"));
  EXPECT_THAT(text, HasSubstr("numaheap_cpus{numa_node=\"1\"} 2000000\n"));
}

TEST_F(SnapshotPageTest, FailedSnapshotGivesAnEmptyPageAndIsCounted) {
  FakeHost::Get().SetInterruption([](FakeHost&) { return EINVAL; });
  EXPECT_EQ(page_.Text(), "");
  FakeHost::Get().SetInterruption([](FakeHost&) -> int { throw std::bad_alloc(); });
  EXPECT_EQ(page_.Text(), "");
  FakeHost::Get().SetInterruption(nullptr);
  EXPECT_THAT(page_.Text(), HasSubstr("numaheap_scrape_failures_total 2\n"));
}

TEST_F(SnapshotPageTest, AbsurdNumberOfHeapsIsAFailureToo) {
  FakeHost::Get().SetNodes(std::vector<numaheap_node_snapshot_t>(1026));
  EXPECT_EQ(page_.Text(), "");
}

TEST_F(SnapshotPageTest, PromtoolHasNoComplaint) {
  if (!HavePromtool()) GTEST_SKIP() << "promtool is missing: install Debian's package prometheus";
  const std::string file = testing::TempDir() + "numaheap-page-" + std::to_string(getpid());
  std::ofstream(file) << page_.Text();
  const PromtoolVerdict verdict = RunPromtool("check metrics <" + file);
  EXPECT_EQ(verdict.status, 0) << verdict.output;
  EXPECT_EQ(verdict.output, "");

  // It does look: a counter without its suffix is refused.
  std::ofstream(file)
      << "# HELP numaheap_frees x\n# TYPE numaheap_frees counter\nnumaheap_frees 1\n";
  EXPECT_NE(RunPromtool("check metrics <" + file).status, 0);
  unlink(file.c_str());
}

}  // namespace
}  // namespace numaheap::exporters
