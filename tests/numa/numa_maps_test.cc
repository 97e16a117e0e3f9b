// The parser of numa_maps, on made-up text and on this process's own.
#include "numa/numa_maps.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

namespace numaheap {
namespace {

uint64_t Total(const NodeBytes& pages) {
  return std::accumulate(std::begin(pages.on), std::end(pages.on), uint64_t{0});
}

NodeBytes Parse(const std::vector<std::string>& lines, uintptr_t start = 0,
                uintptr_t end = UINTPTR_MAX) {
  NodeBytes pages;
  for (const std::string& line : lines) {
    EXPECT_TRUE(AddNumaMapsLine(line, start, end, &pages)) << line;
  }
  return pages;
}

TEST(NumaMapsLine, AnonymousMemoryOnSparseNodes) {
  const NodeBytes pages =
      Parse({"7f2a4c000000 prefer:5 anon=9 dirty=9 active=0 N0=2 N2=3 N5=4 kernelpagesize_kB=4",
             "7f2a50000000 bind:2 anon=1 dirty=1 N2=1 kernelpagesize_kB=4"});
  EXPECT_EQ(pages.on[0], 2u * 4096);
  EXPECT_EQ(pages.on[2], 4u * 4096);
  EXPECT_EQ(pages.on[5], 4u * 4096);
  EXPECT_EQ(Total(pages), 10u * 4096);
}

TEST(NumaMapsLine, HeapStackAndFiles) {
  const NodeBytes pages =
      Parse({"55d0a8f6e000 default heap anon=33 dirty=33 active=0 N0=30 N1=3 kernelpagesize_kB=4",
             "7ffd3c1c5000 default stack anon=4 dirty=4 N1=4 kernelpagesize_kB=4",
             "7f10b2a00000 default file=/usr/lib/x86_64-linux-gnu/libc.so.6 mapped=38 mapmax=55 "
             "active=12 "
             "N0=38 kernelpagesize_kB=4",
             "7ffd3c1f0000 default",
             "7f10b2e00000 default file=/dev/shm/N7=3 dirty=2 N1=2 kernelpagesize_kB=4"});
  EXPECT_EQ(pages.on[0], 68u * 4096);
  EXPECT_EQ(pages.on[1], 9u * 4096);
  EXPECT_EQ(pages.on[7], 0u) << "part of a path";
  EXPECT_EQ(Total(pages), 77u * 4096);
}

TEST(NumaMapsLine, PagesCountInTheKernelsUnit) {
  const NodeBytes pages =
      Parse({"7f0000000000 interleave:0,2 file=/anon_hugepage\\040(deleted) huge anon=6 dirty=6 "
             "N0=3 N2=3 "
             "kernelpagesize_kB=2048",
             "7f0040000000 bind:1 huge dirty=1 N1=1 kernelpagesize_kB=1048576",
             "7f0080000000 prefer (many):0-1 anon=512 dirty=512 N1=512 kernelpagesize_kB=64",
             "7f00c0000000 default anon=1 N3=1"});
  EXPECT_EQ(pages.on[0], 3u << 21);
  EXPECT_EQ(pages.on[1], (1u << 30) + (512u << 16));
  EXPECT_EQ(pages.on[2], 3u << 21);
  EXPECT_EQ(pages.on[3], 4096u) << "old kernels name no unit";
}

TEST(NumaMapsLine, OnlyMappingsThatBeginInTheRange) {
  const std::vector<std::string> lines = {"1000 default anon=1 N0=1 kernelpagesize_kB=4",
                                          "2000 default anon=2 N0=2 kernelpagesize_kB=4",
                                          "5000 default anon=4 N0=4 kernelpagesize_kB=4"};
  EXPECT_EQ(Parse(lines, 0x2000, 0x5000).on[0], 2u * 4096);
  EXPECT_EQ(Parse(lines, 0x1001, 0x5001).on[0], 6u * 4096);
  EXPECT_EQ(Parse(lines, 0x3000, 0x3000).on[0], 0u);
}

TEST(NumaMapsLine, RefusesWhatIsNoLine) {
  for (const char* line :
       {"", "   ", "default anon=1 N0=1", "zzzz default N0=1", "0x1000 default N0=1",
        "7f0000000000 default Nx=1", "7f0000000000 default N=1", "7f0000000000 default N0=",
        "7f0000000000 default N0=-1", "7f0000000000 default N0=1x", "7f0000000000 default N1024=1",
        "7f0000000000 default N-1=1", "7f0000000000 default N0=99999999999999999999",
        "7f0000000000 default N0=18446744073709551615", "1ffffffffffffffffffff default N0=1"}) {
    NodeBytes pages;
    EXPECT_FALSE(AddNumaMapsLine(line, 0, UINTPTR_MAX, &pages)) << line;
    EXPECT_EQ(Total(pages), 0u) << line;
  }
}

// The text through a pipe in pieces of `piece` bytes.
int AddThroughPipe(const std::string& text, size_t piece, NodeBytes* pages) {
  int ends[2];
  if (pipe(ends) != 0) return errno;
  std::thread writer([&] {
    for (size_t at = 0; at < text.size(); at += piece) {
      const std::string part = text.substr(at, piece);
      if (write(ends[1], part.data(), part.size()) < 0) break;
    }
    close(ends[1]);
  });
  const int error = AddNumaMaps(ends[0], 0, UINTPTR_MAX, pages);
  std::string rest(1 << 16, '\0');  // so that the writer can finish
  while (read(ends[0], rest.data(), rest.size()) > 0) {
  }
  writer.join();
  close(ends[0]);
  return error;
}

TEST(NumaMapsFile, LinesMayArriveInPieces) {
  std::string text;
  for (int i = 0; i < 5000; ++i) {
    text += "7f0000000000 default file=/" + std::string(static_cast<size_t>(i % 97), 'x') +
            " N2=1 kernelpagesize_kB=4\n";
  }
  for (const size_t piece : {7, 4096, 5000, 65536}) {
    NodeBytes pages;
    EXPECT_EQ(AddThroughPipe(text, piece, &pages), 0);
    EXPECT_EQ(pages.on[2], 5000u * 4096) << piece;
  }
}

TEST(NumaMapsFile, BadLinesAreReportedAndGoodOnesCounted) {
  const std::string good = "7f0000000000 default N0=1 kernelpagesize_kB=4\n";
  NodeBytes pages;
  EXPECT_EQ(AddThroughPipe(good + "nonsense\n" + good, 4096, &pages), EBADMSG);
  EXPECT_EQ(pages.on[0], 2u * 4096);
  EXPECT_EQ(AddThroughPipe(good + std::string(40000, 'x') + "\n" + good, 4096, &pages), E2BIG);
  EXPECT_EQ(AddNumaMaps(-1, 0, UINTPTR_MAX, &pages), EBADF);
}

TEST(NumaMaps, OwnPages) {
  constexpr size_t kPages = 700;
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  auto* const memory = static_cast<char*>(
      mmap(nullptr, kPages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(memory, MAP_FAILED);
  // Small pages; kernels without huge ones refuse the advice.
  madvise(memory, kPages * page, MADV_NOHUGEPAGE);
  // A mapping of its own, not part of a neighbour.
  ASSERT_EQ(madvise(memory, kPages * page, MADV_DONTFORK), 0);
  for (size_t i = 0; i < kPages; i += 2) memory[i * page] = 1;
  NodeBytes pages;
  errno = 77;
  const int error = ReadNumaMaps(memory, kPages * page, &pages);
  EXPECT_EQ(errno, 77);
  munmap(memory, kPages * page);
  if (error == ENOENT) GTEST_SKIP() << "a kernel without numa_maps";
  ASSERT_EQ(error, 0) << strerror(error);
  EXPECT_EQ(Total(pages), kPages / 2 * page);
}

}  // namespace
}  // namespace numaheap
