#include "src/heap/allocation_profile.h"

#include <algorithm>

namespace numaheap {
namespace {

uint64_t HashOf(void* const* stack, int depth) {
  uint64_t hash = static_cast<uint64_t>(depth);
  for (int i = 0; i < depth; ++i) {
    hash = (hash ^ reinterpret_cast<uintptr_t>(stack[i])) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 32;
  }
  return hash;
}

}  // namespace

ProfileBucket* AllocationProfile::FindOrMake(void* const* stack, int depth) {
  Table* table = table_.load(std::memory_order_relaxed);
  if (table == nullptr) {
    table = arena_.New<Table>();
    if (table == nullptr) return nullptr;
    table_.store(table, std::memory_order_release);
  }
  const uint64_t hash = HashOf(stack, depth);
  std::atomic<ProfileBucket*>& first = table->first[hash % kChains];
  ProfileBucket* const head = first.load(std::memory_order_relaxed);
  for (ProfileBucket* bucket = head; bucket != nullptr; bucket = bucket->next) {
    if (bucket->hash == hash && bucket->depth == depth &&
        std::equal(stack, stack + depth, bucket->stack())) {
      return bucket;
    }
  }
  void* place = arena_.Allocate(sizeof(ProfileBucket) + sizeof(void*) * static_cast<size_t>(depth));
  if (place == nullptr) return nullptr;
  auto* bucket = new (place) ProfileBucket{head, hash, depth, {}, {}};
  std::copy(stack, stack + depth, bucket->stack());
  first.store(bucket, std::memory_order_release);
  return bucket;
}

ProfileBucket* AllocationProfile::Allocated(void* const* stack, int depth, SampleWeight weight) {
  LockHolder holder(lock_);
  ProfileBucket* bucket = FindOrMake(stack, std::min(depth, kMaxStackDepth));
  if (bucket == nullptr) return nullptr;
  for (SampleWeight* sum : {&bucket->total, &bucket->live}) {
    sum->objects += weight.objects;
    sum->bytes += weight.bytes;
  }
  return bucket;
}

void AllocationProfile::Freed(ProfileBucket* bucket, SampleWeight weight) {
  LockHolder holder(lock_);
  bucket->live.objects -= weight.objects;
  bucket->live.bytes -= weight.bytes;
  DCHECK(bucket->live.objects >= 0 && bucket->live.bytes >= 0);
}

}  // namespace numaheap
