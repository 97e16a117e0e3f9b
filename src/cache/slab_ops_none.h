// Slab operations for processors that numaheap has no restartable sequences for. Such a slab is
// never used (RegisteredRseqOffset() is 0), so each operation sends its caller to the slow path.
#pragma once

#include "src/cache/cpu_slab.h"

namespace numaheap {

inline void* SlabPop(const FastPath&, SizeClass) {
  return nullptr;
}
inline PushResult SlabPush(const FastPath&, void*) {
  return PushResult::kElsewhere;
}
inline BatchResult SlabPushBatch(const FastPath&, SizeClass, void* const*, int) {
  return {};
}
inline BatchResult SlabPopBatch(const FastPath&, SizeClass, void**, int) {
  return {};
}
inline PushResult SlabPushRemote(const FastPath&, SizeClass, void*) {
  return PushResult::kFull;
}
inline bool SlabLowerEnd(const FastPath&, int64_t, SizeClass, uint16_t) {
  return false;
}
inline const CpuSlab& SlabHere(const FastPath&) {
  static constinit const CpuSlab kNone;
  return kNone;
}

}  // namespace numaheap
