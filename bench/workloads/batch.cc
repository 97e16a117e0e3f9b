// batch: blocks of 16 to 1,024 bytes are all allocated, then all freed: the last first (lifo), the
// first first (fifo), or in random order.
#include <numeric>

#include "bench/workloads/block.h"
#include "bench/workloads/random.h"
#include "bench/workloads/workloads.h"

namespace numaheap::workloads {
namespace {

constexpr size_t kPlans = 16;  // variety for the branch predictor

// The sizes of a batch, and who is freed when.
struct Plan {
  std::vector<size_t> sizes;
  std::vector<size_t> freed;
};

std::vector<Plan> MakePlans(size_t blocks, const std::string& order) {
  Random random(1);
  std::vector<Plan> plans(kPlans);
  for (Plan& plan : plans) {
    for (size_t i = 0; i < blocks; ++i) plan.sizes.push_back(random.Size(16, 1024));
    plan.freed.resize(blocks);
    if (order == "lifo") {
      std::iota(plan.freed.rbegin(), plan.freed.rend(), 0);
    } else {
      std::iota(plan.freed.begin(), plan.freed.end(), 0);
      if (order == "random") random.Shuffle(plan.freed);
    }
  }
  return plans;
}

}  // namespace

void Batch(const Parameters& parameters) {
  const std::string& order = parameters.Text("order");
  Check(order == "lifo" || order == "fifo" || order == "random", "order: lifo, fifo or random");
  const size_t count = parameters["blocks"];
  const std::vector<Plan> plans = MakePlans(count, order);
  std::vector<Block> blocks(count);
  for (uint64_t left = parameters["batches"]; left > 0; --left) {
    const Plan& plan = plans[left % kPlans];
    for (size_t i = 0; i < count; ++i) blocks[i] = Allocate(plan.sizes[i]);
    for (const size_t i : plan.freed) Free(blocks[i]);
  }
}

}  // namespace numaheap::workloads
