// How the Allocator samples allocations: which ones, with which stack, and where the profile goes.
#include <errno.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>

#include <algorithm>

#include "src/api/allocator.h"
#include "src/base/message.h"
#include "src/os/plugin.h"

namespace numaheap {
namespace {

constexpr char kPlugin[] = "libnumaheap-profile.so";

// Frames between what is marked as the entry and the program: one of ours, or none.
constexpr int kOwnFrames = 4;

[[gnu::tls_model("initial-exec")]] constinit thread_local Sampler thread_sampler;
// Recording may allocate one day; that is no sample.
[[gnu::tls_model("initial-exec")]] constinit thread_local bool is_recording = false;

uint64_t Seed() {
  uint64_t seed = 0;
  if (const auto* bytes = reinterpret_cast<const void*>(getauxval(AT_RANDOM))) {
    memcpy(&seed, bytes, sizeof seed);
  }
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  seed ^= static_cast<uint64_t>(now.tv_nsec) << 32 ^ static_cast<uint64_t>(now.tv_sec);
  return (seed ^ reinterpret_cast<uintptr_t>(&thread_sampler)) | 1;
}

}  // namespace

void Allocator::OpenProfile() {
  if (settings_.profile_sample_interval == 0) return;
  Message reason;
  reason << "numaheap: profile.sample_interval: ";
  void* trace = OpenPlugin(kPlugin, "numaheap_profile_trace", &reason);
  void* write = trace == nullptr ? nullptr : OpenPlugin(kPlugin, "numaheap_profile_write", &reason);
  if (write == nullptr) {
    reason << "; no allocation is recorded";
    reason.WriteTo(2);
    return;
  }
  profile_trace_ = reinterpret_cast<numaheap_profile_trace_t>(trace);
  profile_write_ = reinterpret_cast<numaheap_profile_write_t>(write);
  LockHolder holder(start_lock_);
  sample_interval_.store(static_cast<size_t>(settings_.profile_sample_interval),
                         std::memory_order_release);
  ChooseFastPath();
}

bool Allocator::TakeSample(size_t size, size_t interval) {
  if (is_recording) return false;
  if (!thread_sampler.has_begun()) thread_sampler.Begin(Seed(), interval);
  return thread_sampler.Take(size, interval);
}

void* Allocator::AllocateSampled(size_t size, size_t alignment, bool* zeroed,
                                 const Caller& caller) {
  void* block = AllocateLarge(std::max<size_t>(size, 1), alignment, zeroed);
  if (block != nullptr) RecordSample(block, size, caller);
  return block;
}

void* Allocator::AllocateSampledOn(NodeHeap& heap, size_t size, const Caller& caller) {
  bool zeroed;
  void* block = AllocateLargeOn(heap, std::max<size_t>(size, 1), 1, &zeroed);
  if (block != nullptr) RecordSample(block, size, caller);
  return block;
}

void Allocator::RecordSample(void* block, size_t size, const Caller& caller) {
  is_recording = true;
  void* frames[kMaxStackDepth + 16];
  const int found = profile_trace_(frames, static_cast<int>(std::size(frames)));
  void** const end = frames + std::max(found, 0);
  // Up to `entry` all is ours. What comes next may be, too: the function of the malloc family that
  // was called, if it has a frame.
  void** stack = std::find(frames, end, caller.entry);
  stack = stack == end ? end : stack + 1;
  void** const near = std::min(end, stack + kOwnFrames);
  if (void** program = std::find(stack, near, caller.program); program != near) {
    stack = program;
  } else {
    // Then that function has none, and the frame next to `entry` is all there is of it.
    if (stack == end) --stack;
    if (stack < frames) stack = frames;
    *stack = const_cast<void*>(caller.program);
  }
  const int depth = std::min(std::max(static_cast<int>(end - stack), 1), kMaxStackDepth);

  NodeHeap& home = *heaps_.HomeOf(block);
  const SampleWeight weight = WeightOf(size, sample_interval_.load(std::memory_order_relaxed));
  if (ProfileBucket* bucket = home.profile().Allocated(stack, depth, weight)) {
    Special special;
    special.block = block;
    special.kind = SpecialKind::kProfile;
    special.profile = {bucket, size};
    Span* span = home.Find(block).span;
    if (home.specials().Add(span, special) != Specials::Added::kDone) ForgetSample(home, special);
  }
  is_recording = false;
}

void Allocator::ForgetSample(NodeHeap& home, const Special& special) {
  home.profile().Freed(
      special.profile.bucket,
      WeightOf(special.profile.bytes, sample_interval_.load(std::memory_order_relaxed)));
}

int Allocator::DumpProfile(int fd) {
  if (sample_interval_.load(std::memory_order_acquire) == 0) return ENODATA;
  using Visit = void (*)(void*, const numaheap_profile_sample*);
  numaheap_profile_source source;
  source.sample_interval = settings_.profile_sample_interval;
  source.for_each = [](Visit visit, void* context) {
    allocator.heaps_.ForEach([=](NodeHeap& heap) {
      heap.profile().ForEach(
          [&](void* const* stack, int depth, SampleWeight total, SampleWeight live) {
            constexpr int64_t kHalf = SampleWeight::kUnit / 2;
            const numaheap_profile_sample sample = {heap.node().value,
                                                    stack,
                                                    depth,
                                                    (total.objects + kHalf) / SampleWeight::kUnit,
                                                    total.bytes,
                                                    (live.objects + kHalf) / SampleWeight::kUnit,
                                                    live.bytes};
            visit(context, &sample);
          });
    });
  };
  return profile_write_(fd, &source);
}

}  // namespace numaheap
