// Symbols of ELF files: of this program, and of files that are cut short or changed at random.
#include "exporters/command/elf_symbols.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "exporters/command/process.h"

extern "C" {
extern int numaheap_elf_symbols_test_mark;
int numaheap_elf_symbols_test_mark = 4711;
}

namespace numaheap::command {
namespace {

constexpr std::string_view kMark = "numaheap_elf_symbols_test_mark";

TEST(ElfSymbolsTest, FindsWhereASymbolWasLoaded) {
  const auto process = Process::Open(getpid());
  ASSERT_TRUE(process.ok());
  int mappings = 0;
  for (const Mapping& mapping : process->mappings()) {
    if (!process->IsExecutable(mapping)) continue;
    const File file = process->OpenFile(mapping);
    const ElfFile elf = ReadElf(file.descriptor(), kMark);
    ASSERT_TRUE(elf.symbol.has_value());
    EXPECT_EQ(elf.symbol->bytes, sizeof(int));
    const auto bias = elf.LoadBias(mapping.offset, mapping.start);
    ASSERT_TRUE(bias.has_value());
    EXPECT_EQ(*bias + elf.symbol->value,
              reinterpret_cast<uint64_t>(&numaheap_elf_symbols_test_mark));
    ++mappings;
  }
  EXPECT_GT(mappings, 1);
}

TEST(ElfSymbolsTest, OtherNames) {
  const File file(open("/proc/self/exe", O_RDONLY));
  for (const char* name : {"", "numaheap_elf_symbols_test_mar", "numaheap_elf_symbols_test_mark2",
                           "malloc_that_nobody_has"}) {
    EXPECT_FALSE(ReadElf(file.descriptor(), name).symbol && *name != '\0') << name;
  }
}

TEST(ElfSymbolsTest, NoElfFiles) {
  for (const char* path : {"/proc/self/cmdline", "/dev/null", "/"}) {
    const File file(open(path, O_RDONLY));
    const ElfFile elf = ReadElf(file.descriptor(), kMark);
    EXPECT_FALSE(elf.symbol || !elf.segments.empty()) << path;
  }
  EXPECT_FALSE(ReadElf(-1, kMark).symbol);
}

// The front of this program, its tables and all, with bytes changed and the end cut off: found or
// not, but an end in all cases.
TEST(ElfSymbolsTest, DamagedFiles) {
  std::ifstream self("/proc/self/exe", std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(self)), {});
  ASSERT_GT(whole.size(), 100'000u);
  char path[] = "/tmp/numaheap-elf-test-XXXXXX";
  const File file(mkstemp(path));
  ASSERT_TRUE(file.is_open());
  unlink(path);
  ASSERT_EQ(pwrite(file.descriptor(), whole.data(), whole.size(), 0),
            static_cast<ssize_t>(whole.size()));
  EXPECT_TRUE(ReadElf(file.descriptor(), kMark).symbol);
  std::mt19937 random(20261124);
  // Headers of the file, of its segments, and of its sections, which are at the end.
  const size_t sections = whole.size() - 3'000;
  int found = 0;
  for (int round = 0; round < 400; ++round) {
    size_t at[4];
    for (size_t& place : at) {
      place = random() % 2 == 0 ? random() % 700 : sections + random() % 3'000;
      const char byte = random() % 2 == 0 ? '\xff' : static_cast<char>(random());
      ASSERT_EQ(pwrite(file.descriptor(), &byte, 1, static_cast<off_t>(place)), 1);
    }
    const ElfFile elf = ReadElf(file.descriptor(), kMark);
    found += elf.symbol.has_value();
    for (const ElfSegment& segment : elf.segments) elf.LoadBias(segment.offset, UINT64_MAX);
    for (const size_t place : at) {
      ASSERT_EQ(pwrite(file.descriptor(), &whole[place], 1, static_cast<off_t>(place)), 1);
    }
  }
  EXPECT_GT(found, 0);
  for (size_t length : {whole.size() - 1, sections, whole.size() / 2, size_t{64}, size_t{63}}) {
    ASSERT_EQ(ftruncate(file.descriptor(), static_cast<off_t>(length)), 0);
    EXPECT_FALSE(ReadElf(file.descriptor(), kMark).symbol && length < sections) << length;
  }
}

}  // namespace
}  // namespace numaheap::command
