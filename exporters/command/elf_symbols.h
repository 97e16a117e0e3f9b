// ElfSymbols: finds a symbol of a 64-bit ELF file, and where the file was loaded.
//
// Files are not trusted: whatever they hold, the answer is an address or none.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace numaheap::command {

struct ElfSymbol {
  uint64_t value = 0;  // address as the file has it
  uint64_t bytes = 0;
};

// A part of the file that is mapped.
struct ElfSegment {
  uint64_t offset = 0, file_bytes = 0;
  uint64_t address = 0;  // as the file has it
};

// What is wanted of a file. No symbol in a stripped program, no segments in what is no ELF file.
struct ElfFile {
  std::optional<ElfSymbol> symbol;
  std::vector<ElfSegment> segments;

  // What to add to the file's addresses, if its byte `offset` lies at `address`.
  std::optional<uint64_t> LoadBias(uint64_t offset, uint64_t address) const;
};

// Looks `symbol` up in the tables of the file that `descriptor` has open: .dynsym, then .symtab.
ElfFile ReadElf(int descriptor, std::string_view symbol);

}  // namespace numaheap::command
