// bursts: a burst of blocks of 16 to 32,768 bytes is allocated and freed in random order, and
// nothing happens for a few milliseconds. The time includes the idle phases.
#include <time.h>

#include "bench/workloads/block.h"
#include "bench/workloads/random.h"
#include "bench/workloads/workloads.h"

namespace numaheap::workloads {

void Bursts(const Parameters& parameters) {
  const size_t bytes = parameters["bytes"];
  const timespec idle{0, static_cast<long>(parameters["idle_ms"] * 1000000)};
  Random random(1);
  std::vector<Block> blocks;
  for (uint64_t left = parameters["bursts"]; left > 0; --left) {
    for (size_t allocated = 0; allocated < bytes; allocated += blocks.back().size) {
      blocks.push_back(Allocate(random.Size(16, 32768)));
    }
    random.Shuffle(blocks);
    for (const Block& block : blocks) Free(block);
    blocks.clear();
    nanosleep(&idle, nullptr);
  }
}

}  // namespace numaheap::workloads
