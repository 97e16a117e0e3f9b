// short-threads: a thread per request, as simple servers have it. Each allocates blocks of 16 to
// 1,024 bytes, frees half of them and ends; the other half is freed by who started it. Two at a
// time.
#include "bench/workloads/block.h"
#include "bench/workloads/random.h"
#include "bench/workloads/threads.h"
#include "bench/workloads/workloads.h"

namespace numaheap::workloads {

void ShortThreads(const Parameters& parameters) {
  constexpr size_t kAtATime = 2;
  const size_t count = parameters["blocks"];
  std::vector<std::vector<Block>> blocks(kAtATime, std::vector<Block>(count));
  for (uint64_t begun = 0; begun < parameters["threads"]; begun += kAtATime) {
    RunThreads(kAtATime, [&](size_t index) {
      Random random(begun + index);
      for (Block& block : blocks[index]) block = Allocate(random.Size(16, 1024));
      for (size_t i = 0; i < count; i += 2) Free(blocks[index][i]);
    });
    for (const std::vector<Block>& left : blocks) {
      for (size_t i = 1; i < count; i += 2) Free(left[i]);
    }
  }
}

}  // namespace numaheap::workloads
