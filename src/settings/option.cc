#include "src/settings/option.h"

#include <cstring>
#include <type_traits>

#include "src/settings/quantity.h"

namespace numaheap {
namespace {

static_assert(std::is_trivially_copyable_v<Settings> && std::is_standard_layout_v<Settings>);

constexpr int64_t CountNames(std::string_view names) {
  int64_t count = 1;
  for (char c : names) count += c == ',';
  return count;
}

constexpr Option kOptions[] = {
#define TEXT(field, key, initial, doc) \
  {key, OptionKind::kText, offsetof(Settings, field), 0, 0, "", doc},
#define CHOICE(field, key, Enum, initial, names, doc) \
  {key, OptionKind::kChoice, offsetof(Settings, field), 0, CountNames(names) - 1, names, doc},
#define SWITCH(field, key, initial, doc) \
  {key, OptionKind::kSwitch, offsetof(Settings, field), 0, 1, "false,true", doc},
#define SIZE(field, key, initial, min, max, doc) \
  {key, OptionKind::kSize, offsetof(Settings, field), min, max, "", doc},
#define DURATION(field, key, initial, min, max, doc) \
  {key, OptionKind::kDuration, offsetof(Settings, field), min, max, "", doc},
#include "src/settings/options.inc"
};

// A row whose own default it would refuse does not compile.
#define CHOICE(field, key, Enum, initial, names, doc)                                     \
  static_assert(sizeof(Enum) == 1 && static_cast<int>(Enum::initial) < CountNames(names), \
                key ": a name for each enumerator, each in one byte");
#define SIZE(field, key, initial, min, max, doc) \
  static_assert(0 <= (min) && (min) <= (initial) && (initial) <= (max), key);
#define DURATION(field, key, initial, min, max, doc) SIZE(field, key, initial, min, max, doc)
#include "src/settings/options.inc"

constexpr size_t kKeyBytes = 48;  // no key is longer; of a wrong one as much is compared

constexpr bool KeysFit() {
  for (const Option& a : kOptions) {
    if (a.key.size() > kKeyBytes) return false;
    for (const Option& b : kOptions) {
      if (&a != &b && a.key == b.key) return false;
    }
  }
  return true;
}
static_assert(KeysFit(), "keys are short and different");

// string_view::substr and starts_with can throw, or call what can: not here.
constexpr std::string_view Front(std::string_view text, size_t size) {
  return {text.data(), size < text.size() ? size : text.size()};
}

// "mode" of "cache.mode".
std::string_view LastPart(std::string_view key) {
  const size_t dot = key.rfind('.');
  if (dot != std::string_view::npos) key.remove_prefix(dot + 1);
  return key;
}

// "cache" of "cache.mode".
std::string_view TablePart(std::string_view key) {
  const size_t dot = key.rfind('.');
  return Front(key, dot == std::string_view::npos ? 0 : dot);
}

// "cache" has options under it.
bool IsTable(std::string_view key) {
  for (const Option& option : kOptions) {
    if (option.key.size() > key.size() && option.key[key.size()] == '.' &&
        Front(option.key, key.size()) == key) {
      return true;
    }
  }
  return false;
}

// Levenshtein's distance; one row of his matrix is enough. `known` has at most kKeyBytes.
size_t EditDistance(std::string_view text, std::string_view known) {
  size_t row[kKeyBytes + 1];
  for (size_t j = 0; j <= known.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= text.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= known.size(); ++j) {
      size_t best = diagonal + (text[i - 1] != known[j - 1]);
      if (row[j] + 1 < best) best = row[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      diagonal = row[j];
      row[j] = best;
    }
  }
  return row[known.size()];
}

constexpr bool IsPrintable(char c) {
  return c >= ' ' && c <= '~';
}

const char* FieldOf(const Settings& settings, const Option& option) {
  return reinterpret_cast<const char*>(&settings) + option.offset;
}
char* FieldOf(Settings& settings, const Option& option) {
  return reinterpret_cast<char*>(&settings) + option.offset;
}

QuantityKind QuantityOf(const Option& option) {
  return option.kind == OptionKind::kSize ? QuantityKind::kSize : QuantityKind::kDuration;
}

// "an integer": what stands there instead of what should.
std::string_view Called(ValueType type) {
  switch (type) {
    case ValueType::kInteger:
      return "an integer";
    case ValueType::kFloat:
      return "a number with a fraction";
    case ValueType::kBoolean:
      return "a boolean";
    case ValueType::kDate:
      return "a date or time";
    case ValueType::kArray:
      return "an array";
    case ValueType::kTable:
      return "a table";
    case ValueType::kString:
    case ValueType::kUntyped:
      break;
  }
  return "a string";
}

// A number without a unit is a number, so that is let through to where the text can say so.
bool TakesType(OptionKind kind, ValueType type) {
  if (type == ValueType::kUntyped) return true;
  if (kind == OptionKind::kSwitch) return type == ValueType::kBoolean;
  if (type == ValueType::kString) return true;
  return type == ValueType::kInteger &&
         (kind == OptionKind::kSize || kind == OptionKind::kDuration);
}

std::string_view WantedForm(OptionKind kind) {
  switch (kind) {
    case OptionKind::kText:
      return "write a string";
    case OptionKind::kChoice:
      return "write one of these strings: ";
    case OptionKind::kSwitch:
      return "write one of these, without quotes: ";
    case OptionKind::kSize:
      return "write bytes or a string such as \"64 KiB\", \"1.5 MiB\" or \"2 GiB\"";
    case OptionKind::kDuration:
      return "write a string such as \"500ms\", \"10s\" or \"2m\"";
  }
  return "";
}

void AppendWanted(const Option& option, Message& out) {
  out << WantedForm(option.kind);
  for (char c : option.names) {
    if (c == ',')
      out << ", ";
    else
      out << c;
  }
}

bool SetText(char* field, std::string_view text, Message& error) {
  if (text.size() >= kTextBytes) {
    error << text.size() << " characters are too many; write at most " << kTextBytes - 1;
    return false;
  }
  for (size_t i = 0; i < text.size(); ++i) {
    if (IsPrintable(text[i]) && text[i] != '"' && text[i] != '\\') continue;
    error << "character " << i + 1 << " of ";
    AppendQuoted(text, error);
    error << " can't be used; write printable ASCII without quotes and backslashes";
    return false;
  }
  std::memset(field, 0, kTextBytes);
  for (size_t i = 0; i < text.size(); ++i) field[i] = text[i];
  return true;
}

// The number of `name` in "first,second,…", or -1.
int NumberOf(std::string_view name, std::string_view names) {
  for (int number = 0;; ++number) {
    const size_t end = names.find(',');
    if (name == Front(names, end)) return number;
    if (end == std::string_view::npos) return -1;
    names.remove_prefix(end + 1);
  }
}

std::string_view NameOf(int number, std::string_view names) {
  for (; number > 0; --number) names.remove_prefix(names.find(',') + 1);
  return Front(names, names.find(','));
}

bool SetChoice(const Option& option, char* field, std::string_view text, Message& error) {
  const int number = NumberOf(text, option.names);
  if (number < 0) {
    AppendQuoted(text, error);
    error << " is not known; ";
    AppendWanted(option, error);
    return false;
  }
  *field = static_cast<char>(number);
  return true;
}

bool SetQuantity(const Option& option, char* field, OptionValue value, Message& error) {
  const QuantityKind kind = QuantityOf(option);
  int64_t number = 0;
  if (!ParseQuantity(kind, value.text, &number)) {
    if (value.type == ValueType::kInteger) {
      error << value.text << " has no unit";
    } else {
      AppendQuoted(value.text, error);
      error << (kind == QuantityKind::kSize ? " is not a size" : " is not a duration");
    }
    error << "; ";
    AppendWanted(option, error);
    return false;
  }
  if (number < option.min || number > option.max) {
    if (value.type == ValueType::kInteger) {
      error << value.text;
    } else {
      AppendQuoted(value.text, error);
    }
    error << " is out of range; write ";
    AppendQuantity(kind, option.min, error);
    error << " to ";
    AppendQuantity(kind, option.max, error);
    return false;
  }
  std::memcpy(field, &number, sizeof number);
  return true;
}

bool SetField(Settings& settings, const Option& option, OptionValue value, Message& error) {
  if (!TakesType(option.kind, value.type)) {
    error << Called(value.type) << " can't be used; ";
    AppendWanted(option, error);
    return false;
  }
  char* const field = FieldOf(settings, option);
  switch (option.kind) {
    case OptionKind::kText:
      return SetText(field, value.text, error);
    case OptionKind::kChoice:
    case OptionKind::kSwitch:
      return SetChoice(option, field, value.text, error);
    case OptionKind::kSize:
    case OptionKind::kDuration:
      return SetQuantity(option, field, value, error);
  }
  return false;
}

SetResult RefuseKey(std::string_view key, OptionValue value, Message& error) {
  if (IsTable(key)) {
    if (value.type == ValueType::kTable) return SetResult::kDone;  // "[cache]" and nothing in it
    AppendQuoted(key, error);
    error << " is a table of options, not an option; the nearest is \"" << NearestOption(key).key
          << "\"";
    return SetResult::kWrongKey;
  }
  error << "unknown option ";
  AppendQuoted(key, error);
  error << "; the nearest is \"" << NearestOption(key).key << "\"";
  return SetResult::kWrongKey;
}

}  // namespace

std::span<const Option> Options() {
  return kOptions;
}

const Option* FindOption(std::string_view key) {
  for (const Option& option : kOptions) {
    if (option.key == key) return &option;
  }
  return nullptr;
}

const Option& NearestOption(std::string_view key) {
  key = Front(key, kKeyBytes);
  const Option* nearest = nullptr;
  size_t least = 0;
  for (const Option& option : kOptions) {
    size_t distance = EditDistance(key, option.key);
    // A forgotten or wrong table is one mistake, whatever the length of its name; so is a forgotten
    // option.
    const size_t without_table = EditDistance(LastPart(key), LastPart(option.key)) + 1;
    if (without_table < distance) distance = without_table;
    const size_t table_only = EditDistance(key, TablePart(option.key)) + 1;
    if (table_only < distance) distance = table_only;
    if (nearest == nullptr || distance < least) {
      nearest = &option;
      least = distance;
    }
  }
  return *nearest;
}

SetResult SetOption(Settings& settings, std::string_view key, OptionValue value, Message& error) {
  const Option* const option = FindOption(key);
  if (option == nullptr) return RefuseKey(key, value, error);
  Message reason;
  if (SetField(settings, *option, value, reason)) return SetResult::kDone;
  error << key << ": " << reason.view() << "; it stays ";
  AppendValue(settings, *option, error);
  return SetResult::kWrongValue;
}

void AppendValue(const Settings& settings, const Option& option, Message& out) {
  const char* const field = FieldOf(settings, option);
  switch (option.kind) {
    case OptionKind::kText:
      out << '"' << std::string_view(field) << '"';
      return;
    case OptionKind::kChoice:
      out << '"' << NameOf(*field, option.names) << '"';
      return;
    case OptionKind::kSwitch:
      out << NameOf(*field, option.names);
      return;
    case OptionKind::kSize:
    case OptionKind::kDuration: {
      int64_t number = 0;
      std::memcpy(&number, field, sizeof number);
      Message quantity;
      AppendQuantity(QuantityOf(option), number, quantity);
      const char last = quantity.view().back();
      const bool is_number = last >= '0' && last <= '9';
      if (is_number) {
        out << quantity.view();
      } else {
        out << '"' << quantity.view() << '"';
      }
      return;
    }
  }
}

void DumpSettings(const Settings& settings, const LineSink& out) {
  for (const Option& option : kOptions) {
    Message line;
    line << option.key << " = ";
    AppendValue(settings, option, line);
    out(line.view());
  }
}

void AppendQuoted(std::string_view text, Message& out) {
  constexpr size_t kShown = 64;
  out << '"';
  for (char c : Front(text, kShown)) out << (IsPrintable(c) ? c : '?');
  out << (text.size() > kShown ? "...\"" : "\"");
}

}  // namespace numaheap
