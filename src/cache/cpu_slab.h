// CpuSlab: one CPU's cache: a stack of free blocks per size class, in one piece of memory on the
// CPU's node, and a stack of blocks of other nodes that wait to be sent home.
//
//   heap_start, heap_bytes, page_classes | word[stack] ... | limits[stack] ... | slots ...
//
// word:   bits 0-15 the slot behind the top block, bits 16-63 how many blocks were popped; of the
//         remote stack, pushed. One store changes both, so they are counted exactly and cost
//         nothing extra.
// limits: the slots that a class may use, [begin, end), and the address bits that are zero in all
// of
//         its blocks. begin is fixed; end moves as capacity is dealt out. The slot before begin
//         belongs to nobody and stays null.
// Slots are numbered from the start of the slab, in units of a pointer. A slab of zeros is empty
// and full at once, so every operation on it takes the slow path.
//
// On the remote stack a slot stands for up to 1 KiB, so that large blocks don't pile up there:
// above a larger block, slots that hold null make up for the rest.
//
// In the rseq mode only threads on the CPU change word and slots, in restartable sequences
// (slab_ops.h); end grows under the owner's lock and shrinks in a sequence. In the locked mode all
// is done under that lock. Words may be read by anybody.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "src/base/ids.h"
#include "src/heap/page_map.h"
#include "src/heap/size_map.h"

namespace numaheap {

// The remote stack's number, behind those of the classes: no page is of that class, so the fast
// path never finds it.
inline constexpr SizeClass kRemoteStack{kSizeClasses};
inline constexpr int kStacks = kSizeClasses + 1;

inline constexpr int kRemoteSlots = 64;
inline constexpr size_t kRemoteSlotBytes = 1024;
inline constexpr int kMostRemoteSlots = 16;  // of one block: a larger one goes home at once
constexpr int RemoteSlots(size_t size) {
  return static_cast<int>((size + kRemoteSlotBytes - 1) / kRemoteSlotBytes);
}

struct SlabLimits {
  uint16_t begin = 0;
  std::atomic<uint16_t> end{0};
  uint16_t alignment_mask = 0;
  uint16_t max_capacity = 0;
};

struct CpuSlab {
  uintptr_t heap_start = 0;  // of the CPU's own node: what lies elsewhere is not cached here
  uintptr_t heap_bytes = 0;
  const uint8_t* page_classes = nullptr;
  const PageMap* map = nullptr;  // of the same heap
  int64_t cpu = -1;

  std::atomic<uint64_t> words[kStacks] = {};
  SlabLimits limits[kStacks] = {};

  // Whether `block` lies in the heap of the CPU's node, and if it does, the class of its page.
  // Constant, so right for whoever asks.
  bool Covers(const void* block) const {
    return reinterpret_cast<uintptr_t>(block) - heap_start < heap_bytes;
  }
  SizeClass ClassAt(const void* block) const {
    return {page_classes[(reinterpret_cast<uintptr_t>(block) - heap_start) >> kPageShift]};
  }

  void** slot(size_t index) { return reinterpret_cast<void**>(this) + index; }

  static uint16_t Top(uint64_t word) { return static_cast<uint16_t>(word); }
  static uint64_t Pops(uint64_t word) { return word >> 16; }
  static constexpr uint64_t kPop = 0xffff;          // added to a word: top - 1, pops + 1
  static constexpr uint64_t kPushRemote = 0x10001;  // top + 1, pushes + 1

  uint64_t word(SizeClass c) const { return words[c.value].load(std::memory_order_relaxed); }
  int used(SizeClass c) const { return Top(word(c)) - limits[c.value].begin; }
  int capacity(SizeClass c) const {
    return limits[c.value].end.load(std::memory_order_relaxed) - limits[c.value].begin;
  }

  // For who has the slab to himself: in the locked mode, or while it is withdrawn from its CPU.
  void* PopExclusive(SizeClass c);
  int PushBatchExclusive(SizeClass c, void* const* blocks, int n);
  int PopBatchExclusive(SizeClass c, void** out, int n);
  bool PushRemoteExclusive(void* block);
};

// What became of a block that was to be put on a slab.
enum class PushResult : uint8_t {
  kDone,
  kElsewhere,   // not in the heap of this CPU's node, or no cache to use
  kFull,        // no room, or no block of a size class
  kMisaligned,  // no block starts there
  kDuplicate,   // the block was freed just now
  kOwn,         // of this CPU's node, so not for the remote stack
};

// What a batch operation did, and on which CPU.
struct BatchResult {
  int count = 0;
  int64_t cpu = -1;
};

// What the fast path needs to find its slab. A slab is slabs[cpu_id], cpu_id being what the
// thread's area at rseq_offset says; where that area is the made-up one (FakeRseqOffset), it is
// slabs[-1] or
// [-2], a slab of zeros. Read offset first: an offset that leads to real CPU numbers is stored
// last.
struct FastPath {
  std::atomic<ptrdiff_t> rseq_offset;
  std::atomic<CpuSlab* const*> slabs;
};

}  // namespace numaheap
