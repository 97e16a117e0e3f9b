// batch/ORDER: 256 blocks of mixed sizes are allocated and then freed: the last first (lifo), the
// first first (fifo), or in random order. One item is one block: its malloc and its free.
#include <benchmark/benchmark.h>

#include <array>
#include <cstdlib>
#include <utility>
#include <vector>

#include "bench/block.h"

namespace numaheap::bench {
namespace {

constexpr size_t kBlocks = 256;
constexpr size_t kPlans = 16;  // variety for the branch predictor; 64 give the same times

enum class Order { kLifo, kFifo, kRandom };

// What one iteration does: the sizes in the order of allocation, and who is freed when.
struct Plan {
  std::array<uint16_t, kBlocks> sizes;
  std::array<uint8_t, kBlocks> freed;  // indices into `sizes`
};

std::vector<Plan> MakePlans(Order order) {
  const MixedSizes sizes;
  Random random(1);
  std::vector<Plan> plans(kPlans);
  for (Plan& plan : plans) {
    for (size_t i = 0; i < kBlocks; ++i) {
      plan.sizes[i] = static_cast<uint16_t>(sizes[random.Bits(MixedSizes::kBits)]);
      plan.freed[i] = static_cast<uint8_t>(order == Order::kLifo ? kBlocks - 1 - i : i);
    }
    if (order != Order::kRandom) continue;
    for (size_t i = kBlocks - 1; i > 0; --i) {
      std::swap(plan.freed[i], plan.freed[random.Bits(32) % (i + 1)]);
    }
  }
  return plans;
}

void Batch(benchmark::State& state, Order order) {
  const std::vector<Plan> plans = MakePlans(order);
  std::array<void*, kBlocks> blocks;
  size_t turn = 0;
  for (auto _ : state) {
    const Plan& plan = plans[turn++ % kPlans];
    for (size_t i = 0; i < kBlocks; ++i) {
      blocks[i] = Opaque(std::malloc(plan.sizes[i]));
      Stamp(blocks[i]);
    }
    for (const uint8_t i : plan.freed) {
      EraseStamp(blocks[i]);
      std::free(blocks[i]);
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kBlocks));
}
BENCHMARK_CAPTURE(Batch, lifo, Order::kLifo)->Name("batch/lifo")->MeasureProcessCPUTime();
BENCHMARK_CAPTURE(Batch, fifo, Order::kFifo)->Name("batch/fifo")->MeasureProcessCPUTime();
BENCHMARK_CAPTURE(Batch, random, Order::kRandom)->Name("batch/random")->MeasureProcessCPUTime();

}  // namespace
}  // namespace numaheap::bench
