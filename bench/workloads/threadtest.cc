// threadtest: each thread allocates its share of 100,000 small objects, frees them, and does so
// again. Nothing is shared but the allocator. After Berger, McKinley, Blumofe and Wilson, "Hoard: a
// scalable memory allocator for multithreaded applications", ASPLOS 2000.
#include "bench/workloads/block.h"
#include "bench/workloads/threads.h"
#include "bench/workloads/workloads.h"

namespace numaheap::workloads {

void Threadtest(const Parameters& parameters) {
  const size_t threads = parameters["threads"];
  const size_t size = parameters["size"];
  const uint64_t iterations = parameters["iterations"];
  const size_t objects = parameters["objects"] / threads;
  RunThreads(threads, [=](size_t) {
    std::vector<Block> blocks(objects);
    for (uint64_t left = iterations; left > 0; --left) {
      for (Block& block : blocks) block = Allocate(size);
      for (const Block& block : blocks) Free(block);
    }
  });
}

}  // namespace numaheap::workloads
