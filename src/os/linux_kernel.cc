#include "src/os/linux_kernel.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "src/os/id_list.h"

namespace numaheap {
namespace {

// Runs a system call that returns -1 and errno, and turns that into a return value.
template <typename Call>
int ErrorOf(Call call) {
  const int saved_errno = errno;
  const int error = call() == -1 ? errno : 0;
  errno = saved_errno;
  return error;
}

long Membarrier(int command, unsigned flags, int cpu) {
  return syscall(SYS_membarrier, command, flags, cpu);
}

}  // namespace

int LinuxKernel::RegisterForInterrupts() {
  return ErrorOf([] { return Membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ, 0, 0); });
}

void* LinuxKernel::Reserve(void* at, size_t bytes, int* error) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* start = MAP_FAILED;
  *error = ErrorOf([&] {
    if (at != nullptr) {
      start = mmap(at, bytes, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1, 0);
    } else {
      start = mmap(nullptr, bytes, PROT_NONE, flags, -1, 0);
    }
    return start == MAP_FAILED ? -1 : 0;
  });
  if (*error != 0) return nullptr;
  if (at != nullptr && start != at) {  // a kernel before 4.17 takes the address for a hint
    Unreserve(start, bytes);
    *error = EEXIST;
    return nullptr;
  }
  return start;
}

void LinuxKernel::Unreserve(void* start, size_t bytes) {
  ErrorOf([&] { return munmap(start, bytes); });
}

int LinuxKernel::MakeReadable(void* start, size_t bytes) {
  return ErrorOf([&] { return mprotect(start, bytes, PROT_READ); });
}

int LinuxKernel::Commit(void* start, size_t bytes) {
  return ErrorOf([&] { return mprotect(start, bytes, PROT_READ | PROT_WRITE); });
}

int LinuxKernel::Populate(void* start, size_t bytes) {
  constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE, Linux 5.14
  return ErrorOf([&] { return madvise(start, bytes, kPopulateWrite); });
}

int LinuxKernel::Release(void* start, size_t bytes) {
  return ErrorOf([&] { return madvise(start, bytes, MADV_DONTNEED); });
}

int LinuxKernel::Advise(void* start, size_t bytes, Advice advice) {
  switch (advice) {
    case Advice::kNoHugePages:
      return ErrorOf([&] { return madvise(start, bytes, MADV_NOHUGEPAGE); });
    case Advice::kNoDump:
      return ErrorOf([&] { return madvise(start, bytes, MADV_DONTDUMP); });
  }
  return EINVAL;
}

int LinuxKernel::SetPolicy(void* start, size_t bytes, Policy policy, const NodeId* nodes,
                           int count) {
  if (placement_ == nullptr) return ENOSYS;
  return placement_->bind_range(start, bytes, policy, nodes, count);
}

uint64_t LinuxKernel::FreeBytes(NodeId node) {
  if (placement_ == nullptr) return UINT64_MAX;
  return placement_->free_bytes(node);
}

int LinuxKernel::PageNodes(const void* const* pages, size_t count, int* nodes) {
  return placement_ == nullptr ? ENOSYS : placement_->page_nodes(pages, count, nodes);
}

int LinuxKernel::MovePages(const void* const* pages, size_t count, NodeId node, int* nodes) {
  return placement_ == nullptr ? ENOSYS : placement_->move_pages(pages, count, node, nodes);
}

int LinuxKernel::MappedBytes(const void* start, size_t bytes, NodeId node, uint64_t* there,
                             uint64_t* elsewhere) {
  return placement_ == nullptr ? ENOSYS
                               : placement_->mapped_bytes(start, bytes, node, there, elsewhere);
}

CpuId LinuxKernel::CurrentCpu() {
  const int saved_errno = errno;
  const int cpu = sched_getcpu();
  errno = saved_errno;
  return {cpu < 0 ? 0 : cpu};
}

bool LinuxKernel::ChargesUntouchedMemory() {
  constexpr int kStrict = 2;
  rlimit limit{};
  getrlimit(RLIMIT_DATA, &limit);
  return limit.rlim_cur != RLIM_INFINITY ||
         IdListFile("/proc/sys/vm/overcommit_memory").highest() == kStrict;
}

NodeId LinuxKernel::CurrentNode() {
  const int saved_errno = errno;
  unsigned cpu = 0, node = 0;
  if (getcpu(&cpu, &node) != 0) node = 0;
  errno = saved_errno;
  return {static_cast<int>(node)};
}

int LinuxKernel::InterruptSequences(CpuId cpu) {
  return ErrorOf([&] {
    return Membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, MEMBARRIER_CMD_FLAG_CPU, cpu.value);
  });
}

uint64_t LinuxKernel::NowMs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1'000'000;
}

}  // namespace numaheap
