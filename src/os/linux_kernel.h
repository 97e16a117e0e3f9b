// LinuxKernel: the Kernel that is really there.
#pragma once

#include "src/os/kernel.h"

namespace numaheap {

class LinuxKernel final : public Kernel {
 public:
  constexpr LinuxKernel() = default;

  // Until this is called all that concerns placement answers ENOSYS. `calls` must outlive the
  // object.
  void UsePlacement(const PlacementCalls* calls) { placement_ = calls; }

  // Whether memory counts when it is committed, not when it is touched: under strict overcommit,
  // and where a limit on data (ulimit -d) is set.
  bool ChargesUntouchedMemory();

  // Announces that InterruptSequences will be used. 0 or an errno value.
  int RegisterForInterrupts();

  void* Reserve(void* at, size_t bytes, int* error) override;
  void Unreserve(void* start, size_t bytes) override;
  int MakeReadable(void* start, size_t bytes) override;
  int Commit(void* start, size_t bytes) override;
  int Populate(void* start, size_t bytes) override;
  int Release(void* start, size_t bytes) override;
  int Advise(void* start, size_t bytes, Advice advice) override;
  int SetPolicy(void* start, size_t bytes, Policy policy, const NodeId* nodes, int count) override;
  uint64_t FreeBytes(NodeId node) override;
  int PageNodes(const void* const* pages, size_t count, int* nodes) override;
  int MovePages(const void* const* pages, size_t count, NodeId node, int* nodes) override;
  int MappedBytes(const void* start, size_t bytes, NodeId node, uint64_t* there,
                  uint64_t* elsewhere) override;
  CpuId CurrentCpu() override;
  NodeId CurrentNode() override;
  int InterruptSequences(CpuId cpu) override;
  uint64_t NowMs() override;

 private:
  const PlacementCalls* placement_ = nullptr;
};

}  // namespace numaheap
