#include "bench/numasim/workloads/workload.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "bench/numasim/workloads/nodes.h"
#include "bench/numasim/workloads/process.h"
#include "bench/numasim/workloads/say.h"

// The linker's names for the ends of that section.
extern "C" const char __start_shared_code[], __stop_shared_code[];

namespace numasim {
namespace {

struct Memory {
  const char* region;
  char* begin;
  char* end;
};
Memory memories[256];
size_t memory_count = 0;
pthread_mutex_t memories_mutex = PTHREAD_MUTEX_INITIALIZER;

struct Entry {
  const char* name;
  void (*run)(const Workload&);
};
constexpr Entry kWorkloads[] = {
    {"pinned", RunPinned},   {"moved", RunMoved},   {"freed-across", RunFreedAcross},
    {"handoff", RunHandoff}, {"server", RunServer}, {"known", RunKnown},
};

}  // namespace

void* ProgramMemory(size_t bytes, const char* region) {
  // Shared, so that the kernel never makes one mapping of this and the allocator's next to it.
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pthread_mutex_lock(&memories_mutex);
  if (memory == MAP_FAILED || memory_count == std::size(memories)) std::abort();
  memories[memory_count++] = {region, static_cast<char*>(memory),
                              static_cast<char*>(memory) + bytes};
  pthread_mutex_unlock(&memories_mutex);
  return memory;
}

void StartCounting(const Workload& workload) {
  DeclareProcess(getpid(), workload.library);
  for (size_t i = 0; i < memory_count; ++i) {
    DeclareRegion(memories[i].region, memories[i].begin, memories[i].end);
  }
  DeclareRegion("shared-code", __start_shared_code, __stop_shared_code);
  StartCounting(workload.allocator, workload.name);
}

void RunThreads(size_t count, const std::function<void(size_t)>& body) {
  std::vector<std::thread> threads;
  for (size_t i = 0; i < count; ++i) threads.emplace_back(body, i);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace numasim

int main(int argc, char** argv) {
  using namespace numasim;
  const std::vector<std::vector<int>> nodes = FindNodes();
  if (nodes.size() < 2) {
    std::fprintf(stderr, "workload: needs two NUMA nodes with CPUs\n");
    return 2;
  }
  for (const Entry& entry : kWorkloads) {
    if (argc != 5 || std::strcmp(argv[1], entry.name) != 0) continue;
    Say("forget");
    entry.run({argv[1], argv[2], argv[3], std::atof(argv[4]), nodes});
    return 0;
  }
  std::fprintf(stderr, "usage: workload NAME ALLOCATOR LIBRARY SCALE\nNAME:");
  for (const Entry& entry : kWorkloads) std::fprintf(stderr, " %s", entry.name);
  std::fprintf(stderr, "\n");
  return 2;
}
