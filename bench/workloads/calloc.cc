// calloc: blocks of one size, each found to be zero and then written to, while others live. An
// allocator that knows fresh memory of the kernel need not clear it.
#include "bench/workloads/block.h"
#include "bench/workloads/random.h"
#include "bench/workloads/workloads.h"

namespace numaheap::workloads {
namespace {

constexpr size_t kCacheLine = 64;

// Small blocks are read in full, others once per cache line and at their end.
void CheckZero(const char* data, size_t size) {
  const size_t step = size <= 1024 ? kWord : kCacheLine;
  uint64_t seen = 0;
  for (size_t offset = 0; offset + kWord <= size; offset += step) {
    uint64_t word;
    std::memcpy(&word, data + offset, kWord);
    seen |= word;
  }
  for (size_t offset = size - kWord; offset < size; ++offset) seen |= data[offset] != 0;
  Check(seen == 0, "calloc gave a block that isn't zero");
}

}  // namespace

void Calloc(const Parameters& parameters) {
  const size_t size = parameters["size"];
  std::vector<Block> blocks(parameters["live"]);
  Random random(1);
  for (uint64_t left = parameters["operations"]; left > 0; --left) {
    Block& block = blocks[random.Below(blocks.size())];
    Free(block);
    void* data = std::calloc(1, size);
    Check(data != nullptr, "out of memory");
    CheckZero(static_cast<char*>(data), size);
    block = Written(data, size);
  }
  for (const Block& block : blocks) Free(block);
}

}  // namespace numaheap::workloads
