// AllocationProfile: what the sampled allocations of one heap add up to, a bucket for each stack
// they came from. Live objects have a special that leads back to their bucket.
//
// Buckets lie in the heap's MetadataArena and are never freed. Thread-safe: one lock guards the
// counts and makes buckets; who walks over them holds it for one bucket at a time.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "src/base/lock.h"
#include "src/heap/metadata_arena.h"
#include "src/heap/sampler.h"

namespace numaheap {

inline constexpr int kMaxStackDepth = 64;  // what is further out is cut off

struct ProfileBucket {
  // Constant once published.
  ProfileBucket* next;
  uint64_t hash;
  int depth;

  // Guarded by the profile's lock.
  SampleWeight total, live;

  void** stack() { return reinterpret_cast<void**>(this + 1); }
  void* const* stack() const { return reinterpret_cast<void* const*>(this + 1); }
};

class AllocationProfile {
 public:
  explicit AllocationProfile(MetadataArena& arena) : arena_(arena) {}

  // Adds an allocation, made by stack[0], which was called by stack[1], ... Null when there is no
  // memory for its bucket.
  ProfileBucket* Allocated(void* const* stack, int depth, SampleWeight weight);
  // It has been freed.
  void Freed(ProfileBucket* bucket, SampleWeight weight);

  // Calls visit(stack, depth, total, live) for all buckets, without the lock.
  template <typename Visit>
  void ForEach(Visit visit) {
    Table* table = table_.load(std::memory_order_acquire);
    if (table == nullptr) return;
    for (std::atomic<ProfileBucket*>& first : table->first) {
      ProfileBucket* bucket = first.load(std::memory_order_acquire);
      for (; bucket != nullptr; bucket = bucket->next) {
        SampleWeight total, live;
        {
          LockHolder holder(lock_);
          total = bucket->total;
          live = bucket->live;
        }
        visit(bucket->stack(), bucket->depth, total, live);
      }
    }
  }

  Lock& lock() ABSL_LOCK_RETURNED(lock_) { return lock_; }

 private:
  static constexpr size_t kChains = 1024;
  struct Table {
    std::atomic<ProfileBucket*> first[kChains] = {};
  };

  ProfileBucket* FindOrMake(void* const* stack, int depth) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  MetadataArena& arena_;
  Lock lock_{LockRank::kProfile};
  std::atomic<Table*> table_{nullptr};  // made at the first use
};

}  // namespace numaheap
