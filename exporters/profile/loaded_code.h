// LoadedCode: the executable mappings of this process and the build ids of what was mapped, as
// profiles name them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace numaheap {

struct CodeMapping {
  uint64_t start = 0;
  uint64_t end = 0;
  uint64_t file_offset = 0;
  std::string file;      // its path, or a name in brackets
  std::string build_id;  // hexadecimal; "" if it has none
};

// By rising address.
std::vector<CodeMapping> LoadedCode();

// The mappings in the text of /proc/self/maps.
std::vector<CodeMapping> ParseMaps(const std::string& maps);

}  // namespace numaheap
