// FakeKernel: the real kernel for memory, a made-up one for all else. Counts calls, refuses chosen
// ones, and has the clock, the current CPU and the nodes' free memory that the test gives it.
//
// Not thread-safe where it is set; its calls may come from any thread.
#pragma once

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <map>

#include "src/os/linux_kernel.h"

namespace numaheap {

class FakeKernel final : public Kernel {
 public:
  enum Call {
    kReserve,
    kMakeReadable,
    kCommit,
    kPopulate,
    kRelease,
    kAdvise,
    kSetPolicy,
    kInterrupt,
    kPageNodes,
    kMovePages,
    kMappedBytes,
    kCalls
  };

  // How often the call was made, refused ones included.
  int count(Call call) const { return counts_[call]; }
  int count_all() const {
    int sum = 0;
    for (const std::atomic<int>& count : counts_) sum += count;
    return sum;
  }

  // From now on the `n`-th call (1 is the next one) and all after it are refused with `error`.
  void FailFrom(Call call, int n, int error = ENOMEM) {
    fail_from_[call] = counts_[call] + n;
    error_ = error;
  }
  // Only the `n`-th from now, whichever call it is.
  void FailOnce(int n, int error = ENOMEM) {
    fail_once_ = count_all() + n;
    error_ = error;
  }
  // Refuses every single call of more than `bytes` bytes.
  void FailAbove(Call call, size_t bytes) { largest_[call] = bytes; }
  void FailNothing() {
    fail_from_.fill(0);
    largest_.fill(SIZE_MAX);
    fail_once_ = 0;
  }

  void SetNow(uint64_t ms) { now_ms_ = ms; }
  void SetCpu(int cpu) { cpu_ = cpu; }
  void SetNode(int node) { node_ = node; }
  // Bytes that are free on a node. What is committed is not subtracted.
  void SetFreeBytes(NodeId node, uint64_t bytes) { free_bytes_[node.value] = bytes; }

  // Where the memory of a page lies, of which there is none before.
  void SetPageNode(const void* page, int node) { page_nodes_[page] = node; }

  // Bytes for which Release() was called with success.
  uint64_t released_bytes() const { return released_bytes_; }

  void* Reserve(void* at, size_t bytes, int* error) override {
    if (!(*error = Refusal(kReserve, bytes))) return real_.Reserve(at, bytes, error);
    return nullptr;
  }
  void Unreserve(void* start, size_t bytes) override { real_.Unreserve(start, bytes); }
  int MakeReadable(void* start, size_t bytes) override {
    const int error = Refusal(kMakeReadable, bytes);
    return error ? error : real_.MakeReadable(start, bytes);
  }
  int Commit(void* start, size_t bytes) override {
    const int error = Refusal(kCommit, bytes);
    return error ? error : real_.Commit(start, bytes);
  }
  int Populate(void* start, size_t bytes) override {
    const int error = Refusal(kPopulate, bytes);
    return error ? error : real_.Populate(start, bytes);
  }
  int Release(void* start, size_t bytes) override {
    if (const int error = Refusal(kRelease, bytes)) return error;
    released_bytes_ += bytes;
    return real_.Release(start, bytes);
  }
  int Advise(void* start, size_t bytes, Advice advice) override {
    const int error = Refusal(kAdvise, bytes);
    return error ? error : real_.Advise(start, bytes, advice);
  }
  int SetPolicy(void*, size_t bytes, Policy, const NodeId*, int) override {
    return Refusal(kSetPolicy, bytes);
  }
  uint64_t FreeBytes(NodeId node) override {
    const auto found = free_bytes_.find(node.value);
    return found == free_bytes_.end() ? UINT64_MAX : found->second;
  }
  int PageNodes(const void* const* pages, size_t count, int* nodes) override {
    if (const int error = Refusal(kPageNodes, count)) return error;
    for (size_t i = 0; i < count; ++i) {
      const auto found = page_nodes_.find(pages[i]);
      nodes[i] = found == page_nodes_.end() ? -ENOENT : found->second;
    }
    return 0;
  }
  int MovePages(const void* const* pages, size_t count, NodeId node, int* nodes) override {
    if (const int error = Refusal(kMovePages, count)) return error;
    for (size_t i = 0; i < count; ++i) {
      const auto found = page_nodes_.find(pages[i]);
      nodes[i] = found == page_nodes_.end() ? -ENOENT : (found->second = node.value);
    }
    return 0;
  }
  int MappedBytes(const void* start, size_t bytes, NodeId node, uint64_t* there,
                  uint64_t* elsewhere) override {
    if (const int error = Refusal(kMappedBytes, bytes)) return error;
    const auto end = page_nodes_.lower_bound(static_cast<const char*>(start) + bytes);
    for (auto page = page_nodes_.lower_bound(start); page != end; ++page) {
      *(page->second == node.value ? there : elsewhere) += kSmallestPage;
    }
    return 0;
  }
  // The real one, for tests with real sequences, unless SetCpu() was called.
  CpuId CurrentCpu() override { return cpu_ >= 0 ? CpuId{cpu_} : real_.CurrentCpu(); }
  NodeId CurrentNode() override { return {node_}; }
  int InterruptSequences(CpuId cpu) override {
    const int error = Refusal(kInterrupt, 0);
    return error ? error : real_.InterruptSequences(cpu);
  }
  uint64_t NowMs() override { return now_ms_; }

  LinuxKernel& real() { return real_; }

 private:
  int Refusal(Call call, size_t bytes) {
    const int number = ++counts_[call];
    const int all = count_all();
    const bool refused = (fail_from_[call] != 0 && number >= fail_from_[call]) ||
                         (fail_once_ != 0 && all == fail_once_) || bytes > largest_[call];
    return refused ? error_ : 0;
  }

  LinuxKernel real_;
  std::array<std::atomic<int>, kCalls> counts_ = {};
  std::array<int, kCalls> fail_from_ = {};
  std::array<size_t, kCalls> largest_ = {SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX,
                                         SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX};
  int fail_once_ = 0;
  int error_ = ENOMEM;
  std::atomic<uint64_t> now_ms_{1'000'000};
  std::atomic<int> cpu_{-1};
  std::atomic<int> node_{0};
  std::atomic<uint64_t> released_bytes_{0};
  std::map<int, uint64_t> free_bytes_;
  std::map<const void*, int> page_nodes_;
};

}  // namespace numaheap
