// free/WHERE/SIZE: a thread frees 4,096 blocks in the order in which they were allocated: by itself
// (local), or by a thread on another CPU (remote). One item is one free.
// trip/WHERE/SIZE: the same, with the time that allocating took: who frees for others may leave the
// work to them.
//
// Blocks are written by who allocates them and checked by who frees them, outside of what is timed:
// a block that another CPU wrote has to be fetched under every allocator.
#include <benchmark/benchmark.h>
#include <time.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <string>
#include <thread>
#include <utility>

#include "bench/block.h"
#include "bench/two_cpus.h"

namespace numaheap::bench {
namespace {

constexpr size_t kBlocks = 4096;  // more than any of the caches in front of a heap keeps
constexpr int kRounds = 256;      // a million of each call

using Sizes = std::array<size_t, kBlocks>;

Sizes AllOf(size_t size) {
  Sizes sizes;
  sizes.fill(size);
  return sizes;
}

Sizes Mixed() {
  const MixedSizes mixed;
  Random random(4);
  Sizes sizes;
  for (size_t& size : sizes) size = mixed[random.Bits(MixedSizes::kBits)];
  return sizes;
}

// Of the calling thread on a CPU: what others do there meanwhile doesn't count.
double CpuSeconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

class Blocks {
 public:
  explicit Blocks(const Sizes& sizes) : sizes_(sizes) {}

  // Both return the seconds of CPU time that malloc or free took.
  double Allocate() {
    const double start = CpuSeconds();
    for (size_t i = 0; i < kBlocks; ++i) blocks_[i] = Opaque(std::malloc(sizes_[i]));
    const double seconds = CpuSeconds() - start;
    for (void* block : blocks_) Stamp(block);
    return seconds;
  }
  double Free() {
    for (void* block : blocks_) EraseStamp(block);
    const double start = CpuSeconds();
    for (void* block : blocks_) std::free(block);
    return CpuSeconds() - start;
  }

 private:
  const Sizes sizes_;
  std::array<void*, kBlocks> blocks_;
};

// Allocates blocks on the first of the allowed CPUs whenever it is asked to.
class Neighbour {
 public:
  Neighbour(Blocks& blocks, const cpu_set_t& allowed)
      : blocks_(blocks), allowed_(allowed), thread_([this] { Run(); }) {}
  ~Neighbour() {
    asked_.store(kEnd, std::memory_order_release);
    thread_.join();
  }

  double Allocate() {
    const uint64_t before = done_.load(std::memory_order_relaxed);
    asked_.store(before + 1, std::memory_order_release);
    AwaitChange(done_, before);
    return seconds_;
  }

 private:
  static constexpr uint64_t kEnd = ~uint64_t{0};

  void Run() {
    const PinnedToNth pin(0, allowed_);
    for (uint64_t asked = 0; (asked = AwaitChange(asked_, asked)) != kEnd;) {
      seconds_ = blocks_.Allocate();
      done_.store(asked, std::memory_order_release);
    }
  }

  Blocks& blocks_;
  const cpu_set_t allowed_;
  double seconds_ = 0;  // written before done_
  alignas(kCacheLine) std::atomic<uint64_t> asked_{0};
  alignas(kCacheLine) std::atomic<uint64_t> done_{0};
  std::thread thread_;
};

enum class Where { kLocal, kRemote };
enum class What { kFree, kTrip };

void Free(benchmark::State& state, What what, Where where, const Sizes& sizes) {
  const cpu_set_t allowed = AllowedCpus();
  if (CPU_COUNT(&allowed) < 2) {
    state.SkipWithError("needs two CPUs");
    return;
  }
  Blocks blocks(sizes);
  Neighbour neighbour(blocks, allowed);
  const PinnedToNth pin(1, allowed);
  for (auto _ : state) {
    const double allocating = where == Where::kLocal ? blocks.Allocate() : neighbour.Allocate();
    const double freeing = blocks.Free();
    state.SetIterationTime(freeing + (what == What::kTrip ? allocating : 0));
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kBlocks));
}

const struct Register {
  Register() {
    const std::pair<const char*, Sizes> all[] = {
        {"64", AllOf(64)}, {"256", AllOf(256)}, {"mixed", Mixed()}};
    for (const auto& [what, what_name] : {std::pair(What::kFree, "free"), {What::kTrip, "trip"}}) {
      for (const auto& [size, sizes] : all) {
        for (const auto& [where, where_name] :
             {std::pair(Where::kLocal, "local"), {Where::kRemote, "remote"}}) {
          benchmark::RegisterBenchmark(
              (std::string(what_name) + "/" + where_name + "/" + size).c_str(),
              [=](benchmark::State& state) { Free(state, what, where, sizes); })
              ->Iterations(kRounds)
              ->UseManualTime();
        }
      }
    }
  }
} registered;

}  // namespace
}  // namespace numaheap::bench
