#include "numa/node_meminfo.h"

#include <charconv>
#include <optional>

namespace numaheap {
namespace {

// The value of "Node 3 NAME:   1234 kB", in kB.
std::optional<uint64_t> Field(std::string_view text, std::string_view name) {
  for (size_t at = text.find(name); at != text.npos; at = text.find(name, at + 1)) {
    const size_t colon = at + name.size();
    const bool whole_word = at > 0 && text[at - 1] == ' ' && colon < text.size();
    if (!whole_word || text[colon] != ':') continue;
    const size_t digits = text.find_first_not_of(' ', colon + 1);
    if (digits == text.npos) return std::nullopt;
    uint64_t value = 0;
    const char* end = text.data() + text.size();
    if (std::from_chars(text.data() + digits, end, value).ec != std::errc()) return std::nullopt;
    return value;
  }
  return std::nullopt;
}

}  // namespace

uint64_t AvailableBytes(std::string_view meminfo) {
  const std::optional<uint64_t> free = Field(meminfo, "MemFree");
  if (!free) return 0;
  const uint64_t reclaimable = Field(meminfo, "Active(file)").value_or(0) +
                               Field(meminfo, "Inactive(file)").value_or(0) +
                               Field(meminfo, "SReclaimable").value_or(0);
  return (*free + reclaimable / 2) * 1024;
}

}  // namespace numaheap
