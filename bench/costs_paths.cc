// costs_paths PATH SIZE COUNT: each path of malloc and free, a known number of times, for callgrind
// to count. bench/costs says with --zero-before and --dump-before that what counts begins with each
// function named Measured… and ends with EndOfMeasure. For each of them it prints how many blocks
// came into the CPU's cache or went out of it in batches.
//
// Valgrind has no restartable sequences. So that their mode can be counted nevertheless, this
// program makes up the area that glibc would have registered, with the CPU that it pins itself to:
// one thread that nobody interrupts needs no kernel for it. Natively it refuses to run.
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "bench/block.h"
#include "src/api/allocator.h"
#include "src/heap/size_map.h"
#include "src/os/rseq.h"

extern "C" {
[[gnu::weak]] extern const unsigned int __rseq_size;
}

namespace {

thread_local numaheap::RseqArea nowhere = {0, -1, 0};
thread_local numaheap::RseqArea here = {0, -1, 0};

char* ThreadPointer() {
  char* pointer;
  asm("movq %%fs:0, %0" : "=r"(pointer));
  return pointer;
}

}  // namespace

// In place of src/os/rseq.cc, which the linker then leaves in its archive.
namespace numaheap {

ptrdiff_t FakeRseqOffset() {
  return reinterpret_cast<char*>(&nowhere) - ThreadPointer();
}

ptrdiff_t RegisteredRseqOffset() {
  here.cpu_id = sched_getcpu();
  return reinterpret_cast<char*>(&here) - ThreadPointer();
}

}  // namespace numaheap

// glibc's reads the area, too.
extern "C" int sched_getcpu() noexcept {
  if (here.cpu_id >= 0) [[likely]]
    return here.cpu_id;
  unsigned cpu = 0;
  syscall(SYS_getcpu, &cpu, nullptr, nullptr);
  return static_cast<int>(cpu);
}

namespace numaheap {
namespace {

constexpr int kMost = 40'000;
void* blocks[kMost];
int allowed[2];  // CPUs

[[gnu::noinline]] void EndOfMeasure() {
  asm volatile("");  // or calls of it are dropped
}

[[gnu::noinline]] void MeasuredAllocate(size_t size, int begin, int end) {
  for (int i = begin; i < end; ++i) blocks[i] = malloc(size);
  EndOfMeasure();
}

[[gnu::noinline]] void MeasuredFree(int begin, int end) {
  for (int i = begin; i < end; ++i) free(blocks[i]);
  EndOfMeasure();
}

[[gnu::noinline]] void MeasuredPairs(size_t size, int count) {
  for (int i = 0; i < count; ++i) free(bench::Opaque(malloc(size)));
  EndOfMeasure();
}

// Bytes that lie in CPU caches.
int64_t CachedBytes() {
  int64_t bytes = 0;
  allocator.ForEachNodeSnapshot([&bytes](const numaheap_node_snapshot_t& node) {
    bytes += static_cast<int64_t>(node.cached_bytes) -
             static_cast<int64_t>(allocator.HeapOnNode({node.node})->TransferCachedBytes());
  });
  return bytes;
}

// What measures allocate and free, and what they moved.
class Measures {
 public:
  void Allocate(size_t size, int begin, int end) {
    const int64_t before = CachedBytes();
    MeasuredAllocate(size, begin, end);
    Add(end - begin + (CachedBytes() - before) / BlockBytes(size));
  }
  void Free(size_t size, int begin, int end) {
    const int64_t before = CachedBytes();
    MeasuredFree(begin, end);
    Add(end - begin - (CachedBytes() - before) / BlockBytes(size));
  }
  void Pairs(size_t size, int count) {
    MeasuredPairs(size, count);
    Add(0);
  }
  void Print() const {
    for (int i = 0; i < count_; ++i) std::printf("%lld\n", static_cast<long long>(moved_[i]));
  }

 private:
  static int64_t BlockBytes(size_t size) {
    return size > kMaxSmallSize ? static_cast<int64_t>(size)
                                : kSizeMap[kSizeMap.ClassOf(size)].size;
  }
  void Add(int64_t moved) { moved_[count_++] = moved; }

  int64_t moved_[8];
  int count_ = 0;
} measures;

void Allocate(size_t size, int begin, int end) {
  for (int i = begin; i < end; ++i) {
    blocks[i] = malloc(size);
    if (blocks[i] == nullptr) bench::DieOf("out of memory", nullptr);
  }
}

void Free(int begin, int end) {
  for (int i = begin; i < end; ++i) free(blocks[i]);
}

void Shuffle(int begin, int end) {
  bench::Random random(1);
  for (int i = end - 1; i > begin; --i) {
    std::swap(blocks[i], blocks[begin + random.Bits(32) % static_cast<unsigned>(i - begin + 1)]);
  }
}

void MoveTo(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) bench::DieOf("no such CPU", nullptr);
  here.cpu_id = cpu;
}

// Blocks that a transfer cache is sure to hold, and more than it can hold.
int FitsTransferCache(size_t size) {
  const int batch = kSizeMap[kSizeMap.ClassOf(size)].batch;
  return std::max(batch, std::min(16 * batch, static_cast<int>((128 << 10) / size)));
}
int FillsTransferCache(size_t size) {
  return 8 * FitsTransferCache(size);
}

// What the caches have, one block at a time.
void Pair(size_t size, int count) {
  for (int i = 0; i < 64; ++i) free(bench::Opaque(malloc(size)));
  measures.Pairs(size, count);
}

// From memory that was never used, and back to the page heap.
void Grow(size_t size, int count) {
  measures.Allocate(size, 0, count);
  measures.Free(size, 0, count);
}

// Through the transfer cache, which is there and empty.
void Transfer(size_t size, int) {
  const int count = FitsTransferCache(size);
  Allocate(size, 0, count);
  Free(0, count);
  numaheap_release_memory();
  Allocate(size, 0, count);
  measures.Free(size, 0, count);
  measures.Allocate(size, 0, count);
}

// Through spans whose other blocks stay in use.
void Spans(size_t size, int count, bool shuffled) {
  Allocate(size, 0, count);
  for (int i = 1; i < count; i += 2) free(blocks[i]);
  numaheap_release_memory();
  const int half = count / 2;
  measures.Allocate(size, 0, half);  // the blocks that stay are not freed any more
  if (shuffled) Shuffle(0, half);
  const int full = std::min(FillsTransferCache(size), half / 2);
  Free(0, full);
  measures.Free(size, full, half);
}

// Allocated by one node and freed by another: onto the remote stack, home when that is full, and
// swept by the refills of the home node.
void Remote(size_t size, int count) {
  constexpr int kFirst = 8, kOnStack = 48;  // together they fit, when each block takes one slot
  MoveTo(allowed[1]);
  free(bench::Opaque(malloc(size)));
  MoveTo(allowed[0]);
  Allocate(size, 0, count);
  MoveTo(allowed[1]);
  Free(0, kFirst);
  measures.Free(size, kFirst, kFirst + kOnStack);
  measures.Free(size, kFirst + kOnStack, count);
  MoveTo(allowed[0]);
  measures.Allocate(size, 0, count);
}

int Run(const char* path, size_t size, int count) {
  const auto is = [path](const char* name) { return std::strcmp(path, name) == 0; };
  if (is("pair")) {
    Pair(size, count);
  } else if (is("grow")) {
    Grow(size, count);
  } else if (is("transfer")) {
    Transfer(size, count);
  } else if (is("spans")) {
    Spans(size, count, false);
  } else if (is("shuffled")) {
    Spans(size, count, true);
  } else if (is("remote")) {
    Remote(size, count);
  } else {
    std::fprintf(stderr, "costs_paths: no path %s\n", path);
    return 2;
  }
  measures.Print();
  return 0;
}

}  // namespace
}  // namespace numaheap

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: costs_paths PATH SIZE COUNT\n");
    return 2;
  }
  if (&__rseq_size != nullptr && __rseq_size != 0) {
    std::fprintf(stderr, "costs_paths: its CPU numbers are made up; run it under valgrind\n");
    return 2;
  }
  cpu_set_t set;
  sched_getaffinity(0, sizeof set, &set);
  int found = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; ++cpu) {
    if (CPU_ISSET(cpu, &set)) numaheap::allowed[found++] = cpu;
  }
  if (found < 2) numaheap::allowed[1] = numaheap::allowed[0];
  numaheap::MoveTo(numaheap::allowed[0]);
  const int count = std::atoi(argv[3]);
  if (count < 128 || count > numaheap::kMost) {
    std::fprintf(stderr, "costs_paths: 128 to %d times\n", numaheap::kMost);
    return 2;
  }
  return numaheap::Run(argv[1], std::strtoul(argv[2], nullptr, 10), count);
}
