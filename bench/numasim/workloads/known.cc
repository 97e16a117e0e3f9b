// known: accesses whose misses can be told beforehand, to test the simulator itself. An operation
// is a line read or written. For a cache of 512 KiB with 8 ways.
//
//   local, remote   a loop over 2 MiB that lie there: each line is a miss each time
//   cached          a loop over 32 KiB: none is, after the first time
//   invalidated     two CPUs of different nodes write the same 4,096 bytes in turn: each line is a
//                   miss each time

#include <unistd.h>

#include "bench/numasim/workloads/nodes.h"
#include "bench/numasim/workloads/process.h"
#include "bench/numasim/workloads/workload.h"

namespace numasim {
namespace {

constexpr size_t kLine = 64;
constexpr size_t kLarge = 2 << 20, kSmall = 32 << 10, kPage = 4096;
constexpr size_t kLoops = 10;

void ReadLines(const volatile char* memory, size_t bytes) {
  for (size_t i = 0; i < bytes; i += kLine) static_cast<void>(memory[i]);
}

void WriteLines(volatile char* memory, size_t bytes) {
  for (size_t i = 0; i < bytes; i += kLine) memory[i] = 1;
}

char* Map(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  return static_cast<char*>(memory);
}

}  // namespace

void RunKnown(const Workload& workload) {
  const int near = workload.nodes[0][0], far = workload.nodes[1][0];
  char* const large = Map(kLarge);
  char* const small = Map(kSmall);
  MoveTo(near);
  WriteLines(large, kLarge);
  WriteLines(small, kSmall);
  DeclareProcess(getpid(), workload.library);

  const auto measure = [&](const char* name, char* memory, size_t bytes) {
    ReadLines(memory, bytes);
    StartCounting("known", name);
    for (size_t i = 0; i < kLoops; ++i) ReadLines(memory, bytes);
    StopCounting(kLoops * bytes / kLine);
  };
  measure("local", large, kLarge);
  measure("cached", small, kSmall);
  MoveTo(far);
  measure("remote", large, kLarge);

  StartCounting("known", "invalidated");
  for (size_t i = 0; i < kLoops; ++i) {
    MoveTo(i % 2 == 0 ? near : far);
    WriteLines(small, kPage);
  }
  StopCounting(kLoops * kPage / kLine);
}

}  // namespace numasim
