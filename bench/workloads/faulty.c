// A preload that breaks malloc's promises, one at a time: the one that the variable FAULT names.
// bench/workloads_test.py sees to it that the workloads find each.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);
extern void __libc_free(void*);

static int Has(const char* fault) {
  const char* wanted = getenv("FAULT");
  return wanted != NULL && strcmp(wanted, fault) == 0;
}

void* malloc(size_t size) {
  static char* last;
  static char* scribbled;
  if (size == 24 && last != NULL && Has("twice")) return last;
  if (scribbled != NULL && Has("scribble")) *scribbled ^= 1;
  char* block = __libc_malloc(size);
  if (size == 24) last = block;
  scribbled = size > 512 && size <= 1024 ? block + size - 1 : NULL;
  return block;
}

void free(void* block) {
  if (!Has("twice")) __libc_free(block);
}

void* calloc(size_t count, size_t size) {
  while (size == 64 && Has("endless")) pause();
  char* block = __libc_calloc(count, size);
  if (block != NULL && Has("dirty")) block[count * size - 1] = 1;
  return block;
}

void* realloc(void* old, size_t size) {
  char* block = __libc_realloc(old, size);
  if (block != NULL && size > 4096 && Has("forgetful")) memset(block + 1024, 0, 1024);
  return block;
}

int posix_memalign(void** block, size_t alignment, size_t size) {
  *block = __libc_memalign(alignment, size + 16);
  if (*block == NULL) return ENOMEM;
  if (Has("crooked")) *block = __libc_malloc(size);
  return 0;
}
