// Operations on the slab of the CPU that runs the caller, in the rseq mode.
//
// A restartable sequence is a stretch of code with one last store: if the thread is preempted,
// migrated or gets a signal before that store, the kernel sends it to an abort handler, which
// starts over. So whatever a sequence reads from its CPU's slab holds until its store. (P. Turner,
// "Restartable Sequences", 2013; Linux's tools/testing/selftests/rseq describes the registers and
// the signature.)
//
//   SlabPop(fast, c) -> void*
//       Takes the top block of a class; null when the slab has none.
//   SlabPush(fast, block) -> PushResult
//       Puts a block on top of its class's stack.
//   SlabPushBatch(fast, c, blocks, n) -> BatchResult
//       Puts the first of `n` blocks of one class and one heap on the stack, as many as there is
//       room for.
//   SlabPopBatch(fast, c, out, n) -> BatchResult
//       Takes up to `n` blocks from the top.
//   SlabPushRemote(fast, c, block) -> PushResult
//       Puts a block of another node, of class `c` there, on the remote stack.
//   SlabLowerEnd(fast, cpu, c, end) -> bool
//       On `cpu` only: lowers the end of a class to `end`, unless blocks lie there. False if it
//       could not.
//   SlabHere(fast) -> const CpuSlab&
//       The slab of this CPU, or of one that the caller ran on a moment ago; for what stays as it
//       is.
//
// Where there are no sequences, every operation answers as an empty and full slab would.
#pragma once

#if defined(__x86_64__)
#include "src/cache/slab_ops_x86_64.h"
#else
#include "src/cache/slab_ops_none.h"
#endif
