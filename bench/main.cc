// malloc_bench: Google Benchmark's main, which also says whose malloc it measured. bench/compare
// reads that from the JSON context: a preload that failed would look like a very fast allocator
// otherwise, or like glibc.
#include <benchmark/benchmark.h>
#include <dlfcn.h>

#include <string>

#include "src/api/numaheap.h"

namespace {

const char* CacheModeName(uint32_t mode) {
  switch (mode) {
    case NUMAHEAP_CACHE_BOOT:
      return "boot";
    case NUMAHEAP_CACHE_RSEQ:
      return "rseq";
    case NUMAHEAP_CACHE_LOCKED:
      return "locked";
    default:
      return "unknown";
  }
}

// The function of that name in whatever is loaded; null when there is none.
template <typename Function>
Function* Find(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

void DescribeAllocator() {
  Dl_info library;
  if (dladdr(dlsym(RTLD_DEFAULT, "malloc"), &library) != 0) {
    benchmark::AddCustomContext("malloc", library.dli_fname);
  }
  if (auto* version = Find<decltype(numaheap_version)>("numaheap_version")) {
    benchmark::AddCustomContext("numaheap_version", version());
  }
  if (auto* take_snapshot = Find<decltype(numaheap_snapshot)>("numaheap_snapshot")) {
    numaheap_snapshot_t snapshot{};
    snapshot.version = NUMAHEAP_SNAPSHOT_VERSION;
    if (take_snapshot(&snapshot) != 0) return;
    benchmark::AddCustomContext("numaheap_cache_mode", CacheModeName(snapshot.cache_mode));
    benchmark::AddCustomContext("numaheap_heaps", std::to_string(snapshot.node_count));
  }
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  DescribeAllocator();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
