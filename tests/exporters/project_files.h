// Files of the project that a test reads.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace numaheap::exporters {

// The path of a file named from the project's root, which is two floors above this one.
inline std::filesystem::path ProjectFile(const std::string& name) {
  return std::filesystem::path(__FILE__).parent_path().parent_path().parent_path() / name;
}

inline std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace numaheap::exporters
