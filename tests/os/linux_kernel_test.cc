// LinuxKernel against its contract in kernel.h, on the kernel that runs the test: what may be
// touched, what reads as zero, what costs memory, which refusals there are, and errno.
#include "src/os/linux_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "tests/os/reservation.h"

namespace numaheap {
namespace {

using testing::AnyOf;

// Asks the kernel, by a pipe, whether this process may touch a byte: no signal comes of it.
class Probe {
 public:
  Probe() { EXPECT_EQ(pipe2(ends_, O_CLOEXEC), 0); }
  ~Probe() {
    close(ends_[0]);
    close(ends_[1]);
  }
  bool CanRead(const char* address) {
    char byte;
    return write(ends_[1], address, 1) == 1 && read(ends_[0], &byte, 1) == 1;
  }
  // Writes 7.
  bool CanWrite(char* address) {
    char byte = 7;
    if (write(ends_[1], &byte, 1) == 1 && read(ends_[0], address, 1) == 1) return true;
    EXPECT_EQ(read(ends_[0], &byte, 1), 1);
    return false;
  }

 private:
  int ends_[2];
};

bool IsZero(const char* start, size_t bytes) {
  return std::all_of(start, start + bytes, [](char c) { return c == 0; });
}

// Pages of the process that have memory of their own behind them.
size_t PagesInMemory(char* start, size_t bytes) {
  std::vector<unsigned char> in_core(bytes / kSmallestPage);
  EXPECT_EQ(mincore(start, bytes, in_core.data()), 0);
  return static_cast<size_t>(
      std::count_if(in_core.begin(), in_core.end(), [](unsigned char c) { return c & 1; }));
}

class LinuxKernelTest : public testing::Test {
 protected:
  static constexpr size_t kBytes = 64 * kSmallestPage;

  char* start() const { return reservation_.start(); }
  char* last() const { return reservation_.end() - 1; }

  LinuxKernel kernel_;
  Probe probe_;
  Reservation reservation_{kBytes};
};

TEST_F(LinuxKernelTest, ReservesAnywhere) {
  int error = -1;
  auto* place = static_cast<char*>(kernel_.Reserve(nullptr, kBytes, &error));
  ASSERT_NE(place, nullptr);
  EXPECT_EQ(error, 0);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(place) % kSmallestPage, 0u);
  EXPECT_FALSE(probe_.CanRead(place));
  EXPECT_FALSE(probe_.CanWrite(place + kBytes - 1));
  kernel_.Unreserve(place, kBytes);
}

TEST_F(LinuxKernelTest, ReservesWhereItIsAsked) {
  char* const place = Reservation::FreePlace(kBytes);
  int error = -1;
  ASSERT_EQ(kernel_.Reserve(place, kBytes, &error), place);
  EXPECT_EQ(error, 0);
  kernel_.Unreserve(place, kBytes);
}

TEST_F(LinuxKernelTest, NeverReservesWhatIsTaken) {
  ASSERT_EQ(kernel_.Commit(start(), kBytes), 0);
  std::memset(start(), 7, kBytes);
  // The same place, and one that overlaps its last page.
  for (char* place : {start(), reservation_.end() - kSmallestPage}) {
    int error = 0;
    EXPECT_EQ(kernel_.Reserve(place, kBytes, &error), nullptr);
    EXPECT_EQ(error, EEXIST);
  }
  EXPECT_EQ(std::count(start(), reservation_.end(), 7), static_cast<long>(kBytes));
}

TEST_F(LinuxKernelTest, SaysWhyItReservesNothing) {
  int error = 0;
  EXPECT_EQ(kernel_.Reserve(nullptr, size_t{1} << 62, &error), nullptr);
  EXPECT_EQ(error, ENOMEM);
  EXPECT_EQ(kernel_.Reserve(nullptr, 0, &error), nullptr);
  EXPECT_EQ(error, EINVAL);
}

TEST_F(LinuxKernelTest, UnreservedSpaceIsFreeAgain) {
  char* const place = Reservation::FreePlace(kBytes);
  int error = 0;
  ASSERT_EQ(kernel_.Reserve(place, kBytes, &error), place);
  kernel_.Unreserve(place, kBytes);
  ASSERT_EQ(kernel_.Reserve(place, kBytes, &error), place);
  // A part of it, too.
  kernel_.Unreserve(place + kBytes / 2, kBytes / 2);
  EXPECT_EQ(kernel_.Reserve(place + kBytes / 2, kBytes / 2, &error), place + kBytes / 2);
  kernel_.Unreserve(place, kBytes);
}

TEST_F(LinuxKernelTest, CommittedMemoryIsZeroAndCostsNothingUntilTouched) {
  ASSERT_EQ(kernel_.Commit(start(), kBytes / 2), 0);
  ASSERT_EQ(kernel_.Advise(start(), kBytes, Advice::kNoHugePages), 0);
  EXPECT_EQ(PagesInMemory(start(), kBytes / 2), 0u);
  EXPECT_TRUE(IsZero(start(), kBytes / 2));
  start()[0] = 1;
  start()[kBytes / 2 - 1] = 1;
  EXPECT_FALSE(probe_.CanRead(start() + kBytes / 2)) << "what was not committed";
  EXPECT_FALSE(probe_.CanWrite(last()));
}

TEST_F(LinuxKernelTest, CommitKeepsWhatIsThere) {
  ASSERT_EQ(kernel_.Commit(start(), kSmallestPage), 0);
  start()[5] = 9;
  ASSERT_EQ(kernel_.Commit(start(), kBytes), 0);
  EXPECT_EQ(start()[5], 9);
  *last() = 9;
}

TEST_F(LinuxKernelTest, ReleasedMemoryIsGoneAndReadsAsZero) {
  ASSERT_EQ(kernel_.Commit(start(), kBytes), 0);
  std::memset(start(), 0x5a, kBytes);
  EXPECT_EQ(PagesInMemory(start(), kBytes), kBytes / kSmallestPage);
  char* const middle = start() + kBytes / 4;
  ASSERT_EQ(kernel_.Release(middle, kBytes / 2), 0);
  EXPECT_EQ(PagesInMemory(middle, kBytes / 2), 0u);
  EXPECT_TRUE(IsZero(middle, kBytes / 2));
  EXPECT_EQ(middle[-1], 0x5a) << "the pages around it stay";
  EXPECT_EQ(middle[kBytes / 2], 0x5a);
  std::memset(middle, 1, kBytes / 2);  // usable without another commit
  ASSERT_EQ(kernel_.Release(start(), kBytes), 0);
  ASSERT_EQ(kernel_.Release(start(), kBytes), 0) << "a second time";
  EXPECT_TRUE(IsZero(start(), kBytes));
}

TEST_F(LinuxKernelTest, ReadableSpaceIsZeroAndNotWritable) {
  ASSERT_EQ(kernel_.MakeReadable(start(), kBytes), 0);
  EXPECT_TRUE(IsZero(start(), kBytes));
  EXPECT_FALSE(probe_.CanWrite(start()));
  EXPECT_FALSE(probe_.CanWrite(last()));
  ASSERT_EQ(kernel_.Commit(start(), kSmallestPage), 0);
  EXPECT_TRUE(probe_.CanWrite(start()));
  EXPECT_EQ(start()[0], 7);
  EXPECT_FALSE(probe_.CanWrite(last()));
}

// Memory behind the mapping that contains `address`, in KiB, as /proc tells; -1 if there is none.
long ResidentKib(const void* address) {
  std::ifstream maps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    unsigned long start = 0, end = 0;
    long kib = 0;
    if (sscanf(line.c_str(), "%lx-%lx ", &start, &end) == 2) {
      inside = start <= reinterpret_cast<uintptr_t>(address) &&
               reinterpret_cast<uintptr_t>(address) < end;
    } else if (inside && sscanf(line.c_str(), "Rss: %ld kB", &kib) == 1) {
      return kib;
    }
  }
  return -1;
}

TEST_F(LinuxKernelTest, SpaceThatIsOnlyReadCostsNoMemory) {
  constexpr size_t kMany = 32 << 20;
  const Reservation many(kMany);
  ASSERT_EQ(kernel_.MakeReadable(many.start(), kMany), 0);
  // Where huge pages are always on, reading could bring in a huge page of zeros.
  ASSERT_EQ(kernel_.Advise(many.start(), kMany, Advice::kNoHugePages), 0);
  ASSERT_TRUE(IsZero(many.start(), kMany));
  EXPECT_EQ(ResidentKib(many.start()), 0);
}

TEST_F(LinuxKernelTest, RefusalsAreReturned) {
  int error = 0;
  char* const unmapped = Reservation::FreePlace(kBytes);
  EXPECT_EQ(kernel_.Commit(unmapped, kBytes), ENOMEM);
  EXPECT_EQ(kernel_.MakeReadable(unmapped, kBytes), ENOMEM);
  EXPECT_EQ(kernel_.Release(unmapped, kBytes), ENOMEM);
  EXPECT_EQ(kernel_.Advise(unmapped, kBytes, Advice::kNoHugePages), ENOMEM);
  EXPECT_EQ(kernel_.Commit(start() + 1, kBytes), EINVAL);
  EXPECT_EQ(kernel_.MakeReadable(start() + 1, kBytes), EINVAL);
  EXPECT_EQ(kernel_.Release(start() + 1, kSmallestPage), EINVAL);
  EXPECT_EQ(kernel_.Reserve(start() + 1, kBytes, &error), nullptr);
  EXPECT_NE(error, 0);
}

// Whatever the outcome, errno is the caller's.
TEST_F(LinuxKernelTest, KeepsErrno) {
  char* const unmapped = Reservation::FreePlace(kBytes);
  int error = 0;
  errno = EDOM;
  EXPECT_EQ(kernel_.Reserve(nullptr, size_t{1} << 62, &error), nullptr);
  EXPECT_EQ(errno, EDOM) << "Reserve";
  EXPECT_EQ(kernel_.Reserve(start(), kBytes, &error), nullptr);
  EXPECT_EQ(errno, EDOM) << "Reserve at a taken place";
  kernel_.Unreserve(unmapped + 1, kBytes);
  EXPECT_EQ(errno, EDOM) << "Unreserve";
  EXPECT_NE(kernel_.MakeReadable(unmapped, kBytes), 0);
  EXPECT_EQ(errno, EDOM) << "MakeReadable";
  EXPECT_NE(kernel_.Commit(unmapped, kBytes), 0);
  EXPECT_EQ(errno, EDOM) << "Commit";
  EXPECT_NE(kernel_.Release(unmapped, kBytes), 0);
  EXPECT_EQ(errno, EDOM) << "Release";
  EXPECT_NE(kernel_.Advise(unmapped, kBytes, Advice::kNoHugePages), 0);
  EXPECT_EQ(errno, EDOM) << "Advise";
  const NodeId node;
  EXPECT_NE(kernel_.SetPolicy(unmapped, kBytes, Policy::kBind, &node, 1), 0);
  EXPECT_EQ(errno, EDOM) << "SetPolicy";
  kernel_.FreeBytes(node);
  EXPECT_EQ(errno, EDOM) << "FreeBytes";
  kernel_.CurrentCpu();
  kernel_.CurrentNode();
  EXPECT_EQ(errno, EDOM) << "CurrentCpu and CurrentNode";
  kernel_.InterruptSequences({-1});
  kernel_.InterruptSequences({0});
  EXPECT_EQ(errno, EDOM) << "InterruptSequences";
  kernel_.RegisterForInterrupts();
  EXPECT_EQ(errno, EDOM) << "RegisterForInterrupts";
  kernel_.NowMs();
  EXPECT_EQ(errno, EDOM) << "NowMs";
}

// Ends the process, with status 0 when ulimit -d counts what is committed and nothing else.
[[noreturn]] void CommitBeyondTheLimit(LinuxKernel& kernel, const Reservation& reservation) {
  const rlimit limits = {1 << 20, 1 << 20};
  if (setrlimit(RLIMIT_DATA, &limits) != 0) _exit(2);
  const size_t bytes = static_cast<size_t>(reservation.end() - reservation.start());
  if (kernel.Commit(reservation.start(), bytes) != ENOMEM) _exit(3);
  _exit(kernel.MakeReadable(reservation.start(), bytes) == 0 ? 0 : 4);
}

TEST_F(LinuxKernelTest, AProcessOverItsLimitGetsNoMemory) {
  const Reservation many(64 << 20);
  EXPECT_EXIT(CommitBeyondTheLimit(kernel_, many), testing::ExitedWithCode(0), "");
}

TEST_F(LinuxKernelTest, TheClockIsMonotonic) {
  uint64_t previous = kernel_.NowMs();
  EXPECT_GT(previous, 0u);
  for (int i = 0; i < 10'000; ++i) {
    const uint64_t now = kernel_.NowMs();
    ASSERT_GE(now, previous);
    previous = now;
  }
  timespec exact;
  clock_gettime(CLOCK_MONOTONIC, &exact);
  const uint64_t exact_ms =
      static_cast<uint64_t>(exact.tv_sec) * 1000 + static_cast<uint64_t>(exact.tv_nsec) / 1'000'000;
  EXPECT_LE(previous, exact_ms) << "milliseconds of the same clock";
  EXPECT_LT(exact_ms - previous, 60'000u);
}

TEST_F(LinuxKernelTest, KnowsTheCpuThatRunsTheCaller) {
  cpu_set_t allowed;
  ASSERT_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0) continue;  // taken offline meanwhile
    EXPECT_EQ(kernel_.CurrentCpu(), CpuId{cpu});
    EXPECT_GE(kernel_.CurrentNode(), NodeId{0});
  }
  sched_setaffinity(0, sizeof allowed, &allowed);
}

TEST_F(LinuxKernelTest, InterruptsSequencesOrSaysWhyNot) {
  const auto is_documented = AnyOf(0, ENOSYS, EPERM, EINVAL);
  EXPECT_THAT(kernel_.InterruptSequences({0}), is_documented);
  const int registered = kernel_.RegisterForInterrupts();
  EXPECT_THAT(registered, is_documented);
  const int interrupted = kernel_.InterruptSequences(kernel_.CurrentCpu());
  EXPECT_THAT(interrupted, is_documented);
  EXPECT_TRUE(registered != 0 || interrupted == 0) << interrupted;
}

// ---- Placement ---------------------------------------------------------------------------------

struct PolicyCall {
  void* start = nullptr;
  size_t bytes = 0;
  Policy policy = Policy::kPreferred;
  const NodeId* nodes = nullptr;
  int count = 0;
};
PolicyCall policy_call;

constexpr PlacementCalls kFakePlacement = {
    .bind_range =
        [](void* start, size_t bytes, Policy policy, const NodeId* nodes, int count) {
          policy_call = {start, bytes, policy, nodes, count};
          return EPERM;
        },
    // As in a machine whose only node with memory is node 3.
    .free_bytes = [](NodeId node) { return node == NodeId{3} ? uint64_t{12345} : UINT64_MAX; },
    .page_nodes =
        [](const void* const*, size_t count, int* nodes) {
          nodes[0] = static_cast<int>(count);
          return 0;
        },
    .move_pages =
        [](const void* const*, size_t, NodeId node, int* nodes) {
          nodes[0] = node.value;
          return EPERM;
        },
    .mapped_bytes =
        [](const void*, size_t bytes, NodeId, uint64_t* there, uint64_t*) {
          *there += bytes;
          return 0;
        },
};

TEST_F(LinuxKernelTest, HasNoPlacementAtFirst) {
  const NodeId node;
  EXPECT_EQ(kernel_.SetPolicy(start(), kBytes, Policy::kPreferred, &node, 1), ENOSYS);
  EXPECT_EQ(kernel_.FreeBytes(node), UINT64_MAX);
  int answer = 0;
  uint64_t bytes = 0;
  const void* page = start();
  EXPECT_EQ(kernel_.PageNodes(&page, 1, &answer), ENOSYS);
  EXPECT_EQ(kernel_.MovePages(&page, 1, node, &answer), ENOSYS);
  EXPECT_EQ(kernel_.MappedBytes(start(), kBytes, node, &bytes, &bytes), ENOSYS);
}

TEST_F(LinuxKernelTest, PassesPlacementOn) {
  kernel_.UsePlacement(&kFakePlacement);
  const NodeId nodes[] = {{1}, {3}};
  EXPECT_EQ(kernel_.SetPolicy(start(), kBytes, Policy::kInterleave, nodes, 2), EPERM);
  EXPECT_EQ(policy_call.start, start());
  EXPECT_EQ(policy_call.bytes, kBytes);
  EXPECT_EQ(policy_call.policy, Policy::kInterleave);
  EXPECT_EQ(policy_call.nodes, nodes);
  EXPECT_EQ(policy_call.count, 2);
  EXPECT_EQ(kernel_.FreeBytes({3}), 12345u);
  EXPECT_EQ(kernel_.FreeBytes({1}), UINT64_MAX) << "nobody knows";
  int answer = 0;
  const void* pages[] = {start(), start()};
  EXPECT_EQ(kernel_.PageNodes(pages, 2, &answer), 0);
  EXPECT_EQ(answer, 2);
  EXPECT_EQ(kernel_.MovePages(pages, 2, {3}, &answer), EPERM);
  EXPECT_EQ(answer, 3);
  uint64_t there = 0, elsewhere = 0;
  EXPECT_EQ(kernel_.MappedBytes(start(), kBytes, {3}, &there, &elsewhere), 0);
  EXPECT_EQ(there, kBytes);
}

}  // namespace
}  // namespace numaheap
