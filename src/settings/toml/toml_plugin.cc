#include "src/settings/toml/toml_plugin.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <string>
#include <tuple>
#include <vector>

// Header-only: the packaged library would be one more file to find and map at start.
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
// toml++ 3.3 asserts, and with NDEBUG lets the compiler assume, that a table's name starts with a
// key's character, and checks it only then. "[.a]" is a mistake in a file, not in the program: no
// assertions, no assumptions, just the check.
#undef NDEBUG
#define TOML_ASSERT(condition) static_assert(true)
#include <toml++/toml.h>

namespace numaheap {
namespace {

// Bytes. A settings file has a few hundred lines; what goes on for longer is some other file, or a
// device without an end.
constexpr size_t kMaxFileBytes = size_t{1} << 20;

struct Entry {
  std::string key;
  ValueType type;
  std::string text;
  TextPosition key_position;
  TextPosition value_position;
};

TextPosition PositionOf(const toml::source_position& position) {
  // toml++ has no position, 0:0, for what no text stands for.
  return {std::max<uint32_t>(position.line, 1), std::max<uint32_t>(position.column, 1)};
}

bool IsBareKey(std::string_view part) {
  return !part.empty() && std::all_of(part.begin(), part.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}

// "cache.mode" in quotes is one key with a dot in it and not the mode of a cache.
std::string KeyPart(std::string_view part) {
  if (IsBareKey(part)) return std::string(part);
  return "'" + std::string(part) + "'";
}

ValueType TypeOf(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::string:
      return ValueType::kString;
    case toml::node_type::integer:
      return ValueType::kInteger;
    case toml::node_type::floating_point:
      return ValueType::kFloat;
    case toml::node_type::boolean:
      return ValueType::kBoolean;
    case toml::node_type::date:
    case toml::node_type::time:
    case toml::node_type::date_time:
      return ValueType::kDate;
    case toml::node_type::array:
      return ValueType::kArray;
    case toml::node_type::table:
    case toml::node_type::none:
      break;
  }
  return ValueType::kTable;
}

std::string TextOf(const toml::node& node) {
  if (const auto* string = node.as_string()) return string->get();
  if (const auto* integer = node.as_integer()) return std::to_string(integer->get());
  if (const auto* boolean = node.as_boolean()) return boolean->get() ? "true" : "false";
  return {};
}

void Collect(const toml::table& table, const std::string& prefix, std::vector<Entry>& entries) {
  for (const auto& [key, node] : table) {
    std::string path = prefix + KeyPart(key.str());
    const toml::table* const inner = node.as_table();
    if (inner != nullptr && !inner->empty()) {
      Collect(*inner, path + ".", entries);
      continue;
    }
    entries.push_back({std::move(path), TypeOf(node), TextOf(node), PositionOf(key.source().begin),
                       PositionOf(node.source().begin)});
  }
}

// Returns 0, or the errno that stopped it.
int ReadAll(int fd, std::string& content) {
  char block[4096];
  for (;;) {
    const ssize_t got = read(fd, block, sizeof block);
    if (got == 0) return 0;
    if (got < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    content.append(block, static_cast<size_t>(got));
    if (content.size() > kMaxFileBytes) return EFBIG;
  }
}

// Bytes of the UTF-8 character at the front of `text`, or 1 for what isn't one.
size_t CharacterBytes(std::string_view text) {
  const auto first = static_cast<unsigned char>(text.front());
  const size_t bytes = first < 0xC2   ? 1
                       : first < 0xE0 ? 2
                       : first < 0xF0 ? 3
                       : first < 0xF5 ? 4
                                      : 1;
  if (text.size() < bytes) return 1;
  for (size_t i = 1; i < bytes; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) return 1;
  }
  return bytes;
}

// Puts U+FFFD for every character beyond ASCII. toml++ 3.3 runs into undefined behaviour where it
// meets some of them outside comments (its bug 190), U+FFFD not among them. No option takes any,
// columns stay the same, and what is no UTF-8 stays for toml++ to report.
std::string HideBeyondAscii(std::string_view content) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  std::string hidden;
  hidden.reserve(content.size());
  if (content.substr(0, kByteOrderMark.size()) == kByteOrderMark) {
    hidden = kByteOrderMark;
    content.remove_prefix(kByteOrderMark.size());
  }
  while (!content.empty()) {
    const size_t bytes = CharacterBytes(content);
    if (bytes == 1) {
      hidden += content.front();
    } else {
      hidden += "\xEF\xBF\xBD";
    }
    content.remove_prefix(bytes);
  }
  return hidden;
}

void Read(int fd, const TomlVisitor& visitor) {
  std::string content;
  if (const int reason = ReadAll(fd, content); reason != 0) {
    visitor.error(visitor.context, {}, std::string("can't be read: ") + strerrordesc_np(reason));
    return;
  }
  const toml::parse_result result = toml::parse(std::string_view(HideBeyondAscii(content)));
  if (!result) {
    const toml::parse_error& error = result.error();
    visitor.error(visitor.context, PositionOf(error.source().begin), error.description());
    return;
  }
  std::vector<Entry> entries;
  Collect(result.table(), "", entries);
  // toml++ sorts keys by name; people read mistakes from top to bottom.
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.key_position.line, a.key_position.column) <
           std::tie(b.key_position.line, b.key_position.column);
  });
  for (const Entry& entry : entries) {
    visitor.entry(visitor.context,
                  {entry.key, {entry.type, entry.text}, entry.key_position, entry.value_position});
  }
}

}  // namespace
}  // namespace numaheap

extern "C" __attribute__((visibility("default"))) void numaheap_toml_read(
    int fd, const numaheap::TomlVisitor& visitor) {
  try {
    numaheap::Read(fd, visitor);
  } catch (const std::exception& e) {  // out of memory; nothing else here throws
    visitor.error(visitor.context, {}, e.what());
  }
}
