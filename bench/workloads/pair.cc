// pair: a block is allocated and freed at once. The least that an allocator can do.
#include "bench/workloads/block.h"
#include "bench/workloads/workloads.h"

namespace numaheap::workloads {

void Pair(const Parameters& parameters) {
  const size_t size = parameters["size"];
  for (uint64_t left = parameters["pairs"]; left > 0; --left) Free(Allocate(size));
}

}  // namespace numaheap::workloads
