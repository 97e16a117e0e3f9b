// What the Allocator does for blocks with finalizers.
#include <errno.h>

#include "src/api/allocator.h"

namespace numaheap {

int Allocator::AddFinalizer(void* ptr, void (*function)(void*, void*), void* argument) {
  if (ptr == nullptr || function == nullptr) return EINVAL;
  NodeHeap* home = heaps_.HomeOf(ptr);
  const Block block = home == nullptr ? Block() : home->Find(ptr);
  if (block.span == nullptr || home->IsFree(block)) return ENOENT;
  if (block.start != ptr) return EINVAL;
  Special special;
  special.block = ptr;
  special.kind = SpecialKind::kFinalizer;
  special.finalizer = {function, argument, nullptr};
  switch (home->specials().Add(block.span, special)) {
    case Specials::Added::kDone:
      return 0;
    case Specials::Added::kExists:
      return EEXIST;
    case Specials::Added::kFreed:
      return ENOENT;
    case Specials::Added::kNoMemory:
      break;
  }
  return ENOMEM;
}

int Allocator::RemoveFinalizer(void* ptr) {
  NodeHeap* home = heaps_.HomeOf(ptr);
  const Block block = home == nullptr ? Block() : home->Find(ptr);
  if (block.span == nullptr || block.start != ptr) return ENOENT;
  Special removed;
  return home->specials().Remove(block.span, ptr, SpecialKind::kFinalizer, &removed) ? 0 : ENOENT;
}

size_t Allocator::RunFinalizers(NodeHeap& heap) {
  // Not what finalizers free themselves, or one that makes work for another would keep us for good.
  size_t left = heap.finalizers().waiting();
  size_t ran = 0;
  for (; left > 0; --left) {
    Special* finalizer = heap.finalizers().Take();
    if (finalizer == nullptr) break;
    // The record stays where it is meanwhile: who frees the block once more is told so.
    finalizer->finalizer.function(finalizer->block, finalizer->finalizer.argument);
    const Block block = heap.Find(finalizer->block);
    heap.specials().Drop(block.span, finalizer);
    GiveBack(heap, block);
    ++ran;
  }
  return ran;
}

size_t Allocator::RunFinalizers() {
  size_t ran = 0;
  heaps_.ForEach([&](NodeHeap& heap) { ran += RunFinalizers(heap); });
  return ran;
}

}  // namespace numaheap
