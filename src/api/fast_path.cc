#include "src/api/fast_path.h"

#include "src/os/rseq.h"

namespace numaheap {
namespace {

// What every CPU number of the made-up area leads to, -1 and -2.
constinit CpuSlab no_slab;
constinit CpuSlab* const no_slabs[2] = {&no_slab, &no_slab};

}  // namespace

// On a cache line of its own: everybody reads it.
alignas(64) constinit FastPath fast_path{0, no_slabs + 2};

// The offset of a thread-local variable is known once the loader has placed this library, and
// malloc may be called before any constructor of ours has run. What runs in between is the resolver
// of an indirect function: the loader calls it while it relocates the library. So the fast path
// needs no test of whether it may be used.
extern "C" {

[[gnu::visibility("hidden")]] void numaheap_relocated() {}

[[gnu::visibility("hidden")]] void (*numaheap_relocate())() {
  fast_path.rseq_offset.store(FakeRseqOffset(), std::memory_order_relaxed);
  return numaheap_relocated;
}

[[gnu::ifunc("numaheap_relocate"), gnu::visibility("hidden")]] void numaheap_relocating();
}

// An address that has to be resolved.
[[gnu::used]] static void (*const relocating)() = numaheap_relocating;

}  // namespace numaheap
