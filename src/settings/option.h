// Option: the rows of options.inc as data, and what can be done with any of them: find, set, show.
//
// Pure functions over a constant table and a Settings of the caller's; no allocation, no locks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "src/base/message.h"
#include "src/settings/line_sink.h"
#include "src/settings/settings.h"

namespace numaheap {

enum class OptionKind : uint8_t { kText, kChoice, kSwitch, kSize, kDuration };

// A row. Its default is the field of a default-constructed Settings.
struct Option {
  std::string_view key;
  OptionKind kind;
  size_t offset;           // of the field within Settings
  int64_t min, max;        // kSize: bytes; kDuration: milliseconds; kChoice: the enum's numbers
  std::string_view names;  // kChoice, kSwitch: "first,second,…", in the order of their numbers
  std::string_view doc;
};

// All rows, in the table's order.
std::span<const Option> Options();

// The row with that key, or null.
const Option* FindOption(std::string_view key);

// The row whose key takes the fewest changed characters to reach from `key`; a key without its
// table ("mode") and a table without its key ("cache") count as close. Never null.
const Option& NearestOption(std::string_view key);

// How a value was written. The environment has no types: what stands there is kUntyped.
enum class ValueType : uint8_t {
  kUntyped,
  kString,
  kInteger,
  kFloat,
  kBoolean,
  kDate,
  kArray,
  kTable,
};

struct OptionValue {
  ValueType type = ValueType::kUntyped;
  std::string_view text;  // a string's content, digits of an integer, true or false; else unused
};

enum class SetResult : uint8_t { kDone, kWrongKey, kWrongValue };

// Sets the field of `key`, if there is such an option and it takes that value. Otherwise leaves
// `settings` as they are and appends to `error` what is wrong, what would be right, and what holds
// now; for a wrong key also the nearest one. The result says at which of the two a finger points.
SetResult SetOption(Settings& settings, std::string_view key, OptionValue value, Message& error);

// Appends the field's value as TOML: "auto" in quotes, "2 MiB" in quotes, 65537.
void AppendValue(const Settings& settings, const Option& option, Message& out);

// Sends one line `key = value` per option: a valid numaheap.toml with the same content.
void DumpSettings(const Settings& settings, const LineSink& out);

// Appends text that somebody else wrote, in quotes and fit for a terminal: what is not printable
// becomes '?', what is long ends in "...".
void AppendQuoted(std::string_view text, Message& out);

}  // namespace numaheap
