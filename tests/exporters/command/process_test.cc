// Reading processes: this one, one that has ended, and memory of which a part is missing.
#include "exporters/command/process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>

namespace numaheap::command {
namespace {

using testing::HasSubstr;

TEST(MappingTest, OfAFile) {
  const auto mapping = ParseMapping(
      "7f0c2a000000-7f0c2a021000 r-xp 00001000 08:01 1234    /usr/lib/a library.so.0 (deleted)");
  ASSERT_TRUE(mapping.has_value());
  EXPECT_EQ(mapping->start, 0x7f0c2a000000u);
  EXPECT_EQ(mapping->end, 0x7f0c2a021000u);
  EXPECT_EQ(mapping->offset, 0x1000u);
  EXPECT_EQ(mapping->device, "08:01");
  EXPECT_EQ(mapping->inode, 1234u);
  EXPECT_EQ(mapping->path, "/usr/lib/a library.so.0");
  EXPECT_TRUE(mapping->readable);
  EXPECT_TRUE(mapping->executable);
}

TEST(MappingTest, OthersAreNone) {
  for (const char* line :
       {"", "x", "7f0c2a000000-7f0c2a021000 rw-p 00000000 00:00 0",
        "7ffd1c000000-7ffd1c021000 rw-p 00000000 00:00 0    [stack]",
        "7f0c2a021000-7f0c2a000000 r--p 00000000 08:01 1 /backwards",
        "zzz-7f0c2a000000 r--p 00000000 08:01 1 /x", "1000-2000 r--p 0 08:01 x /x"}) {
    EXPECT_FALSE(ParseMapping(line).has_value()) << line;
  }
}

TEST(ProcessTest, ReadsItself) {
  const auto process = Process::Open(getpid());
  ASSERT_TRUE(process.ok()) << process.status();
  EXPECT_THAT(process->Title(), HasSubstr(std::to_string(getpid())));
  const uint64_t number = 0x1234567890abcdef;
  EXPECT_EQ(process->Get<uint64_t>(reinterpret_cast<uint64_t>(&number)).value(), number);
  const auto& mappings = process->mappings();
  ASSERT_FALSE(mappings.empty());
  const auto own = std::find_if(mappings.begin(), mappings.end(), [&](const Mapping& mapping) {
    return process->IsExecutable(mapping);
  });
  ASSERT_NE(own, mappings.end());
  EXPECT_TRUE(process->OpenFile(*own).is_open());
  EXPECT_GT(std::count_if(mappings.begin(), mappings.end(),
                          [own](const Mapping& other) { return other.IsOfSameFile(*own); }),
            1);
}

TEST(ProcessTest, NamesAreHarmless) {
  char before[16];
  ASSERT_EQ(prctl(PR_GET_NAME, before), 0);
  ASSERT_EQ(prctl(PR_SET_NAME, "a\033[2J\xff<b>"), 0);
  EXPECT_THAT(Process::Open(getpid())->Title(), HasSubstr("(a?[2J?<b>)"));
  prctl(PR_SET_NAME, before);
}

TEST(ProcessTest, AFileThatWasReplacedIsNotOpened) {
  const auto process = Process::Open(getpid());
  ASSERT_TRUE(process.ok());
  Mapping mapping = process->mappings()[0];
  ++mapping.inode;
  ++mapping.start;  // nor is there such a range
  EXPECT_FALSE(process->OpenFile(mapping).is_open());
}

TEST(ProcessTest, ReadsAroundWhatIsMissing) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  char* memory = static_cast<char*>(
      mmap(nullptr, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(memory, MAP_FAILED);
  munmap(memory + page, page);
  for (size_t i = 0; i < page; ++i) memory[i] = memory[2 * page + i] = static_cast<char>(i);
  const auto process = Process::Open(getpid());
  ASSERT_TRUE(process.ok());
  // More than one system call takes; some end, some begin, and some lie in the gap.
  constexpr size_t kPieces = 3 * IOV_MAX + 7;
  std::vector<uint32_t> values(kPieces, 0xdeadbeef);
  std::vector<Piece> pieces;
  for (size_t i = 0; i < kPieces; ++i) {
    const size_t offset = i * 37 % (3 * page - 4);
    pieces.push_back({reinterpret_cast<uint64_t>(memory + offset), &values[i], 4});
  }
  ASSERT_TRUE(process->ReadPieces(absl::MakeSpan(pieces)).ok());
  for (size_t i = 0; i < kPieces; ++i) {
    const size_t offset = i * 37 % (3 * page - 4);
    const bool there = offset + 4 <= page || offset >= 2 * page;
    ASSERT_EQ(pieces[i].read, there) << offset;
    if (there) {
      ASSERT_EQ(std::memcmp(&values[i], memory + offset, 4), 0) << offset;
    }
  }
  char byte;
  EXPECT_FALSE(process->Read(reinterpret_cast<uint64_t>(memory + page), &byte, sizeof byte).ok());
  munmap(memory, page);
  munmap(memory + 2 * page, page);
}

TEST(ProcessTest, OneThatHasEnded) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  const auto zombie = Process::Open(child);
  EXPECT_FALSE(zombie.ok());
  EXPECT_THAT(zombie.status().message(), HasSubstr("has ended"));
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  const auto gone = Process::Open(child);
  EXPECT_THAT(gone.status().message(), HasSubstr("there is no process"));
}

TEST(ProcessTest, OneThatEndsMeanwhile) {
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  const auto process = Process::Open(child);
  ASSERT_TRUE(process.ok()) << process.status();
  kill(child, SIGKILL);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  const auto read = process->Get<char>(process->mappings()[0].start);
  EXPECT_TRUE(absl::IsNotFound(read.status())) << read.status();
}

}  // namespace
}  // namespace numaheap::command
