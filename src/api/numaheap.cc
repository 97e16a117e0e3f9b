#include "src/api/numaheap.h"

#include <errno.h>

#include "src/api/allocator.h"
#include "src/api/fast_path.h"

using numaheap::allocator;

namespace {

void* AllocateFrom(numaheap::NodeHeap* heap, size_t size, int error_without_heap,
                   const void* caller) {
  numaheap::KeepFrame();
  void* block = heap == nullptr ? nullptr : allocator.AllocateOn(*heap, size, caller);
  if (block == nullptr) errno = heap == nullptr ? error_without_heap : ENOMEM;
  return block;
}

}  // namespace

extern "C" {

void* numaheap_malloc_onnode(size_t size, int node) {
  return AllocateFrom(node < 0 ? nullptr : allocator.HeapOnNode({node}), size, EINVAL,
                      __builtin_return_address(0));
}

void* numaheap_malloc_interleaved(size_t size) {
  return AllocateFrom(allocator.InterleavedHeap(), size, ENOMEM, __builtin_return_address(0));
}

int numaheap_set_thread_node(int node) {
  if (node < -1) return EINVAL;
  return allocator.SetThreadNode({node}) ? 0 : EINVAL;
}

int numaheap_thread_node(void) {
  return allocator.ThreadNode().value;
}

int numaheap_owner(const void* ptr, numaheap_owner_t* owner) {
  return allocator.Owner(ptr, owner);
}

int numaheap_add_finalizer(void* ptr, void (*fn)(void* ptr, void* arg), void* arg) {
  return allocator.AddFinalizer(ptr, fn, arg);
}

int numaheap_remove_finalizer(void* ptr) {
  return allocator.RemoveFinalizer(ptr);
}

size_t numaheap_run_finalizers(void) {
  return allocator.RunFinalizers();
}

size_t numaheap_release_memory(void) {
  return allocator.ReleaseMemory();
}

int numaheap_snapshot(numaheap_snapshot_t* snapshot) {
  return allocator.TakeSnapshot(snapshot);
}

int numaheap_walk(int node, int (*visit)(const numaheap_span_t* span, void* argument),
                  void* argument) {
  return node < -1 ? ENOENT : allocator.Walk({node}, visit, argument);
}

int numaheap_profile_dump(int fd) {
  return allocator.DumpProfile(fd);
}

const char* numaheap_version(void) {
  return NUMAHEAP_VERSION;
}

}  // extern "C"
