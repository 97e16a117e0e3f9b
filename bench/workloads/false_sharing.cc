// cache-thrash and cache-scratch: does the allocator put objects of two threads into one cache
// line? Each thread allocates an object, writes to it many times, frees it, and again. In
// cache-scratch it first gets one that the main thread allocated beside the others', and frees
// that: an allocator that hands the place out to the thread again has kept the line shared. After
// Berger, McKinley, Blumofe and Wilson, "Hoard: a scalable memory allocator for multithreaded
// applications", ASPLOS 2000.
#include "bench/workloads/block.h"
#include "bench/workloads/threads.h"
#include "bench/workloads/workloads.h"

namespace numaheap::workloads {
namespace {

// Each write is made, and made to memory. The last of them is the pattern that Free() looks for.
void WriteOften(const Block& block, uint64_t writes) {
  auto* word = reinterpret_cast<volatile uint64_t*>(block.data);
  const uint64_t pattern = *word;
  for (; writes > 0; --writes) *word = pattern + writes - 1;
}

void Thrash(const Parameters& parameters, const std::vector<Block>& given) {
  const size_t size = parameters["size"];
  const uint64_t writes = parameters["writes"];
  const uint64_t iterations = parameters["iterations"];
  RunThreads(given.size(), [&](size_t index) {
    Free(given[index]);
    for (uint64_t left = iterations; left > 0; --left) {
      const Block block = Allocate(size);
      WriteOften(block, writes);
      Free(block);
    }
  });
}

}  // namespace

void CacheThrash(const Parameters& parameters) {
  Thrash(parameters, std::vector<Block>(parameters["threads"]));
}

void CacheScratch(const Parameters& parameters) {
  std::vector<Block> given(parameters["threads"]);
  for (Block& block : given) block = Allocate(parameters["size"]);
  Thrash(parameters, given);
}

}  // namespace numaheap::workloads
