#include "src/settings/quantity.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <string>

namespace numaheap {
namespace {

std::optional<int64_t> Size(std::string_view text) {
  int64_t value = 0;
  return ParseQuantity(QuantityKind::kSize, text, &value) ? std::optional(value) : std::nullopt;
}

std::optional<int64_t> Duration(std::string_view text) {
  int64_t value = 0;
  return ParseQuantity(QuantityKind::kDuration, text, &value) ? std::optional(value) : std::nullopt;
}

std::string Written(QuantityKind kind, int64_t value) {
  Message m;
  AppendQuantity(kind, value, m);
  return std::string(m.view());
}

TEST(QuantityTest, ReadsSizes) {
  EXPECT_EQ(Size("0"), 0);
  EXPECT_EQ(Size("65536"), 65536);
  EXPECT_EQ(Size("64 KiB"), 65536);
  EXPECT_EQ(Size("64KiB"), 65536);
  EXPECT_EQ(Size("1.5 MiB"), 3 << 19);
  EXPECT_EQ(Size("2GiB"), int64_t{2} << 30);
  EXPECT_EQ(Size("0.000001 TiB"), 1099511);  // the rest of a byte is dropped
  EXPECT_EQ(Size("7 B"), 7);
  EXPECT_EQ(Size("-1 KiB"), -1024);
}

TEST(QuantityTest, ReadsDurations) {
  EXPECT_EQ(Duration("500ms"), 500);
  EXPECT_EQ(Duration("10s"), 10'000);
  EXPECT_EQ(Duration("1.5 s"), 1'500);
  EXPECT_EQ(Duration("2m"), 120'000);
  EXPECT_EQ(Duration("24h"), 86'400'000);
}

TEST(QuantityTest, RefusesWhatIsNoQuantity) {
  for (const char* text : {"", " ", "-", "KiB", "1 KB", "1kib", "1 KiBs", "1.", ".5 KiB", "1.5",
                           "1,5 KiB", "1.1234567 KiB", "1e3", "0x10", "--1", "+1", "1 2", "1\t"}) {
    EXPECT_EQ(Size(text), std::nullopt) << '"' << text << '"';
  }
  for (const char* text : {"", "10", "0", "s", "10 sec", "1.0000001s", "10S", "10s "}) {
    EXPECT_EQ(Duration(text), std::nullopt) << '"' << text << '"';
  }
}

TEST(QuantityTest, StopsAtTheLargestNumber) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(Size("9223372036854775807"), kMost);
  EXPECT_EQ(Size("9223372036854775808"), kMost);
  EXPECT_EQ(Size("99999999999999999999999999999999999999999999"), kMost);
  EXPECT_EQ(Size("8388608 TiB"), kMost);
  EXPECT_EQ(Size("8388607.999999 TiB"), kMost - 1099511) << "just fits";
  EXPECT_EQ(Size("-99999999999999999999"), -kMost);
}

TEST(QuantityTest, WritesTheLargestUnitThatDivides) {
  EXPECT_EQ(Written(QuantityKind::kSize, 0), "0");
  EXPECT_EQ(Written(QuantityKind::kSize, 65537), "65537");
  EXPECT_EQ(Written(QuantityKind::kSize, 3 << 19), "1536 KiB");
  EXPECT_EQ(Written(QuantityKind::kSize, int64_t{1} << 50), "1024 TiB");
  EXPECT_EQ(Written(QuantityKind::kDuration, 0), "0s");
  EXPECT_EQ(Written(QuantityKind::kDuration, 1'500), "1500ms");
  EXPECT_EQ(Written(QuantityKind::kDuration, 10'000), "10s");
  EXPECT_EQ(Written(QuantityKind::kDuration, 86'400'000), "24h");
}

TEST(QuantityTest, ReadsBackWhatItWrites) {
  std::mt19937_64 random(20240611);
  for (int i = 0; i < 100'000; ++i) {
    // All magnitudes, and often with zeros at the end.
    const int64_t value =
        static_cast<int64_t>(random() >> (1 + random() % 63)) >> (random() % 8) << (random() % 8);
    ASSERT_EQ(Size(Written(QuantityKind::kSize, value)), value);
    ASSERT_EQ(Duration(Written(QuantityKind::kDuration, value)), value);
  }
}

}  // namespace
}  // namespace numaheap
