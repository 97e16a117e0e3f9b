// large: a random one of few live blocks of 64 KiB to 64 MiB is freed and another allocated in its
// place, and a word in each of its pages written. Page faults and system calls decide.
#include "bench/workloads/block.h"
#include "bench/workloads/random.h"
#include "bench/workloads/workloads.h"

namespace numaheap::workloads {

void Large(const Parameters& parameters) {
  const size_t smallest = parameters["smallest"];
  const size_t largest = parameters["largest"];
  std::vector<Block> blocks(parameters["live"]);
  Random random(1);
  for (uint64_t left = parameters["operations"]; left > 0; --left) {
    Block& block = blocks[random.Below(blocks.size())];
    Free(block);
    block = Allocate(random.Size(smallest, largest));
  }
  for (const Block& block : blocks) Free(block);
}

}  // namespace numaheap::workloads
