// ring: a random one of many live blocks of 16 to 1,024 bytes is freed and another allocated in its
// place. With many of them most of the time is spent waiting for memory.
#include "bench/workloads/block.h"
#include "bench/workloads/random.h"
#include "bench/workloads/workloads.h"

namespace numaheap::workloads {

void Ring(const Parameters& parameters) {
  std::vector<Block> blocks(parameters["live"]);
  Random random(1);
  for (Block& block : blocks) block = Allocate(random.Size(16, 1024));
  for (uint64_t left = parameters["operations"]; left > 0; --left) {
    Block& block = blocks[random.Below(blocks.size())];
    Free(block);
    block = Allocate(random.Size(16, 1024));
  }
  for (const Block& block : blocks) Free(block);
}

}  // namespace numaheap::workloads
