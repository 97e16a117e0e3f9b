// handoff: a producer allocates and writes blocks of mixed sizes, a consumer on another CPU checks
// and frees them, with a bounded ring between the two. Every block is freed by a thread that didn't
// allocate it. Items per second of real time.
#include <benchmark/benchmark.h>

#include <array>
#include <atomic>
#include <cstdlib>

#include "bench/block.h"
#include "bench/two_cpus.h"

namespace numaheap::bench {
namespace {

// A bounded queue of pointers between one pushing and one popping thread. Each side keeps a stale
// copy of the other's count, so the counts change hands once per lap and not once per pointer.
class PointerRing {
 public:
  void Push(void* block) {
    if (pushed_here_ - popped_seen_ == kSlots) {
      popped_seen_ = AwaitChange(popped_, pushed_here_ - kSlots);
    }
    slots_[pushed_here_ % kSlots] = block;
    pushed_.store(++pushed_here_, std::memory_order_release);
  }

  void* Pop() {
    if (pushed_seen_ == popped_here_) pushed_seen_ = AwaitChange(pushed_, popped_here_);
    void* block = slots_[popped_here_ % kSlots];
    popped_.store(++popped_here_, std::memory_order_release);
    return block;
  }

 private:
  static constexpr size_t kSlots = 1024;

  // The producer's line, the consumer's line, and the pointers.
  alignas(kCacheLine) std::atomic<uint64_t> pushed_{0};
  uint64_t pushed_here_ = 0;
  uint64_t popped_seen_ = 0;
  alignas(kCacheLine) std::atomic<uint64_t> popped_{0};
  uint64_t popped_here_ = 0;
  uint64_t pushed_seen_ = 0;
  alignas(kCacheLine) std::array<void*, kSlots> slots_{};
};

PointerRing ring;

// Both threads make the same number of iterations, so the ring is empty when they are done.
void Produce(benchmark::State& state) {
  const MixedSizes sizes;
  Random random(3);
  for (auto _ : state) {
    void* block = Opaque(std::malloc(sizes[random.Bits(MixedSizes::kBits)]));
    Stamp(block);
    ring.Push(block);
  }
  state.SetItemsProcessed(state.iterations());
}

void Consume(benchmark::State& state) {
  for (auto _ : state) {
    void* block = ring.Pop();
    EraseStamp(block);
    std::free(block);
  }
}

void Handoff(benchmark::State& state) {
  const cpu_set_t allowed = AllowedCpus();
  if (CPU_COUNT(&allowed) < state.threads()) {
    state.SkipWithError("needs two CPUs");
    return;
  }
  const PinnedToNth pin(state.thread_index(), allowed);
  if (state.thread_index() == 0) {
    Produce(state);
  } else {
    Consume(state);
  }
}
BENCHMARK(Handoff)->Name("handoff")->Threads(2)->UseRealTime();

}  // namespace
}  // namespace numaheap::bench
