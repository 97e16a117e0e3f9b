// What the project says about its metrics outside the code: the docs and the scrape configuration.
#include "tests/exporters/project_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "exporters/prometheus/metric_docs.h"
#include "tests/exporters/promtool.h"

namespace numaheap::exporters {
namespace {

TEST(MetricDocsTest, PageHasTheTable) {
  const std::string page = ReadFile(ProjectFile("docs/metrics.md"));
  const std::string begin = "<!-- metrics -->\n";
  const std::string end = "<!-- end of metrics -->\n";
  const size_t from = page.find(begin);
  const size_t to = page.find(end);
  ASSERT_NE(from, std::string::npos) << "docs/metrics.md has lost its mark " << begin;
  ASSERT_NE(to, std::string::npos) << "docs/metrics.md has lost its mark " << end;
  EXPECT_TRUE(page.substr(from + begin.size(), to - from - begin.size()) == MetricDocs())
      << "Put this between the marks of docs/metrics.md:\n"
      << MetricDocs();
}

TEST(ScrapeConfigTest, PromtoolAcceptsIt) {
  if (!HavePromtool()) GTEST_SKIP() << "promtool is missing: install Debian's package prometheus";
  const auto config = ProjectFile("configs/prometheus.yml");
  const PromtoolVerdict verdict = RunPromtool("check config '" + config.string() + "'");
  EXPECT_EQ(verdict.status, 0) << verdict.output;
  EXPECT_THAT(ReadFile(config), testing::HasSubstr("127.0.0.1:9464"));
}

}  // namespace
}  // namespace numaheap::exporters
