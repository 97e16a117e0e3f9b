#include "exporters/profile/loaded_code.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <sstream>
#include <utility>

namespace numaheap {
namespace {

std::string ReadFile(const char* path) {
  std::string text;
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return text;
  char part[4096];
  for (ssize_t n; (n = read(fd, part, sizeof part)) > 0;) text.append(part, static_cast<size_t>(n));
  close(fd);
  return text;
}

std::string BuildIdIn(const char* notes, size_t bytes) {
  while (bytes >= sizeof(ElfW(Nhdr))) {
    ElfW(Nhdr) note;
    std::memcpy(&note, notes, sizeof note);
    const size_t name_bytes = (size_t{note.n_namesz} + 3) & ~size_t{3};
    const size_t size = sizeof note + name_bytes + ((size_t{note.n_descsz} + 3) & ~size_t{3});
    if (size > bytes) break;
    const char* const name = notes + sizeof note;
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::memcmp(name, "GNU", 4) == 0) {
      std::string id;
      for (size_t i = 0; i < note.n_descsz; ++i) {
        char hex[3];
        std::snprintf(hex, sizeof hex, "%02x", static_cast<unsigned char>(name[name_bytes + i]));
        id += hex;
      }
      return id;
    }
    notes += size;
    bytes -= size;
  }
  return "";
}

// An object's first executable address and its build id.
using BuildIds = std::vector<std::pair<uint64_t, std::string>>;

int AddBuildId(dl_phdr_info* info, size_t, void* argument) {
  std::string id;
  uint64_t code = 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& part = info->dlpi_phdr[i];
    const uint64_t start = info->dlpi_addr + part.p_vaddr;
    if (part.p_type == PT_LOAD && (part.p_flags & PF_X) != 0 && code == 0) code = start;
    if (part.p_type == PT_NOTE && id.empty()) {
      id = BuildIdIn(reinterpret_cast<const char*>(start), part.p_memsz);
    }
  }
  static_cast<BuildIds*>(argument)->emplace_back(code, std::move(id));
  return 0;
}

}  // namespace

std::vector<CodeMapping> ParseMaps(const std::string& maps) {
  std::vector<CodeMapping> mappings;
  std::istringstream lines(maps);
  for (std::string line; std::getline(lines, line);) {
    unsigned long start = 0, end = 0, offset = 0;
    char permissions[5] = {};
    int name = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %4s %lx %*s %*s %n", &start, &end, permissions, &offset,
                    &name) < 4 ||
        permissions[2] != 'x') {
      continue;
    }
    mappings.push_back({start, end, offset, line.substr(static_cast<size_t>(name)), ""});
  }
  return mappings;
}

std::vector<CodeMapping> LoadedCode() {
  std::vector<CodeMapping> mappings = ParseMaps(ReadFile("/proc/self/maps"));
  BuildIds ids;
  dl_iterate_phdr(AddBuildId, &ids);
  for (CodeMapping& mapping : mappings) {
    for (const auto& [code, id] : ids) {
      if (mapping.start <= code && code < mapping.end) mapping.build_id = id;
    }
  }
  return mappings;
}

}  // namespace numaheap
