#include "bench/workloads/parameters.h"

#include <charconv>
#include <sstream>

#include "bench/workloads/block.h"

namespace numaheap::workloads {

Parameters::Parameters(std::string_view defaults, int argc, char** argv) {
  std::istringstream words{std::string(defaults)};
  for (std::string word; words >> word;) {
    const size_t equals = word.find('=');
    values_[word.substr(0, equals)] = word.substr(equals + 1);
  }
  for (int i = 0; i < argc; ++i) {
    const std::string word = argv[i];
    const size_t equals = word.find('=');
    const auto value = values_.find(word.substr(0, equals));
    if (equals == std::string::npos || value == values_.end()) {
      Fail(("no such parameter: " + word).c_str());
    }
    value->second = word.substr(equals + 1);
  }
}

uint64_t Parameters::operator[](const std::string& name) const {
  const std::string& text = values_.at(name);
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) {
    Fail((name + " isn't a number: " + text).c_str());
  }
  return number;
}

}  // namespace numaheap::workloads
