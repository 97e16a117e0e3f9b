// The one function of libnumaheap-toml.so: toml++ behind a C entry, so that a process without a
// settings file loads neither it nor libstdc++.
//
// Called while the process starts, from one thread. It may allocate, and keeps nothing.
#pragma once

#include <cstdint>
#include <string_view>

#include "src/settings/option.h"

namespace numaheap {

// Where something starts in a file. Both count from 1, columns in characters, not bytes.
struct TextPosition {
  uint32_t line = 1;
  uint32_t column = 1;
};

// A key with a value: an array is one too, whatever it holds, and so is a table without keys.
struct TomlEntry {
  std::string_view key;  // with its tables: "cache.mode"; a part that is no bare key, in quotes
  OptionValue value;     // never kUntyped
  TextPosition key_position;  // of the key's last part
  TextPosition value_position;
};

// What the reader calls. Texts are valid during the call only.
struct TomlVisitor {
  void* context;
  void (*entry)(void* context, const TomlEntry& entry);
  void (*error)(void* context, TextPosition position, std::string_view what);
};

// Reads all of `fd` and leaves it open. Calls visitor.entry for each entry, in the file's order;
// or, if the file can't be read or isn't TOML, visitor.error once and nothing else.
using TomlRead = void (*)(int fd, const TomlVisitor& visitor);
inline constexpr char kTomlPluginEntry[] = "numaheap_toml_read";

}  // namespace numaheap

extern "C" void numaheap_toml_read(int fd, const numaheap::TomlVisitor& visitor);
