// ring/4096: 4,096 live blocks; each step frees a random one and allocates another of random size
// in its place, so that neighbours in memory soon have nothing in common. One item is one step.
#include <benchmark/benchmark.h>

#include <array>
#include <cstdlib>

#include "bench/block.h"

namespace numaheap::bench {
namespace {

constexpr int kSlotBits = 12;
constexpr size_t kSlots = size_t{1} << kSlotBits;

void* AllocateStamped(size_t size) {
  void* block = Opaque(std::malloc(size));
  Stamp(block);
  return block;
}

void FreeChecked(void* block) {
  EraseStamp(block);
  std::free(block);
}

void Ring(benchmark::State& state) {
  static std::array<void*, kSlots> slots;
  const MixedSizes sizes;
  Random random(2);
  for (void*& slot : slots) slot = AllocateStamped(sizes[random.Bits(MixedSizes::kBits)]);
  for (auto _ : state) {
    const uint32_t number = random.Bits(kSlotBits + MixedSizes::kBits);
    void*& slot = slots[number >> MixedSizes::kBits];
    FreeChecked(slot);
    slot = AllocateStamped(sizes[number % (1U << MixedSizes::kBits)]);
  }
  for (void* block : slots) FreeChecked(block);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(Ring)->Name("ring/4096")->MeasureProcessCPUTime();

}  // namespace
}  // namespace numaheap::bench
