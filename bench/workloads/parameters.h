// What a workload is told: numbers and words by name, with defaults, from arguments NAME=VALUE.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace numaheap::workloads {

class Parameters {
 public:
  // `defaults` is "name=value name=value …" and names all that there are. Ends the program on an
  // argument with another name.
  Parameters(std::string_view defaults, int argc, char** argv);

  uint64_t operator[](const std::string& name) const;  // ends the program on what is no number
  const std::string& Text(const std::string& name) const { return values_.at(name); }

 private:
  std::map<std::string, std::string> values_;
};

}  // namespace numaheap::workloads
