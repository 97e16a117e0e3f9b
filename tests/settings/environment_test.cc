#include "src/settings/environment.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "src/settings/option.h"

namespace numaheap {
namespace {

struct Reading {
  Settings settings;
  std::vector<std::string> mistakes;  // "COLUMN: what"
};

Reading Read(std::string_view text) {
  Reading reading;
  ReadOptions(text, reading.settings,
              {&reading.mistakes, [](void* context, size_t column, std::string_view what) {
                 static_cast<std::vector<std::string>*>(context)->push_back(
                     std::to_string(column) + ": " + std::string(what));
               }});
  return reading;
}

using Mistakes = std::vector<std::string>;

TEST(EnvironmentTest, SetsSeveralOptions) {
  const Reading r = Read("cache.mode=locked, cache.bytes_per_cpu = 4 MiB ,on_error=abort");
  EXPECT_EQ(r.mistakes, Mistakes{});
  EXPECT_EQ(r.settings.cache_mode, CacheMode::kLocked);
  EXPECT_EQ(r.settings.cache_bytes_per_cpu, 4 << 20);
  EXPECT_EQ(r.settings.on_error, OnError::kAbort);
}

TEST(EnvironmentTest, EmptyItemsMeanNothing) {
  for (const char* text : {"", " ", ",", " , ,,", "\n"}) {
    EXPECT_EQ(Read(text).mistakes, Mistakes{}) << '"' << text << '"';
  }
  const Reading r = Read(",cache.mode=rseq,,");
  EXPECT_EQ(r.mistakes, Mistakes{});
  EXPECT_EQ(r.settings.cache_mode, CacheMode::kRseq);
}

TEST(EnvironmentTest, QuotesKeepCommasAndBlanks) {
  const Reading r = Read("topology.synthetic=\" numa:2, pu=1 \" ,cache.mode = \"rseq\"");
  EXPECT_EQ(r.mistakes, Mistakes{});
  EXPECT_STREQ(r.settings.topology_synthetic, " numa:2, pu=1 ");
  EXPECT_EQ(r.settings.cache_mode, CacheMode::kRseq);
}

TEST(EnvironmentTest, AnEmptyTextAndARepeatedKey) {
  const Reading r = Read("metrics.listen=a:1,metrics.listen=b:2,cache.mode=rseq,metrics.listen=");
  EXPECT_EQ(r.mistakes, Mistakes{});
  EXPECT_STREQ(r.settings.metrics_listen, "");
  EXPECT_STREQ(Read("metrics.listen=a:1,metrics.listen=b:2").settings.metrics_listen, "b:2");
}

TEST(EnvironmentTest, PointsAtTheWrongKeyOrValueAndGoesOn) {
  const Reading r = Read("cache.mod=rseq,  cache.mode= fast,on_error=abort,mode");
  EXPECT_EQ(r.mistakes,
            (Mistakes{"1: unknown option \"cache.mod\"; the nearest is \"cache.mode\"",
                      "30: cache.mode: \"fast\" is not known; write one of these strings: auto, "
                      "rseq, locked; it stays \"auto\"",
                      "50: \"mode\" has no value; write cache.mode=VALUE"}));
  EXPECT_EQ(r.settings.on_error, OnError::kAbort);
}

TEST(EnvironmentTest, PointsAtQuotesThatDoNotFit) {
  EXPECT_EQ(Read("metrics.listen=\"a:1,cache.mode=rseq").mistakes,
            (Mistakes{"16: the quote is not closed; write \"VALUE\""}));
  const Reading r = Read("metrics.listen=\"a:1\" b,cache.mode=rseq");
  EXPECT_EQ(r.mistakes, (Mistakes{"22: text after the closing quote; write a comma before the next "
                                  "option"}));
  EXPECT_STREQ(r.settings.metrics_listen, "");
  EXPECT_EQ(r.settings.cache_mode, CacheMode::kRseq);
}

// Whatever the text, reading it ends, stays inside it (the sanitizers look), points into it, and
// leaves settings that can be dumped.
TEST(EnvironmentTest, RandomTextIsReadToItsEnd) {
  std::mt19937 random(11);
  const std::string_view pieces[] = {"cache.mode", "metrics.listen",
                                     "on_error",   "=",
                                     ",",          "\"",
                                     "rseq",       "abort",
                                     "2 MiB",      " ",
                                     "x",          ".",
                                     "cache",      "10s",
                                     "\n",         "\xff"};
  int with_mistakes = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string text;
    for (size_t n = random() % 12; n > 0; --n) text += pieces[random() % std::size(pieces)];
    // A copy of its exact size, so that a step past the end is seen.
    const std::vector<char> exact(text.begin(), text.end());
    const Reading r = Read({exact.data(), exact.size()});
    for (const std::string& mistake : r.mistakes) {
      const size_t column = std::stoul(mistake);
      ASSERT_GE(column, 1u);
      ASSERT_LE(column, text.size() + 1) << text;
    }
    with_mistakes += !r.mistakes.empty();
    size_t lines = 0;
    DumpSettings(r.settings, {&lines, [](void* context, std::string_view) {
                                ++*static_cast<size_t*>(context);
                              }});
    ASSERT_EQ(lines, Options().size());
  }
  EXPECT_GT(with_mistakes, 2'000);
  EXPECT_LT(with_mistakes, 20'000);
}

}  // namespace
}  // namespace numaheap
