// Kernel: everything that numaheap asks of the operating system, in one place, so that tests can
// count calls, refuse the Nth, or shrink a node.
//
// Thread-safe. No function allocates, and none changes errno: what went wrong is the return value
// (0 or an errno value). Addresses and sizes are multiples of 4 KiB unless said otherwise.
#pragma once

#include <cstddef>
#include <cstdint>

#include "numa/placement.h"
#include "src/base/ids.h"

namespace numaheap {

inline constexpr size_t kSmallestPage = 4096;
inline constexpr size_t kHugePageSize = size_t{2} << 20;

enum class Advice : uint8_t {
  kNoHugePages,  // sparse metadata: one touched byte must not cost 2 MiB
  kNoDump,       // left out of core dumps
};

class Kernel {
 public:
  // Reserves address space without memory: neither readable nor writable, not charged against the
  // commit limit. At `at`, if that is free, when it is not null; else anywhere. Returns null when
  // refused, with the reason in *error.
  virtual void* Reserve(void* at, size_t bytes, int* error) = 0;

  // Gives reserved address space back.
  virtual void Unreserve(void* start, size_t bytes) = 0;

  // Makes reserved space readable; it reads as zero and costs no memory.
  virtual int MakeReadable(void* start, size_t bytes) = 0;

  // Makes reserved space usable: readable, writable, zero. Memory comes with the first touch. Fails
  // with ENOMEM under strict overcommit or when the process has too many mappings.
  virtual int Commit(void* start, size_t bytes) = 0;

  // Puts memory behind committed pages now. EINVAL on kernels that can't.
  virtual int Populate(void* start, size_t bytes) = 0;

  // Returns the memory behind committed pages; they read as zero afterwards and stay usable.
  virtual int Release(void* start, size_t bytes) = 0;

  virtual int Advise(void* start, size_t bytes, Advice advice) = 0;

  // Sets the memory policy of a range; pages that are there already move if they can.
  virtual int SetPolicy(void* start, size_t bytes, Policy policy, const NodeId* nodes,
                        int count) = 0;

  // Bytes of memory that are free on a node now; UINT64_MAX when nobody knows.
  virtual uint64_t FreeBytes(NodeId node) = 0;

  // Where pages lie: nodes[i] is the node of pages[i], or a negative errno value, -ENOENT where no
  // memory is. Touches nothing.
  virtual int PageNodes(const void* const* pages, size_t count, int* nodes) = 0;

  // Moves pages to a node, with what is in them; afterwards nodes[i] is as above.
  virtual int MovePages(const void* const* pages, size_t count, NodeId node, int* nodes) = 0;

  // Adds the bytes of memory in a range that lie on `node` and elsewhere. Works where PageNodes is
  // forbidden, but is as slow as the process is large.
  virtual int MappedBytes(const void* start, size_t bytes, NodeId node, uint64_t* there,
                          uint64_t* elsewhere) = 0;

  // The CPU that runs the caller, for the moment. CPU 0 when the kernel will not say.
  virtual CpuId CurrentCpu() = 0;

  // The node of that CPU; node 0 when the kernel will not say.
  virtual NodeId CurrentNode() = 0;

  // After this, no thread of the process is in a restartable sequence that it had begun before, on
  // that CPU. ENOSYS, EPERM or EINVAL when the kernel can't.
  virtual int InterruptSequences(CpuId cpu) = 0;

  // Monotonic time in milliseconds.
  virtual uint64_t NowMs() = 0;

 protected:
  ~Kernel() = default;
};

}  // namespace numaheap
