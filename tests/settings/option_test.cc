#include "src/settings/option.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "src/settings/toml/toml_plugin.h"

namespace numaheap {
namespace {

struct Outcome {
  SetResult result;
  std::string error;
  bool operator==(const Outcome&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
  return out << static_cast<int>(outcome.result) << " \"" << outcome.error << '"';
}

Outcome Set(Settings& settings, std::string_view key, std::string_view text,
            ValueType type = ValueType::kString) {
  Message error;
  const SetResult result = SetOption(settings, key, {type, text}, error);
  return {result, std::string(error.view())};
}

const Outcome kDone{SetResult::kDone, ""};

bool SameBytes(const Settings& a, const Settings& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

// Settings without the padding that would make two equal ones differ.
Settings Defaults() {
  Settings settings;
  std::memset(static_cast<void*>(&settings), 0, sizeof settings);
  const Settings defaults;
#define TEXT(field, ...) std::memcpy(settings.field, defaults.field, sizeof defaults.field);
#define CHOICE(field, ...) settings.field = defaults.field;
#define SIZE(field, ...) settings.field = defaults.field;
#define DURATION(field, ...) settings.field = defaults.field;
#include "src/settings/options.inc"
  return settings;
}

std::vector<std::string> Dump(const Settings& settings) {
  std::vector<std::string> lines;
  DumpSettings(settings, {&lines, [](void* context, std::string_view text) {
                            static_cast<std::vector<std::string>*>(context)->emplace_back(text);
                          }});
  return lines;
}

TEST(OptionTest, SettingsHoldTheDefaults) {
  constexpr Settings settings;
  EXPECT_STREQ(settings.topology_synthetic, "");
  EXPECT_EQ(settings.placement_policy, PlacementPolicy::kPreferred);
  EXPECT_EQ(settings.cache_bytes_per_cpu, 2 << 20);
  EXPECT_EQ(settings.scavenger_idle_after, 10'000);
  EXPECT_EQ(settings.on_error, OnError::kContinue);
}

TEST(OptionTest, SetsEachKind) {
  Settings settings;
  EXPECT_EQ(Set(settings, "metrics.listen", "127.0.0.1:9464"), kDone);
  EXPECT_STREQ(settings.metrics_listen, "127.0.0.1:9464");
  EXPECT_EQ(Set(settings, "metrics.listen", "[::1]:80"), kDone);
  EXPECT_STREQ(settings.metrics_listen, "[::1]:80");
  EXPECT_EQ(Set(settings, "placement.policy", "first_touch"), kDone);
  EXPECT_EQ(settings.placement_policy, PlacementPolicy::kFirstTouch);
  EXPECT_EQ(Set(settings, "cache.mode", "rseq"), kDone);
  EXPECT_EQ(settings.cache_mode, CacheMode::kRseq);
  EXPECT_EQ(Set(settings, "cache.mode", "auto"), kDone);
  EXPECT_EQ(settings.cache_mode, CacheMode::kAuto);
  EXPECT_EQ(Set(settings, "placement.heal", "true", ValueType::kBoolean), kDone);
  EXPECT_TRUE(settings.placement_heal);
  EXPECT_EQ(Set(settings, "placement.heal", "false", ValueType::kUntyped), kDone);
  EXPECT_FALSE(settings.placement_heal);
  EXPECT_EQ(Set(settings, "cache.bytes_per_cpu", "1.5 MiB"), kDone);
  EXPECT_EQ(settings.cache_bytes_per_cpu, 3 << 19);
  EXPECT_EQ(Set(settings, "cache.bytes_per_cpu", "65536", ValueType::kInteger), kDone);
  EXPECT_EQ(settings.cache_bytes_per_cpu, 65536);
  EXPECT_EQ(Set(settings, "scavenger.idle_after", "2m", ValueType::kUntyped), kDone);
  EXPECT_EQ(settings.scavenger_idle_after, 120'000);
}

TEST(OptionTest, TakesTheEndsOfARange) {
  for (const Option& option : Options()) {
    if (option.kind != OptionKind::kSize && option.kind != OptionKind::kDuration) continue;
    const std::string unit = option.kind == OptionKind::kSize ? " B" : "ms";
    Settings settings;
    for (int64_t value : {option.min, option.max}) {
      EXPECT_EQ(Set(settings, option.key, std::to_string(value) + unit), kDone) << option.key;
    }
    for (int64_t value : {option.min - 1, option.max + 1}) {
      EXPECT_EQ(Set(settings, option.key, std::to_string(value) + unit).result,
                SetResult::kWrongValue)
          << option.key;
    }
  }
}

TEST(OptionTest, SaysWhatIsWrongAndWhatIsRight) {
  Settings settings;
  const auto wrong_value = [&](std::string_view key, std::string_view text, ValueType type) {
    const Outcome outcome = Set(settings, key, text, type);
    EXPECT_EQ(outcome.result, SetResult::kWrongValue);
    return outcome.error;
  };
  EXPECT_EQ(wrong_value("cache.mode", "fast", ValueType::kString),
            "cache.mode: \"fast\" is not known; write one of these strings: auto, rseq, locked; "
            "it stays \"auto\"");
  EXPECT_EQ(wrong_value("cache.mode", "", ValueType::kUntyped),
            "cache.mode: \"\" is not known; write one of these strings: auto, rseq, locked; "
            "it stays \"auto\"");
  EXPECT_EQ(wrong_value("cache.mode", "", ValueType::kBoolean),
            "cache.mode: a boolean can't be used; write one of these strings: auto, rseq, locked; "
            "it stays \"auto\"");
  EXPECT_EQ(wrong_value("placement.heal", "true", ValueType::kString),
            "placement.heal: a string can't be used; write one of these, without quotes: false, "
            "true; it stays false");
  EXPECT_EQ(wrong_value("placement.heal", "1", ValueType::kUntyped),
            "placement.heal: \"1\" is not known; write one of these, without quotes: false, true; "
            "it stays false");
  EXPECT_EQ(wrong_value("cache.bytes_per_cpu", "2 MB", ValueType::kString),
            "cache.bytes_per_cpu: \"2 MB\" is not a size; write bytes or a string such as "
            "\"64 KiB\", \"1.5 MiB\" or \"2 GiB\"; it stays \"2 MiB\"");
  EXPECT_EQ(wrong_value("cache.bytes_per_cpu", "1", ValueType::kInteger),
            "cache.bytes_per_cpu: 1 is out of range; write 64 KiB to 256 MiB; it stays \"2 MiB\"");
  EXPECT_EQ(wrong_value("cache.bytes_per_cpu", "9999999 TiB", ValueType::kString),
            "cache.bytes_per_cpu: \"9999999 TiB\" is out of range; write 64 KiB to 256 MiB; "
            "it stays \"2 MiB\"");
  EXPECT_EQ(wrong_value("cache.bytes_per_cpu", "", ValueType::kFloat),
            "cache.bytes_per_cpu: a number with a fraction can't be used; write bytes or a string "
            "such as \"64 KiB\", \"1.5 MiB\" or \"2 GiB\"; it stays \"2 MiB\"");
  EXPECT_EQ(wrong_value("scavenger.idle_after", "10", ValueType::kInteger),
            "scavenger.idle_after: 10 has no unit; write a string such as \"500ms\", \"10s\" or "
            "\"2m\"; it stays \"10s\"");
  EXPECT_EQ(wrong_value("scavenger.idle_after", "10", ValueType::kUntyped),
            "scavenger.idle_after: \"10\" is not a duration; write a string such as \"500ms\", "
            "\"10s\" or \"2m\"; it stays \"10s\"");
  EXPECT_EQ(wrong_value("metrics.listen", "9464", ValueType::kInteger),
            "metrics.listen: an integer can't be used; write a string; it stays \"\"");
  EXPECT_EQ(wrong_value("metrics.listen", "a\nb", ValueType::kString),
            "metrics.listen: character 2 of \"a?b\" can't be used; write printable ASCII without "
            "quotes and backslashes; it stays \"\"");
  EXPECT_EQ(wrong_value("metrics.listen", std::string(256, 'x'), ValueType::kString),
            "metrics.listen: 256 characters are too many; write at most 255; it stays \"\"");
  EXPECT_EQ(Dump(settings), Dump(Settings{}));
  EXPECT_EQ(Set(settings, "metrics.listen", std::string(255, 'x')), kDone);
}

TEST(OptionTest, NamesTheNearestKey) {
  EXPECT_EQ(NearestOption("cahce.mode").key, "cache.mode");
  EXPECT_EQ(NearestOption("mode").key, "cache.mode");
  EXPECT_EQ(NearestOption("heap.mode").key, "cache.mode");
  EXPECT_EQ(NearestOption("bytes_per_cpus").key, "cache.bytes_per_cpu");
  EXPECT_EQ(NearestOption("scavenger.idle-after").key, "scavenger.idle_after");
  EXPECT_EQ(NearestOption("placment").key, "placement.policy");
  EXPECT_EQ(NearestOption("onerror").key, "on_error");
  EXPECT_EQ(NearestOption("prometheus.listen").key, "metrics.listen");
  for (const Option& option : Options()) EXPECT_EQ(&NearestOption(option.key), &option);
}

TEST(OptionTest, RefusesUnknownKeys) {
  Settings settings;
  EXPECT_EQ(Set(settings, "cache.mod", "rseq"),
            (Outcome{SetResult::kWrongKey,
                     "unknown option \"cache.mod\"; the nearest is \"cache.mode\""}));
  EXPECT_EQ(Set(settings, "", "rseq").result, SetResult::kWrongKey);
  EXPECT_EQ(Set(settings, "cache", "rseq"),
            (Outcome{SetResult::kWrongKey,
                     "\"cache\" is a table of options, not an option; the nearest is "
                     "\"cache.mode\""}));
  EXPECT_EQ(Set(settings, "cache", "", ValueType::kTable), kDone) << "a table with nothing in it";
  EXPECT_EQ(Set(settings, "cach", "", ValueType::kTable).result, SetResult::kWrongKey);
  EXPECT_EQ(Set(settings, "cache.", "", ValueType::kTable).result, SetResult::kWrongKey);
}

TEST(OptionTest, QuotesWhatOthersWroteSafely) {
  Message out;
  AppendQuoted(
      "a\x1b[31m\xc3\xa9"
      "b",
      out);
  EXPECT_EQ(out.view(), "\"a?[31m??b\"");
  out.clear();
  AppendQuoted(std::string(65, 'x'), out);
  EXPECT_EQ(out.view(), "\"" + std::string(64, 'x') + "...\"");
}

TEST(OptionTest, DumpsTomlInTheTablesOrder) {
  Settings settings;
  ASSERT_EQ(Set(settings, "cache.bytes_per_cpu", "65537"), kDone);
  ASSERT_EQ(Set(settings, "metrics.listen", "localhost:1"), kDone);
  const std::vector<std::string> lines = Dump(settings);
  ASSERT_EQ(lines.size(), Options().size());
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i].rfind(std::string(Options()[i].key) + " = ", 0), 0u) << lines[i];
  }
  const std::string all = testing::PrintToString(lines);
  EXPECT_NE(all.find("cache.bytes_per_cpu = 65537"), std::string::npos) << all;
  EXPECT_NE(all.find("metrics.listen = \\\"localhost:1\\\""), std::string::npos) << all;
}

// Random keys and values: what is refused changes nothing and has a reason; what is taken is
// printed in a form that, set on fresh settings, gives the same bytes.
TEST(OptionTest, RandomValuesAreRefusedWholeOrSurviveTheDump) {
  std::mt19937 random(7);
  const auto below = [&](size_t limit) { return random() % limit; };
  const auto noise = [&] {
    std::string text;
    for (size_t n = below(12); n > 0; --n) text += static_cast<char>(below(256));
    return text;
  };
  const std::string_view pieces[] = {
      "auto", "rseq", "locked", "bind", "preferred", "continue",  "true",   "1",
      "64",   "3000", "1.5",    "-",    " ",         "KiB",       " MiB",   "GiB",
      "ms",   "s",    "h",      "\"",   "\\",        "127.0.0.1", "numa:2", "99999999999999999999"};
  Settings settings = Defaults();
  int taken = 0, refused = 0;
  for (int i = 0; i < 50'000; ++i) {
    const Option& option = Options()[below(Options().size())];
    std::string key(option.key);
    if (below(10) == 0) key[below(key.size())] = static_cast<char>(below(256));
    if (below(20) == 0) key = noise() + key;
    std::string text;
    for (size_t n = below(4); n > 0; --n) text += pieces[below(std::size(pieces))];
    if (below(10) == 0) text += noise();
    if (below(50) == 0) text += std::string(below(600), 'z');

    const Settings before = settings;
    const ValueType type = static_cast<ValueType>(below(8));
    if (type == ValueType::kInteger) text = std::to_string(static_cast<int>(random()));
    const Outcome outcome = Set(settings, key, text, type);
    if (outcome.result == SetResult::kDone) {
      ++taken;
      EXPECT_EQ(outcome.error, "");
    } else {
      ++refused;
      ASSERT_FALSE(outcome.error.empty());
      ASSERT_TRUE(SameBytes(settings, before)) << key << '=' << text;
      for (char c : outcome.error) ASSERT_TRUE(c >= ' ' && c <= '~') << outcome.error;
    }
    if (i % 500 != 0) continue;
    Settings again = Defaults();
    for (const std::string& line : Dump(settings)) {
      const size_t equals = line.find(" = ");
      std::string value = line.substr(equals + 3);
      ValueType written = ValueType::kInteger;
      if (value.front() == '"') {
        value = value.substr(1, value.size() - 2);
        written = ValueType::kString;
      } else if (value == "true" || value == "false") {
        written = ValueType::kBoolean;
      }
      ASSERT_EQ(Set(again, line.substr(0, equals), value, written), kDone) << line;
    }
    ASSERT_TRUE(SameBytes(settings, again));
  }
  EXPECT_GT(taken, 1'000);
  EXPECT_GT(refused, 2'000);
}

}  // namespace
}  // namespace numaheap
