// The command `numaheap`: looks at processes that run on numaheap, from outside.
#include <algorithm>
#include <iostream>

#include "absl/strings/str_format.h"
#include "exporters/command/subcommand.h"
#include "src/api/numaheap.h"

namespace numaheap::command {
namespace {

const Subcommand* const kSubcommands[] = {&kHeapmap};

void PrintUsage(std::ostream& out) {
  out << "usage: numaheap SUBCOMMAND …\n\n"
         "Looks at processes that run on numaheap (libnumaheap.so, preloaded or linked).\n\n";
  for (const Subcommand* subcommand : kSubcommands) {
    out << absl::StrFormat("  %-10s %s\n", subcommand->name, subcommand->summary);
  }
  out << "\n`numaheap SUBCOMMAND --help` says more, `numaheap --version` which version this is.\n";
}

int Main(std::vector<std::string_view> arguments) {
  if (arguments.empty()) {
    PrintUsage(std::cerr);
    return 2;
  }
  const std::string_view name = arguments[0];
  arguments.erase(arguments.begin());
  const auto asks = [](std::string_view text) { return text == "--help" || text == "-h"; };
  if (asks(name)) {
    PrintUsage(std::cout);
    return 0;
  }
  if (name == "--version") {
    std::cout << absl::StrFormat("numaheap %d.%d.%d\n", NUMAHEAP_VERSION_MAJOR,
                                 NUMAHEAP_VERSION_MINOR, NUMAHEAP_VERSION_PATCH);
    return 0;
  }
  const auto found =
      std::find_if(std::begin(kSubcommands), std::end(kSubcommands),
                   [name](const Subcommand* subcommand) { return subcommand->name == name; });
  if (found == std::end(kSubcommands)) {
    std::cerr << "numaheap: unknown subcommand " << name << "; see numaheap --help\n";
    return 2;
  }
  if (std::any_of(arguments.begin(), arguments.end(), asks)) {
    std::cout << (*found)->help;
    return 0;
  }
  const absl::Status status = (*found)->run(arguments);
  if (status.ok()) return 0;
  std::cerr << "numaheap " << name << ": " << status.message() << '\n';
  if (!absl::IsInvalidArgument(status)) return 1;
  std::cerr << "see numaheap " << name << " --help\n";
  return 2;
}

}  // namespace
}  // namespace numaheap::command

int main(int count, char** arguments) {
  return numaheap::command::Main({arguments + 1, arguments + count});
}
