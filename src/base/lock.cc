#include "src/base/lock.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace numaheap {
namespace {

// Long enough for the holder to finish a short critical section on another CPU (about 2 us), short
// enough not to matter when the holder has been preempted.
constexpr int kSpins = 100;

void CpuRelax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Number of locks of each rank that this thread holds; debug builds only.
constexpr int kRanks = 0
#define RANK(name, what) +1
#include "src/base/lock_ranks.inc"
#undef RANK
    ;
[[gnu::tls_model("initial-exec")]] thread_local uint16_t held_by_rank[kRanks];
[[gnu::tls_model("initial-exec")]] thread_local bool forking;

}  // namespace

void Lock::BeginHeld() {
  state_.store(kHeld, std::memory_order_relaxed);
  if constexpr (kDebugChecks) ++held_by_rank[static_cast<int>(rank_)];
}

void Lock::AcquireSlow() {
  for (int spin = 0; spin < kSpins; ++spin) {
    uint32_t expected = kFree;
    if (state_.load(std::memory_order_relaxed) == kFree &&
        state_.compare_exchange_weak(expected, kHeld, std::memory_order_acquire,
                                     std::memory_order_relaxed)) {
      return;
    }
    CpuRelax();
  }
  // errno belongs to the caller of malloc and free: waiting must not change it.
  const int saved_errno = errno;
  while (state_.exchange(kContended, std::memory_order_acquire) != kFree) {
    syscall(SYS_futex, &state_, FUTEX_WAIT_PRIVATE, kContended, nullptr, nullptr, 0);
  }
  errno = saved_errno;
}

void Lock::Wake() {
  const int saved_errno = errno;
  syscall(SYS_futex, &state_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  errno = saved_errno;
}

thread_local constinit bool Lock::holds_all = false;

void Lock::BeginFork() {
  forking = true;
}
void Lock::EndFork() {
  forking = false;
}

void Lock::NoteAcquire(LockRank rank) {
  const int index = static_cast<int>(rank);
  for (int held = forking ? index + 1 : index; held < kRanks; ++held) {
    CHECK(held_by_rank[held] == 0 && "lock taken out of rank");
  }
  ++held_by_rank[index];
}

void Lock::NoteRelease(LockRank rank) {
  CHECK(held_by_rank[static_cast<int>(rank)] > 0 && "lock released by a thread that lacks it");
  --held_by_rank[static_cast<int>(rank)];
}

}  // namespace numaheap
