// workload NAME [PARAMETER=VALUE…]: runs one workload and says with its status whether the
// allocator did its work. `workload allocator` says which one that is.
#include <dlfcn.h>

#include <cstdio>
#include <cstring>

#include "bench/workloads/block.h"
#include "bench/workloads/workloads.h"
#include "src/api/numaheap.h"

namespace numaheap::workloads {
namespace {

struct Workload {
  const char* name;
  void (*run)(const Parameters&);
  const char* parameters;
};

constexpr Workload kWorkloads[] = {
    {"pair", Pair, "size=64 pairs=1000000"},
    {"batch", Batch, "order=lifo blocks=256 batches=1000"},
    {"ring", Ring, "live=4096 operations=1000000"},
    {"calloc", Calloc, "size=64 live=64 operations=100000"},
    {"realloc", Realloc, "growth=double buffers=4 largest=8388608 repeats=1"},
    {"large", Large, "smallest=65536 largest=67108864 live=8 operations=100"},
    {"aligned", Aligned, "live=1024 operations=100000"},
    {"bursts", Bursts, "bytes=33554432 bursts=4 idle_ms=5"},
    {"spawn", Spawn, "processes=100"},
    {"larson", Larson, "threads=2 blocks=5000 generations=10 replacements=50000"},
    {"xmalloc", Xmalloc, "producers=1 consumers=1 batch=120 batches=10000"},
    {"threadtest", Threadtest, "threads=2 objects=100000 size=8 iterations=10"},
    {"cache-scratch", CacheScratch, "threads=2 size=8 writes=1000 iterations=10000"},
    {"cache-thrash", CacheThrash, "threads=2 size=8 writes=1000 iterations=10000"},
    {"short-threads", ShortThreads, "threads=1000 blocks=100"},
    {"phases", Phases, "threads=2 phases=10 operations=20000"},
    {"requests", Requests, "threads=2 items=50000 requests=100000"},
};

// The function of that name in whatever is loaded; null when there is none.
template <typename Function>
Function* Find(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

const char* CacheMode(uint32_t mode) {
  switch (mode) {
    case NUMAHEAP_CACHE_RSEQ:
      return "rseq";
    case NUMAHEAP_CACHE_LOCKED:
      return "locked";
    default:
      return "unknown";
  }
}

int DescribeAllocator() {
  Dl_info library;
  if (dladdr(dlsym(RTLD_DEFAULT, "malloc"), &library) == 0) return 1;
  std::printf("malloc of %s", library.dli_fname);
  auto* version = Find<decltype(numaheap_version)>("numaheap_version");
  auto* take_snapshot = Find<decltype(numaheap_snapshot)>("numaheap_snapshot");
  numaheap_snapshot_t snapshot{};
  snapshot.version = NUMAHEAP_SNAPSHOT_VERSION;
  if (version != nullptr && take_snapshot != nullptr && take_snapshot(&snapshot) == 0) {
    std::printf(", version %s, cache mode %s, %u heaps", version(), CacheMode(snapshot.cache_mode),
                snapshot.node_count);
  }
  std::printf("\n");
  return 0;
}

int Usage() {
  std::fprintf(stderr, "workload allocator | NAME [PARAMETER=VALUE...], with these defaults:\n");
  for (const Workload& workload : kWorkloads) {
    std::fprintf(stderr, "  %s %s\n", workload.name, workload.parameters);
  }
  return 2;
}

int Main(int argc, char** argv) {
  if (argc < 2) return Usage();
  if (std::strcmp(argv[1], "allocator") == 0) return DescribeAllocator();
  for (const Workload& workload : kWorkloads) {
    if (std::strcmp(argv[1], workload.name) != 0) continue;
    workload.run(Parameters(workload.parameters, argc - 2, argv + 2));
    return 0;
  }
  return Usage();
}

}  // namespace
}  // namespace numaheap::workloads

int main(int argc, char** argv) {
  return numaheap::workloads::Main(argc, argv);
}
