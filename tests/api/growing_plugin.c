// A library whose constructor, under the loader's lock, makes the heap so large that it gets a
// thread, and waits for a thread of its own that does the same.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void* Grow(void* unused) {
  static const size_t kBlock = 64 << 10, kBlocks = 1000;
  void** last = NULL;
  for (size_t i = 0; i < kBlocks; ++i) {
    void** block = malloc(kBlock);
    if (block == NULL) abort();
    memset(block, 0xa5, kBlock);
    *block = last;
    last = block;
  }
  while (last != NULL) {
    void** next = *last;
    free(last);
    last = next;
  }
  return unused;
}

__attribute__((constructor)) static void Construct(void) {
  Grow(NULL);
  pthread_t thread;
  if (pthread_create(&thread, NULL, Grow, NULL) != 0) abort();
  pthread_join(thread, NULL);
}
