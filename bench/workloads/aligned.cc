// aligned: posix_memalign with 64 to 4,096 bytes, of blocks of 16 to 4,096 bytes, among many that
// live.
#include "bench/workloads/block.h"
#include "bench/workloads/random.h"
#include "bench/workloads/workloads.h"

namespace numaheap::workloads {

void Aligned(const Parameters& parameters) {
  std::vector<Block> blocks(parameters["live"]);
  Random random(1);
  for (uint64_t left = parameters["operations"]; left > 0; --left) {
    Block& block = blocks[random.Below(blocks.size())];
    Free(block);
    const size_t alignment = size_t{64} << random.Below(7);
    const size_t size = random.Size(16, 4096);
    void* data = nullptr;
    Check(posix_memalign(&data, alignment, size) == 0, "out of memory");
    Check(reinterpret_cast<uintptr_t>(data) % alignment == 0, "a block isn't aligned");
    block = Written(data, size);
  }
  for (const Block& block : blocks) Free(block);
}

}  // namespace numaheap::workloads
