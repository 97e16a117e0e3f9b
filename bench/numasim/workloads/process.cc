#include "bench/numasim/workloads/process.h"

#include <fcntl.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "bench/numasim/workloads/say.h"

namespace numasim {
namespace {

char text[1 << 20];  // of a file in /proc

// Reads /proc/PID/NAME into `text`.
void ReadText(pid_t pid, const char* name) {
  char path[32];
  std::snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  size_t length = 0;
  ssize_t got = 0;
  while (file >= 0 && (got = read(file, text + length, sizeof(text) - 1 - length)) > 0) {
    length += static_cast<size_t>(got);
  }
  if (file < 0 || got < 0 || length == sizeof(text) - 1) {
    std::perror(path);
    std::exit(1);
  }
  close(file);
  text[length] = '\0';
}

// Where the memory that brk() gives begins. Without random addresses that is right behind the
// program's .bss, and the maps show both as one.
uint64_t StartOfBrk(pid_t pid) {
  ReadText(pid, "stat");
  const char* field = std::strrchr(text, ')');  // the second; start_brk is the 47th
  for (int i = 2; i < 47 && field != nullptr; ++i) field = std::strchr(field + 1, ' ');
  return field == nullptr ? 0 : std::strtoull(field, nullptr, 10);
}

void Declare(const char* region, uint64_t begin, uint64_t end) {
  char command[96];
  std::snprintf(command, sizeof(command), "region %s %" PRIx64 " %" PRIx64, region, begin, end);
  Say(command);
}

void DeclareCode(uint64_t begin, uint64_t end, uint64_t offset, const char* path) {
  char command[256];
  std::snprintf(command, sizeof(command), "code %" PRIx64 " %" PRIx64 " %" PRIx64 " %s", begin, end,
                offset, path);
  Say(command);
}

bool IsNamed(std::string_view path, std::string_view name) {
  return path.ends_with(name) && path.size() > name.size() &&
         path[path.size() - name.size() - 1] == '/';
}

}  // namespace

void DeclareProcess(pid_t pid, const char* allocator) {
  constexpr uint64_t kGuard = 4096;  // what glibc puts in front of a thread's stack
  const uint64_t start_of_brk = StartOfBrk(pid);
  ReadText(pid, "maps");
  uint64_t last_end = 0;
  const char* last_data = nullptr;  // region of the file whose data ended at last_end
  bool after_guard = false;
  for (char* line = std::strtok(text, "\n"); line != nullptr; line = std::strtok(nullptr, "\n")) {
    uint64_t begin, end, offset;
    char access[5];
    int path_at = 0;
    std::sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*s %*s %n", &begin, &end, access,
                &offset, &path_at);
    const std::string_view path = line + path_at;
    const bool follows = begin == last_end;
    const bool is_stack = path == "[stack]" || (path.empty() && after_guard && follows &&
                                                std::strncmp(access, "rw", 2) == 0);
    after_guard = path.empty() && std::strcmp(access, "---p") == 0 && end - begin == kGuard;
    last_end = end;
    if (is_stack) {
      Declare("stack", begin, end);
      last_data = nullptr;
    } else if (path.starts_with("/dev/")) {  // memory that processes share: no .bss follows
      Declare("program", begin, end);
      last_data = nullptr;
    } else if (path.starts_with('/')) {
      const bool is_allocator = IsNamed(path, allocator);
      last_data = is_allocator ? "library-data" : "program";
      const bool is_code = access[2] == 'x';
      Declare(is_allocator && is_code ? "allocator-code" : last_data, begin, end);
      if (is_code) DeclareCode(begin, end, offset, line + path_at);
    } else if (path == "[heap]") {
      Declare("program", begin, start_of_brk);
      last_data = nullptr;
    } else if (path == "[vvar]" || path == "[vdso]") {
      Declare("program", begin, end);
    } else if (last_data != nullptr && follows && path.empty()) {
      Declare(last_data, begin, end);  // its .bss
    } else {
      last_data = nullptr;
    }
  }
}

void DeclareRegion(const char* region, const void* begin, const void* end) {
  Declare(region, reinterpret_cast<uint64_t>(begin), reinterpret_cast<uint64_t>(end));
}

void StartCounting(const char* allocator, const char* workload) {
  char command[128];
  std::snprintf(command, sizeof(command), "start %s %s", allocator, workload);
  Say(command);
}

void StopCounting(uint64_t operations) {
  char command[32];
  std::snprintf(command, sizeof(command), "stop %" PRIu64, operations);
  Say(command);
}

}  // namespace numasim
