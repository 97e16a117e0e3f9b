#include "src/settings/quantity.h"

#include <cstddef>
#include <limits>
#include <span>

namespace numaheap {
namespace {

struct Unit {
  std::string_view name;
  int64_t scale;
  std::string_view written;  // with the blank that people put before it
};

// Largest first.
constexpr Unit kSizeUnits[] = {{"TiB", int64_t{1} << 40, " TiB"},
                               {"GiB", int64_t{1} << 30, " GiB"},
                               {"MiB", int64_t{1} << 20, " MiB"},
                               {"KiB", int64_t{1} << 10, " KiB"},
                               {"B", 1, " B"},
                               {"", 1, ""}};
constexpr Unit kDurationUnits[] = {
    {"h", 3'600'000, "h"}, {"m", 60'000, "m"}, {"s", 1'000, "s"}, {"ms", 1, "ms"}};

std::span<const Unit> UnitsOf(QuantityKind kind) {
  if (kind == QuantityKind::kSize) return kSizeUnits;
  return kDurationUnits;
}

constexpr int kFractionDigits = 6;  // 10^6 TiB is still less than 2^63 bytes
constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

// Takes decimal digits off the front of `text`. Returns how many.
int TakeDigits(std::string_view& text, int64_t* number) {
  int count = 0;
  *number = 0;
  while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
    if (__builtin_mul_overflow(*number, 10, number) ||
        __builtin_add_overflow(*number, text.front() - '0', number)) {
      *number = kMost;
    }
    text.remove_prefix(1);
    ++count;
  }
  return count;
}

}  // namespace

bool ParseQuantity(QuantityKind kind, std::string_view text, int64_t* value) {
  const bool negative = !text.empty() && text.front() == '-';
  if (negative) text.remove_prefix(1);

  int64_t whole = 0;
  if (TakeDigits(text, &whole) == 0) return false;
  int64_t fraction = 0;
  int fraction_digits = 0;
  if (!text.empty() && text.front() == '.') {
    text.remove_prefix(1);
    fraction_digits = TakeDigits(text, &fraction);
    if (fraction_digits == 0 || fraction_digits > kFractionDigits) return false;
  }
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);

  for (const Unit& unit : UnitsOf(kind)) {
    if (text != unit.name) continue;
    if (unit.name.empty() && fraction_digits > 0) return false;
    int64_t parts = fraction * unit.scale;
    for (int i = 0; i < fraction_digits; ++i) parts /= 10;
    int64_t total = 0;
    if (__builtin_mul_overflow(whole, unit.scale, &total) ||
        __builtin_add_overflow(total, parts, &total)) {
      total = kMost;
    }
    *value = negative ? -total : total;
    return true;
  }
  return false;
}

void AppendQuantity(QuantityKind kind, int64_t value, Message& out) {
  // Zero is divided by every unit; the ones people write it in are none and seconds.
  if (value == 0) {
    out << (kind == QuantityKind::kSize ? "0" : "0s");
    return;
  }
  for (const Unit& unit : UnitsOf(kind)) {
    // "65537", not "65537 B": a number in TOML.
    if (unit.name == "B" || value % unit.scale != 0) continue;
    out << value / unit.scale << unit.written;
    return;
  }
}

}  // namespace numaheap
