// Prometheus's own checker.
#pragma once

#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace numaheap::exporters {

inline bool HavePromtool() {
  return std::system("command -v promtool >/dev/null") == 0;
}

struct PromtoolVerdict {
  int status;          // of the exit
  std::string output;  // stdout and stderr
};

// Runs `promtool ARGUMENTS`, a piece of shell.
inline PromtoolVerdict RunPromtool(const std::string& arguments) {
  PromtoolVerdict verdict{-1, ""};
  FILE* const pipe = popen(("promtool " + arguments + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return verdict;
  char part[4096];
  for (size_t size; (size = fread(part, 1, sizeof(part), pipe)) > 0;) {
    verdict.output.append(part, size);
  }
  const int status = pclose(pipe);
  verdict.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return verdict;
}

}  // namespace numaheap::exporters
