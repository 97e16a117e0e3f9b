// Subcommand: what `numaheap NAME …` does. The table of them is in main.cc.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace numaheap::command {

struct Subcommand {
  std::string_view name;
  std::string_view summary;  // one line
  std::string_view help;     // all that --help prints
  // An InvalidArgument error is the caller's mistake and exits with 2, any other with 1.
  absl::Status (*run)(const std::vector<std::string_view>& arguments);
};

extern const Subcommand kHeapmap;

}  // namespace numaheap::command
