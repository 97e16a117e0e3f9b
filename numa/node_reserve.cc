#include "numa/node_reserve.h"

#include <algorithm>
#include <charconv>

#include "numa/node_mask.h"

namespace numaheap {
namespace {

constexpr uint64_t kPageBytes = 4096;  // zoneinfo counts in the kernel's small pages

// Reads the number behind `name`, which must be the line's first word but blanks.
bool NumberAfter(std::string_view line, std::string_view name, uint64_t* number) {
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  if (!line.starts_with(name)) return false;
  line.remove_prefix(name.size());
  line.remove_prefix(std::min(line.find_first_not_of(" ("), line.size()));
  return std::from_chars(line.data(), line.data() + line.size(), *number).ec == std::errc();
}

// The largest number of "(0, 1921, 1921)".
uint64_t LargestOf(std::string_view list) {
  uint64_t largest = 0;
  for (size_t at = 0; (at = list.find_first_of("0123456789", at)) != list.npos;) {
    uint64_t number = 0;
    const char* end = list.data() + list.size();
    at = static_cast<size_t>(std::from_chars(list.data() + at, end, number).ptr - list.data());
    largest = std::max(largest, number);
  }
  return largest;
}

}  // namespace

std::vector<uint64_t> NodeReserves(std::string_view zoneinfo) {
  std::vector<uint64_t> reserves;
  uint64_t* reserve = nullptr;  // of the node whose zone this is
  while (!zoneinfo.empty()) {
    const std::string_view line = zoneinfo.substr(0, zoneinfo.find('\n'));
    zoneinfo.remove_prefix(std::min(line.size() + 1, zoneinfo.size()));
    uint64_t number = 0;
    if (line.starts_with("Node ")) {
      reserve = nullptr;
      if (!NumberAfter(line, "Node ", &number) || number >= kMaxNodes) continue;
      if (number >= reserves.size()) reserves.resize(number + 1);
      reserve = &reserves[number];
    } else if (reserve != nullptr && NumberAfter(line, "high ", &number)) {
      *reserve += number * kPageBytes;
    } else if (reserve != nullptr && NumberAfter(line, "protection:", &number)) {
      *reserve += LargestOf(line) * kPageBytes;
    }
  }
  return reserves;
}

}  // namespace numaheap
