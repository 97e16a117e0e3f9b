// numaheap heapmap: what the address ranges of a process's heaps hold.
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <fstream>
#include <iostream>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "exporters/command/heap_reader.h"
#include "exporters/command/inspection_finder.h"
#include "exporters/command/subcommand.h"
#include "exporters/command/svg_picture.h"
#include "exporters/command/terminal_picture.h"

namespace numaheap::command {
namespace {

constexpr std::string_view kHelp = R"(NAME
    numaheap heapmap - draw the heaps of a running process

SYNOPSIS
    numaheap heapmap PID [--node NODE] [--svg FILE | --csv] [--color WHEN]

DESCRIPTION
    Reads the memory of process PID, as a debugger does, and shows what the address range of each of
    its numaheap heaps holds, one heap per NUMA node: small objects by size, large objects, and what
    is free: idle (backed by memory) or released (given back to the kernel). The process is not
    stopped, and nothing runs in it. What changed while it was read and did not fit together is read
    again; what still does not is shown as unknown.

    Objects are alive as long as they are in use or lie, freed, in a cache of a CPU.

OPTIONS
    --node NODE    Only the heap of that node: its number, or "interleaved".
    --svg FILE     Writes the picture to FILE instead; "-" is the standard output.
    --csv          Prints a line for each span instead: node, start, bytes, state (small, large,
                   idle, partly_released, released, reserved, unknown), size_class, object_size,
                   objects (room for), live_objects, released_bytes.
    --color WHEN   always, never or auto (the default): colours on a terminal, unless NO_COLOR is
                   set, and letters elsewhere.

PERMISSION
    The same that gdb, strace or py-spy need: the same user and, where kernel.yama.ptrace_scope is
    1, root; in a container the capability SYS_PTRACE.

EXIT STATUS
    0 if all went well, 1 if the process could not be read, 2 for a mistake in the command line.

EXAMPLE
    numaheap heapmap $(pidof redis-server) --svg heap.svg
)";

struct Options {
  pid_t pid = 0;
  std::optional<int> node;
  std::string svg;
  bool csv = false;
  std::string_view color = "auto";
};

absl::Status Mistake(std::string_view what, std::string_view value = "") {
  return absl::InvalidArgumentError(absl::StrCat(std::string(what), std::string(value)));
}

bool ParseNumber(std::string_view text, int* number) {
  return absl::SimpleAtoi(absl::string_view(text.data(), text.size()), number) && *number >= 0;
}

absl::StatusOr<Options> Parse(const std::vector<std::string_view>& arguments) {
  Options options;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    if (argument == "--csv") {
      options.csv = true;
      continue;
    }
    if (argument == "--node" || argument == "--svg" || argument == "--color") {
      if (i + 1 == arguments.size()) return Mistake(argument, " needs a value");
      const std::string_view value = arguments[++i];
      if (argument == "--svg") {
        options.svg = value;
      } else if (argument == "--color") {
        options.color = value;
        if (value != "auto" && value != "always" && value != "never") {
          return Mistake("--color takes always, never or auto, not ", value);
        }
      } else {
        int node = -1;
        if (value != "interleaved" && !ParseNumber(value, &node)) {
          return Mistake("--node takes a number or \"interleaved\", not ", value);
        }
        options.node = node;
      }
      continue;
    }
    if (argument.substr(0, 1) == "-") return Mistake("unknown option ", argument);
    if (options.pid != 0) return Mistake("one process at a time; what is ", argument);
    if (!ParseNumber(argument, &options.pid) || options.pid == 0) {
      return Mistake("a process is given by its number, not as ", argument);
    }
  }
  if (options.pid == 0) return Mistake("which process? Give its number");
  if (options.csv && !options.svg.empty()) return Mistake("either --svg or --csv");
  return options;
}

constexpr std::string_view kStates[] = {"unknown",         "small",    "large",   "idle",
                                        "partly_released", "released", "reserved"};
static_assert(std::size(kStates) == NUMAHEAP_SPAN_RESERVED + 1);

std::string Csv(const std::vector<HeapRecord>& heaps) {
  std::string text =
      "node,start,bytes,state,size_class,object_size,objects,live_objects,released_bytes\n";
  for (const HeapRecord& heap : heaps) {
    for (const SpanRecord& span : heap.spans) {
      absl::StrAppendFormat(&text, "%s,%#x,%d,%s,%d,%d,%d,%d,%d\n", NodeName(heap.node), span.start,
                            span.bytes, kStates[span.state], span.size_class, span.object_size,
                            span.objects, span.live_objects, span.released_bytes);
    }
  }
  return text;
}

TerminalStyle StyleFor(std::string_view color) {
  const auto variable = [](const char* name) -> std::string_view {
    const char* value = getenv(name);
    return value == nullptr ? "" : value;
  };
  TerminalStyle style;
  const bool terminal = isatty(STDOUT_FILENO);
  winsize size = {};
  int columns = 0;
  if (terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    style.columns = size.ws_col;
  } else if (ParseNumber(variable("COLUMNS"), &columns) && columns > 0) {
    style.columns = static_cast<size_t>(columns);
  }
  const bool wanted =
      color == "always" ||
      (color == "auto" && terminal && variable("NO_COLOR").empty() && variable("TERM") != "dumb");
  if (wanted) {
    const std::string_view depth = variable("COLORTERM");
    style.colours =
        depth == "truecolor" || depth == "24bit" ? TerminalStyle::kTrue : TerminalStyle::k256;
  }
  return style;
}

absl::Status Write(const std::string& text, const std::string& path) {
  if (path == "-") {
    std::cout << text << std::flush;
    return std::cout ? absl::OkStatus() : absl::UnavailableError("can't write the output");
  }
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  return file ? absl::OkStatus() : absl::UnavailableError(absl::StrCat("can't write ", path));
}

absl::StatusOr<std::vector<HeapRecord>> ReadProcess(const Process& process,
                                                    std::optional<int> node) {
  const auto inspection = FindInspection(process);
  if (!inspection.ok()) return inspection.status();
  auto heaps = ReadHeaps(process, *inspection);
  if (!heaps.ok() || !node) return heaps;
  std::erase_if(*heaps, [node](const HeapRecord& heap) { return heap.node != *node; });
  if (!heaps->empty()) return heaps;
  return absl::NotFoundError(
      absl::StrCat(process.Title(), " has no heap of node ", NodeName(*node)));
}

absl::Status Run(const std::vector<std::string_view>& arguments) {
  const auto options = Parse(arguments);
  if (!options.ok()) return options.status();
  const auto process = Process::Open(options->pid);
  if (!process.ok()) return process.status();
  const auto heaps = ReadProcess(*process, options->node);
  if (!heaps.ok()) return heaps.status();
  if (options->csv) return Write(Csv(*heaps), "-");
  if (options->svg.empty()) return Write(DrawOnTerminal(*heaps, StyleFor(options->color)), "-");
  return Write(DrawAsSvg(*heaps, absl::StrCat("numaheap: ", process->Title())), options->svg);
}

}  // namespace

const Subcommand kHeapmap = {"heapmap", "draw the heaps of a running process", kHelp, Run};

}  // namespace numaheap::command
