#include "src/heap/metadata_arena.h"

#include <cstring>

namespace numaheap {
namespace {

constexpr size_t RoundUp(size_t value, size_t step) {
  return (value + step - 1) & ~(step - 1);
}

// What freed records are filled with in debug builds, behind their link.
constexpr int kPoison = 0xdd;

}  // namespace

void* MetadataArena::Allocate(size_t bytes) {
  bytes = RoundUp(bytes, 16);
  LockHolder holder(lock_);
  if (bytes <= kLargestReused && free_[bytes / 16] != nullptr) {
    FreeRecord* record = free_[bytes / 16];
    free_[bytes / 16] = record->next;
    freed_ -= bytes;
    return record;
  }
  const size_t begin = bytes >= kSmallestPage ? RoundUp(top_, kSmallestPage) : top_;
  if (bytes > area_.reserved_bytes() || !area_.CommitUpTo(kernel_, begin + bytes, kStep)) {
    return nullptr;
  }
  top_ = begin + bytes;
  return area_.start() + begin;
}

void MetadataArena::Free(void* record, size_t bytes) {
  bytes = RoundUp(bytes, 16);
  CHECK(bytes <= kLargestReused);
  LockHolder holder(lock_);
  if constexpr (kDebugChecks) std::memset(record, kPoison, bytes);
  free_[bytes / 16] = new (record) FreeRecord{free_[bytes / 16]};
  freed_ += bytes;
}

size_t MetadataArena::used_bytes() {
  LockHolder holder(lock_);
  return top_ - freed_;
}

}  // namespace numaheap
