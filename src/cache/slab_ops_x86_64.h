// Slab operations for x86-64. Labels within each sequence:
//
//   3  descriptor: struct rseq_cs of linux/rseq.h   0  entry: registers the descriptor
//   1  the sequence begins                          2  behind its one committing store
//   4  abort handler, behind the signature that glibc registered (RSEQ_SIG)
//
// Descriptors and handlers are in the section group of the function that the sequence lands in
// ("?"): of an inline function that several files emit the linker keeps one, with its own.
//
// Leaving the sequence by a jump is fine: the kernel forgets the descriptor when it next looks.
#pragma once

#include "src/cache/cpu_slab.h"

namespace numaheap {

// One instruction a line.
// clang-format off

static_assert(sizeof(SlabLimits) == 8 && sizeof(std::atomic<uint64_t>) == 8);

// The start of every sequence: afterwards %[slab] is the slab of this CPU, as long as nothing
// interrupts. %fs:4 and %fs:8 off the area are cpu_id and rseq_cs.
#define NUMAHEAP_RSEQ_BEGIN                                                    \
  ".pushsection __rseq_cs, \"aw?\"\n"                                          \
  ".balign 32\n"                                                               \
  "3: .long 0, 0\n"                                                            \
  ".quad 1f, 2f - 1f, 4f\n"                                                    \
  ".popsection\n"                                                              \
  "0: leaq 3b(%%rip), %[slab]\n"                                               \
  "movq %[slab], %%fs:8(%[rseq])\n"                                            \
  "1: movslq %%fs:4(%[rseq]), %[slab]\n"                                       \
  "movq (%[slabs],%[slab],8), %[slab]\n"

// The end: goes behind the committing store.
#define NUMAHEAP_RSEQ_END                                                      \
  "2:\n"                                                                       \
  ".pushsection .text.rseq_abort, \"ax?\"\n"                                   \
  ".byte 0x0f, 0xb9, 0x3d\n"                                                   \
  ".long 0x53053053\n"                                                         \
  "4: jmp 0b\n"                                                                \
  ".popsection\n"

// In the order that FastPath asks for.
#define NUMAHEAP_RSEQ_LOAD(fast)                                               \
  const ptrdiff_t rseq = (fast).rseq_offset.load(std::memory_order_acquire);   \
  CpuSlab* const* const slabs = (fast).slabs.load(std::memory_order_relaxed)

#define NUMAHEAP_RSEQ_INPUTS                                                   \
  [rseq] "r"(rseq), [slabs] "r"(slabs),                                        \
      [words] "i"(offsetof(CpuSlab, words)),                                   \
      [begins] "i"(offsetof(CpuSlab, limits) + offsetof(SlabLimits, begin)),   \
      [ends] "i"(offsetof(CpuSlab, limits) + offsetof(SlabLimits, end))

[[gnu::always_inline]] inline void* SlabPop(const FastPath& fast, SizeClass c) {
  NUMAHEAP_RSEQ_LOAD(fast);
  CpuSlab* slab;
  uintptr_t top;
  void* block;
  asm volatile goto(NUMAHEAP_RSEQ_BEGIN
           "movzwl %c[words](%[slab],%[c],8), %k[top]\n"
           "cmpw %c[begins](%[slab],%[c],8), %w[top]\n"
           "je %l[empty]\n"
           "movq -8(%[slab],%[top],8), %[block]\n"
           "addq $0xffff, %c[words](%[slab],%[c],8)\n"  // kPop
           NUMAHEAP_RSEQ_END
           : [slab] "=&r"(slab), [top] "=&r"(top), [block] "=&a"(block)  // what malloc returns
           : NUMAHEAP_RSEQ_INPUTS, [c] "r"(uintptr_t{c.value})
           : "memory", "cc"
           : empty);
  if (block == nullptr) __builtin_unreachable();
  return block;
empty:
  return nullptr;
}

[[gnu::always_inline]] inline PushResult SlabPush(const FastPath& fast, void* block) {
  NUMAHEAP_RSEQ_LOAD(fast);
  CpuSlab* slab;
  uintptr_t top, scratch;
  asm volatile goto(NUMAHEAP_RSEQ_BEGIN
           "movq %[block], %[scratch]\n"
           "subq %c[heap_start](%[slab]), %[scratch]\n"
           "cmpq %c[heap_bytes](%[slab]), %[scratch]\n"
           "jae %l[elsewhere]\n"
           "shrq %[page_shift], %[scratch]\n"
           "addq %c[page_classes](%[slab]), %[scratch]\n"
           "movzbl (%[scratch]), %k[scratch]\n"
           "movzwl %c[words](%[slab],%[scratch],8), %k[top]\n"
           "cmpw %c[ends](%[slab],%[scratch],8), %w[top]\n"
           "je %l[full]\n"
           "testw %w[block], %c[masks](%[slab],%[scratch],8)\n"
           "jne %l[misaligned]\n"
           "cmpq %[block], -8(%[slab],%[top],8)\n"
           "je %l[duplicate]\n"
           "movq %[block], (%[slab],%[top],8)\n"
           "incq %c[words](%[slab],%[scratch],8)\n"
           NUMAHEAP_RSEQ_END
           : [slab] "=&r"(slab), [top] "=&r"(top), [scratch] "=&r"(scratch)
           : NUMAHEAP_RSEQ_INPUTS, [block] "r"(block),
             [heap_start] "i"(offsetof(CpuSlab, heap_start)),
             [heap_bytes] "i"(offsetof(CpuSlab, heap_bytes)),
             [page_classes] "i"(offsetof(CpuSlab, page_classes)),
             [masks] "i"(offsetof(CpuSlab, limits) + offsetof(SlabLimits, alignment_mask)),
             [page_shift] "i"(kPageShift)
           : "memory", "cc"
           : elsewhere, full, misaligned, duplicate);
  return PushResult::kDone;
elsewhere:
  return PushResult::kElsewhere;
full:
  return PushResult::kFull;
misaligned:
  return PushResult::kMisaligned;
duplicate:
  return PushResult::kDuplicate;
}

inline BatchResult SlabPushBatch(const FastPath& fast, SizeClass c, void* const* blocks, int n) {
  if (n == 0) return {};
  NUMAHEAP_RSEQ_LOAD(fast);
  CpuSlab* slab;
  uintptr_t count, to, from, scratch;
  asm volatile goto(NUMAHEAP_RSEQ_BEGIN
           "movq (%[blocks]), %[scratch]\n"
           "subq %c[heap_start](%[slab]), %[scratch]\n"
           "cmpq %c[heap_bytes](%[slab]), %[scratch]\n"
           "jae %l[none]\n"
           "movzwl %c[words](%[slab],%[c],8), %k[to]\n"
           "movzwl %c[ends](%[slab],%[c],8), %k[count]\n"
           "subq %[to], %[count]\n"
           "cmpq %[n], %[count]\n"
           "cmovaq %[n], %[count]\n"
           "testq %[count], %[count]\n"
           "jz %l[none]\n"
           "leaq (%[slab],%[to],8), %[to]\n"
           "xorl %k[from], %k[from]\n"
           "5: movq (%[blocks],%[from],8), %[scratch]\n"
           "movq %[scratch], (%[to],%[from],8)\n"
           "incq %[from]\n"
           "cmpq %[count], %[from]\n"
           "jb 5b\n"
           "addq %[count], %c[words](%[slab],%[c],8)\n"
           NUMAHEAP_RSEQ_END
           : [slab] "=&r"(slab), [count] "=&r"(count), [to] "=&r"(to), [from] "=&r"(from),
             [scratch] "=&r"(scratch)
           : NUMAHEAP_RSEQ_INPUTS, [c] "r"(uintptr_t{c.value}), [blocks] "r"(blocks),
             [n] "r"(static_cast<uintptr_t>(n)), [heap_start] "i"(offsetof(CpuSlab, heap_start)),
             [heap_bytes] "i"(offsetof(CpuSlab, heap_bytes))
           : "memory", "cc"
           : none);
  return {static_cast<int>(count), slab->cpu};
none:
  return {};
}

inline BatchResult SlabPopBatch(const FastPath& fast, SizeClass c, void** out, int n) {
  if (n == 0) return {};
  NUMAHEAP_RSEQ_LOAD(fast);
  CpuSlab* slab;
  uintptr_t count, from, index, scratch;
  asm volatile goto(NUMAHEAP_RSEQ_BEGIN
           "movzwl %c[words](%[slab],%[c],8), %k[from]\n"
           "movzwl %c[begins](%[slab],%[c],8), %k[scratch]\n"
           "movq %[from], %[count]\n"
           "subq %[scratch], %[count]\n"
           "cmpq %[n], %[count]\n"
           "cmovaq %[n], %[count]\n"
           "testq %[count], %[count]\n"
           "jz %l[none]\n"
           "subq %[count], %[from]\n"
           "leaq (%[slab],%[from],8), %[from]\n"
           "xorl %k[index], %k[index]\n"
           "5: movq (%[from],%[index],8), %[scratch]\n"
           "movq %[scratch], (%[out],%[index],8)\n"
           "incq %[index]\n"
           "cmpq %[count], %[index]\n"
           "jb 5b\n"
           "subq %[count], %c[words](%[slab],%[c],8)\n"
           NUMAHEAP_RSEQ_END
           : [slab] "=&r"(slab), [count] "=&r"(count), [from] "=&r"(from), [index] "=&r"(index),
             [scratch] "=&r"(scratch)
           : NUMAHEAP_RSEQ_INPUTS, [c] "r"(uintptr_t{c.value}), [out] "r"(out),
             [n] "r"(static_cast<uintptr_t>(n))
           : "memory", "cc"
           : none);
  return {static_cast<int>(count), slab->cpu};
none:
  return {};
}

[[gnu::always_inline]] inline PushResult SlabPushRemote(const FastPath& fast, SizeClass c,
                                                        void* block) {
  NUMAHEAP_RSEQ_LOAD(fast);
  CpuSlab* slab;
  uintptr_t top;
  asm volatile goto(NUMAHEAP_RSEQ_BEGIN
           "movq %[block], %[top]\n"
           "subq %c[heap_start](%[slab]), %[top]\n"
           "cmpq %c[heap_bytes](%[slab]), %[top]\n"
           "jb %l[own]\n"
           "movzwl %c[word](%[slab]), %k[top]\n"
           "cmpw %c[end](%[slab]), %w[top]\n"
           "je %l[full]\n"
           "testw %w[block], %c[masks](%[slab],%[c],8)\n"
           "jne %l[misaligned]\n"
           "movq %[block], (%[slab],%[top],8)\n"
           "addq $0x10001, %c[word](%[slab])\n"  // kPushRemote
           NUMAHEAP_RSEQ_END
           : [slab] "=&r"(slab), [top] "=&r"(top)
           : [rseq] "r"(rseq), [slabs] "r"(slabs), [c] "r"(uintptr_t{c.value}), [block] "r"(block),
             [heap_start] "i"(offsetof(CpuSlab, heap_start)),
             [heap_bytes] "i"(offsetof(CpuSlab, heap_bytes)),
             [word] "i"(offsetof(CpuSlab, words) + kRemoteStack.value * sizeof(uint64_t)),
             [end] "i"(offsetof(CpuSlab, limits) + kRemoteStack.value * sizeof(SlabLimits) +
                       offsetof(SlabLimits, end)),
             [masks] "i"(offsetof(CpuSlab, limits) + offsetof(SlabLimits, alignment_mask))
           : "memory", "cc"
           : own, full, misaligned);
  return PushResult::kDone;
own:
  return PushResult::kOwn;
full:
  return PushResult::kFull;
misaligned:
  return PushResult::kMisaligned;
}

inline bool SlabLowerEnd(const FastPath& fast, int64_t cpu, SizeClass c, uint16_t end) {
  NUMAHEAP_RSEQ_LOAD(fast);
  CpuSlab* slab;
  asm volatile goto(NUMAHEAP_RSEQ_BEGIN
           "cmpq %[cpu], %c[cpus](%[slab])\n"
           "jne %l[no]\n"
           "cmpw %[end], %c[words](%[slab],%[c],8)\n"
           "ja %l[no]\n"
           "movw %[end], %c[ends](%[slab],%[c],8)\n"
           NUMAHEAP_RSEQ_END
           : [slab] "=&r"(slab)
           : NUMAHEAP_RSEQ_INPUTS, [c] "r"(uintptr_t{c.value}), [cpu] "r"(cpu),
             [end] "r"(end), [cpus] "i"(offsetof(CpuSlab, cpu))
           : "memory", "cc"
           : no);
  return true;
no:
  return false;
}

inline const CpuSlab& SlabHere(const FastPath& fast) {
  NUMAHEAP_RSEQ_LOAD(fast);
  int64_t cpu;
  asm("movslq %%fs:4(%[rseq]), %[cpu]" : [cpu] "=r"(cpu) : [rseq] "r"(rseq) : "memory");
  return *slabs[cpu];
}

#undef NUMAHEAP_RSEQ_LOAD
#undef NUMAHEAP_RSEQ_BEGIN
#undef NUMAHEAP_RSEQ_END
#undef NUMAHEAP_RSEQ_INPUTS
// clang-format on

}  // namespace numaheap
