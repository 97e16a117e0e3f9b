#include "exporters/command/elf_symbols.h"

#include <elf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace numaheap::command {
namespace {

// A table that claims more than this is not looked at.
constexpr uint64_t kMostBytes = uint64_t{1} << 30;

class FileReader {
 public:
  explicit FileReader(int descriptor) : descriptor_(descriptor) {
    struct stat found;
    if (fstat(descriptor, &found) == 0) bytes_ = static_cast<uint64_t>(found.st_size);
  }

  // `count` entries at `offset`; fewer, or none, where the file ends.
  template <typename T>
  std::vector<T> Table(uint64_t offset, uint64_t count) const {
    if (offset > bytes_ || count > kMostBytes / sizeof(T)) return {};
    count = std::min(count, (bytes_ - offset) / sizeof(T));
    std::vector<T> table(count);
    char* to = reinterpret_cast<char*>(table.data());
    size_t done = 0;
    while (done < count * sizeof(T)) {
      const ssize_t got = pread(descriptor_, to + done, count * sizeof(T) - done,
                                static_cast<off_t>(offset + done));
      if (got <= 0) break;
      done += static_cast<size_t>(got);
    }
    table.resize(done / sizeof(T));
    return table;
  }

 private:
  int descriptor_;
  uint64_t bytes_ = 0;
};

std::optional<ElfSymbol> FindIn(const FileReader& file, const Elf64_Shdr& symbols,
                                const Elf64_Shdr& strings, std::string_view wanted) {
  if (symbols.sh_entsize != sizeof(Elf64_Sym)) return std::nullopt;
  const auto text = file.Table<char>(strings.sh_offset, strings.sh_size);
  for (const Elf64_Sym& symbol :
       file.Table<Elf64_Sym>(symbols.sh_offset, symbols.sh_size / sizeof(Elf64_Sym))) {
    if (symbol.st_shndx == SHN_UNDEF || symbol.st_name >= text.size()) continue;
    const char* name = text.data() + symbol.st_name;
    const size_t room = text.size() - symbol.st_name;
    if (room > wanted.size() && std::memcmp(name, wanted.data(), wanted.size()) == 0 &&
        name[wanted.size()] == '\0') {
      return ElfSymbol{symbol.st_value, symbol.st_size};
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<uint64_t> ElfFile::LoadBias(uint64_t offset, uint64_t address) const {
  constexpr uint64_t kPage = 4096;  // what the kernel maps are whole pages
  const auto begin = [](const ElfSegment& segment) { return segment.offset & ~(kPage - 1); };
  // A page of the file may be in two segments; a mapping begins with the later one.
  const ElfSegment* mapped = nullptr;
  for (const ElfSegment& segment : segments) {
    const bool covers = offset >= begin(segment) &&
                        offset - begin(segment) < segment.file_bytes + segment.offset % kPage;
    if (covers && (mapped == nullptr || begin(segment) >= begin(*mapped))) mapped = &segment;
  }
  if (mapped == nullptr) return std::nullopt;
  return address - (mapped->address - mapped->offset % kPage + (offset - begin(*mapped)));
}

ElfFile ReadElf(int descriptor, std::string_view symbol) {
  const FileReader file(descriptor);
  ElfFile found;
  const auto headers = file.Table<Elf64_Ehdr>(0, 1);
  if (headers.empty()) return found;
  const Elf64_Ehdr& header = headers[0];
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_phentsize != sizeof(Elf64_Phdr)) {
    return found;
  }
  for (const Elf64_Phdr& part : file.Table<Elf64_Phdr>(header.e_phoff, header.e_phnum)) {
    if (part.p_type == PT_LOAD) {
      found.segments.push_back({part.p_offset, part.p_filesz, part.p_vaddr});
    }
  }
  if (header.e_shentsize != sizeof(Elf64_Shdr)) return found;
  const auto sections = file.Table<Elf64_Shdr>(header.e_shoff, header.e_shnum);
  for (const uint32_t type : {uint32_t{SHT_DYNSYM}, uint32_t{SHT_SYMTAB}}) {
    for (const Elf64_Shdr& section : sections) {
      if (section.sh_type != type || section.sh_link >= sections.size()) continue;
      found.symbol = FindIn(file, section, sections[section.sh_link], symbol);
      if (found.symbol) return found;
    }
  }
  return found;
}

}  // namespace numaheap::command
