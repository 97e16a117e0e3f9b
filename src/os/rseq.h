// Rseq: the thread's restartable-sequence area, as glibc registers it with the kernel
// (linux/rseq.h; glibc 2.35 and later). numaheap reads cpu_id and writes rseq_cs, nothing else.
#pragma once

#include <cstddef>
#include <cstdint>

namespace numaheap {

// The part of struct rseq that the fast path touches.
struct RseqArea {
  uint32_t cpu_id_start;
  int32_t cpu_id;  // -1: not registered, -2: the kernel refused
  uint64_t rseq_cs;
};

// Offset of a made-up area from the thread pointer, the same in every thread: its cpu_id is -1 for
// ever, so that the fast path takes its slow exit before restartable sequences are known to work
// and when they do not.
ptrdiff_t FakeRseqOffset();

// Offset of the area that glibc registered for every thread, or 0 when there is none: an old glibc,
// a tunable, valgrind, gVisor, a seccomp filter, or a processor numaheap has no sequences for.
ptrdiff_t RegisteredRseqOffset();

}  // namespace numaheap
