// Lock: a futex mutex of 8 bytes that needs no construction and never allocates.
//
// Uncontended lock and unlock are one atomic instruction each; a waiter spins briefly, then sleeps.
// The three states are those of U. Drepper, "Futexes Are Tricky" (2011), mutex 2. Not recursive.
// Debug builds check that locks are taken in rank order (lock_ranks.inc) by each thread.
// After fork the child may unlock what its parent's forking thread had locked.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

#include "absl/base/thread_annotations.h"
#include "src/base/check.h"

namespace numaheap {

enum class LockRank : uint8_t {
#define RANK(name, what) name,
#include "src/base/lock_ranks.inc"
#undef RANK
};

class ABSL_LOCKABLE Lock {
 public:
  constexpr explicit Lock(LockRank rank) : rank_(rank) {
    if (!std::is_constant_evaluated() && HoldsAllForFork()) [[unlikely]]
      BeginHeld();
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  void Acquire() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    if (HoldsAllForFork()) [[unlikely]]
      return;
    if constexpr (kDebugChecks) NoteAcquire(rank_);
    uint32_t expected = kFree;
    if (!state_.compare_exchange_strong(expected, kHeld, std::memory_order_acquire,
                                        std::memory_order_relaxed)) {
      AcquireSlow();
    }
  }

  bool TryAcquire() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true) {
    if (HoldsAllForFork()) [[unlikely]]
      return true;
    uint32_t expected = kFree;
    if (!state_.compare_exchange_strong(expected, kHeld, std::memory_order_acquire,
                                        std::memory_order_relaxed)) {
      return false;
    }
    if constexpr (kDebugChecks) NoteAcquire(rank_);
    return true;
  }

  void Release() ABSL_UNLOCK_FUNCTION() {
    if (HoldsAllForFork()) [[unlikely]]
      return;
    if constexpr (kDebugChecks) NoteRelease(rank_);
    if (state_.exchange(kFree, std::memory_order_release) == kContended) Wake();
  }

  void AssertHeld() const ABSL_ASSERT_EXCLUSIVE_LOCK() {
    DCHECK(state_.load(std::memory_order_relaxed) != kFree);
  }

  // Around fork every lock of a rank is held at once; the check allows equal ranks meanwhile.
  static void BeginFork();
  static void EndFork();
  // Between these two the forking thread holds all locks, and may allocate: handlers of others that
  // were registered before ours run then. Its locking and unlocking does nothing, and locks that it
  // makes are held like the others, until all are released.
  static void BeginHoldingAll() { holds_all = true; }
  static void EndHoldingAll() { holds_all = false; }
  static bool HoldsAllForFork() { return holds_all; }

 private:
  [[gnu::tls_model("initial-exec")]] static thread_local constinit bool holds_all;

  static constexpr uint32_t kFree = 0, kHeld = 1, kContended = 2;

  void BeginHeld();
  void AcquireSlow();
  void Wake();
  static void NoteAcquire(LockRank rank);
  static void NoteRelease(LockRank rank);

  std::atomic<uint32_t> state_{kFree};
  const LockRank rank_;
};

// Holds a lock for the rest of the scope.
class ABSL_SCOPED_LOCKABLE LockHolder {
 public:
  explicit LockHolder(Lock& lock) ABSL_EXCLUSIVE_LOCK_FUNCTION(lock) : lock_(lock) {
    lock_.Acquire();
  }
  ~LockHolder() ABSL_UNLOCK_FUNCTION() { lock_.Release(); }
  LockHolder(const LockHolder&) = delete;
  LockHolder& operator=(const LockHolder&) = delete;

 private:
  Lock& lock_;
};

}  // namespace numaheap
