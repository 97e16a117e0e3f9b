// pair/SIZE: malloc and free of one block at a time, the shortest way through an allocator. The
// block is not touched: that would cost as much as the allocator does.
//
// Another block of that size stays alive, as in any real program. Without it mimalloc retires the
// page that becomes empty with each free: 116 instead of 54 instructions for a pair of 64 bytes.
#include <benchmark/benchmark.h>

#include <cstdlib>

#include "bench/block.h"

namespace numaheap::bench {
namespace {

void Pair(benchmark::State& state) {
  const auto size = static_cast<size_t>(state.range(0));
  void* neighbour = Opaque(std::malloc(size));
  for (auto _ : state) {
    std::free(Opaque(std::malloc(size)));
  }
  std::free(neighbour);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(Pair)->Name("pair")->Arg(16)->Arg(64)->Arg(256)->Arg(1024)->MeasureProcessCPUTime();

}  // namespace
}  // namespace numaheap::bench
