#include "src/cache/remote_batches.h"

#include <algorithm>

namespace numaheap {

void RemoteBatches::Add(NodeHeap& heap, int range, void* block, size_t size) {
  Batch full;
  {
    LockHolder holder(lock_);
    if (batches_ == nullptr) {
      const size_t bytes = sizeof(Batch*) * static_cast<size_t>(ranges_);
      batches_ = static_cast<Batch**>(arena_.Allocate(bytes));
      if (batches_ != nullptr) std::fill(batches_, batches_ + ranges_, nullptr);
    }
    Batch* batch = nullptr;
    if (batches_ != nullptr) {
      if (batches_[range] == nullptr) batches_[range] = arena_.New<Batch>();
      batch = batches_[range];
    }
    if (batch != nullptr) {
      batch->blocks[batch->count++] = block;
      batch->bytes += size;
      if (batch->count < kMaxBatch && batch->bytes < kMaxBytes) return;
      full.count = batch->count;
      std::copy(batch->blocks, batch->blocks + batch->count, full.blocks);
      Empty(*batch);
    } else {  // no memory to gather in
      full.blocks[full.count++] = block;
    }
  }
  heap.ReceiveRemote(full.blocks, full.count);
}

bool RemoteBatches::Take(int range, Batch* out) {
  LockHolder holder(lock_);
  if (batches_ == nullptr || batches_[range] == nullptr || batches_[range]->count == 0) {
    return false;
  }
  Batch& batch = *batches_[range];
  out->count = batch.count;
  std::copy(batch.blocks, batch.blocks + batch.count, out->blocks);
  Empty(batch);
  return true;
}

void RemoteBatches::Empty(Batch& batch) {
  batch.sent_bytes += batch.bytes;
  batch.count = 0;
  batch.bytes = 0;
}

uint64_t RemoteBatches::freed_bytes(int range) {
  LockHolder holder(lock_);
  if (batches_ == nullptr || batches_[range] == nullptr) return 0;
  return batches_[range]->sent_bytes + batches_[range]->bytes;
}

int RemoteBatches::waiting(int range) {
  LockHolder holder(lock_);
  if (batches_ == nullptr || batches_[range] == nullptr) return 0;
  return batches_[range]->count;
}

}  // namespace numaheap
