#include "src/cache/cpu_slab.h"

#include <algorithm>
#include <cstring>

namespace numaheap {

void* CpuSlab::PopExclusive(SizeClass c) {
  const uint64_t old = word(c);
  if (Top(old) == limits[c.value].begin) return nullptr;
  words[c.value].store(old + kPop, std::memory_order_relaxed);
  return *slot(Top(old) - 1u);
}

int CpuSlab::PushBatchExclusive(SizeClass c, void* const* blocks, int n) {
  const uint64_t old = word(c);
  n = std::min(n, limits[c.value].end.load(std::memory_order_relaxed) - Top(old));
  if (n <= 0) return 0;
  std::memcpy(slot(Top(old)), blocks, static_cast<size_t>(n) * sizeof(void*));
  words[c.value].store(old + static_cast<uint64_t>(n), std::memory_order_relaxed);
  return n;
}

int CpuSlab::PopBatchExclusive(SizeClass c, void** out, int n) {
  const uint64_t old = word(c);
  n = std::min(n, used(c));
  if (n <= 0) return 0;
  std::memcpy(out, slot(static_cast<size_t>(Top(old) - n)), static_cast<size_t>(n) * sizeof(void*));
  words[c.value].store(old - static_cast<uint64_t>(n), std::memory_order_relaxed);
  return n;
}

bool CpuSlab::PushRemoteExclusive(void* block) {
  const uint64_t old = word(kRemoteStack);
  if (Top(old) == limits[kRemoteStack.value].end.load(std::memory_order_relaxed)) return false;
  *slot(Top(old)) = block;
  words[kRemoteStack.value].store(old + kPushRemote, std::memory_order_relaxed);
  return true;
}

}  // namespace numaheap
