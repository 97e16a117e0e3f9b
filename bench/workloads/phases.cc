// phases: a long run in phases, with new threads in each. Most blocks are small and are freed soon
// by the thread that allocated them; some go into a table that all threads share, where any of
// them, in this phase or in a later one, frees them. After the behaviour of mstress, the stress
// test of mimalloc (Leijen, Zorn and de Moura, "Mimalloc: free list sharding in action", APLAS
// 2019, has the allocator).
#include <atomic>

#include "bench/workloads/block.h"
#include "bench/workloads/random.h"
#include "bench/workloads/threads.h"
#include "bench/workloads/workloads.h"

namespace numaheap::workloads {
namespace {

constexpr size_t kShared = 1000;
constexpr size_t kOwn = 2000;

// What a program asks for: small blocks, at times a buffer, rarely something large.
size_t MixedSize(Random& random) {
  const uint64_t lot = random.Below(1000);
  if (lot < 970) return random.Size(16, 1024);
  if (lot < 999) return random.Size(1024, 32768);
  return random.Size(32768, 1048576);
}

// A block in one pointer, for the shared table: its size is in its second word.
void* Packed(size_t size) {
  const Block block = Allocate(size + 2 * kWord);
  std::memcpy(block.data + kWord, &block.size, kWord);
  return block.data;
}
void FreePacked(void* data) {
  if (data == nullptr) return;
  Block block{static_cast<char*>(data)};
  std::memcpy(&block.size, block.data + kWord, kWord);
  Free(block);
}

}  // namespace

void Phases(const Parameters& parameters) {
  const size_t threads = parameters["threads"];
  const uint64_t operations = parameters["operations"];
  std::vector<std::atomic<void*>> shared(kShared);
  // What each thread keeps passes to the one of the next phase that has its place.
  std::vector<std::vector<Block>> kept(threads, std::vector<Block>(kOwn));
  for (uint64_t phase = 0; phase < parameters["phases"]; ++phase) {
    RunThreads(threads, [&](size_t index) {
      Random random(phase * threads + index);
      std::vector<Block>& own = kept[index];
      for (uint64_t left = operations; left > 0; --left) {
        if (random.Chance(10)) {
          FreePacked(shared[random.Below(kShared)].exchange(Packed(MixedSize(random))));
        } else {
          Block& block = own[random.Below(kOwn)];
          Free(block);
          block = Allocate(MixedSize(random));
        }
      }
      // Every other phase ends with half of it freed: the program shrinks and grows again.
      if (phase % 2 == 1) {
        for (size_t i = 0; i < kOwn; i += 2) {
          Free(own[i]);
          own[i] = Block();
        }
      }
    });
  }
  for (std::atomic<void*>& packed : shared) FreePacked(packed);
  for (const std::vector<Block>& own : kept) {
    for (const Block& block : own) Free(block);
  }
}

}  // namespace numaheap::workloads
