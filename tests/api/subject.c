// A program to look at from outside. It does what lines on stdin say, answers each with one line on
// stdout, and ends with its stdin. It allocates nothing for itself.
//
//   small MIB [CPU]   allocates MIB MiB in blocks of 16 to 2,048 bytes, on that CPU, and writes to
//                     them
//
//   large MIB [CPU]   the same in blocks of 300 KiB to 2 MiB
//
//   interleaved MIB   the same in blocks of 1 MiB of the interleaved heap
//
//   count N SIZE      allocates N blocks of SIZE bytes
//
//   free [CPU]        frees all blocks, on that CPU
//
//   exhaust           allocates until there is no more, which must be ENOMEM; answers how many MiB
//
//   load PATH         dlopens a library
//
//   fork              answers the process id of a child that allocates, frees, and then waits
//
//   walk PATH         writes the spans of all heaps to that file, as `numaheap heapmap --csv` does
//
//   churn             allocates and frees blocks of all sizes, on a thread, until its stdin ends
//
//   snapshot          answers KEY=VALUE…; a node's keys begin with its number and a point
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/api/numaheap.h"

// Blocks hang together by their first word.
struct block {
  struct block* next;
};
static struct block* blocks;

static int KeepBlock(struct block* block, size_t size) {
  if (block == NULL) return 0;
  memset(block, 0xa5, size);
  block->next = blocks;
  blocks = block;
  return 1;
}

static int Keep(size_t size) {
  errno = 0;
  return KeepBlock(malloc(size), size);
}

static void FreeAll(void) {
  while (blocks != NULL) {
    struct block* next = blocks->next;
    free(blocks);
    blocks = next;
  }
}

static int Allocate(size_t bytes, size_t smallest, size_t largest) {
  for (size_t size = smallest, sum = 0; sum < bytes; sum += size) {
    if (!Keep(size)) return 0;
    size += size / 7 + 1;
    if (size > largest) size = smallest;
  }
  return 1;
}

// Whether memory ended as it should; *mib is how much there was.
static int Exhaust(size_t* mib) {
  for (*mib = 0; Keep(1 << 20); ++*mib) {
  }
  if (errno != ENOMEM) return 0;
  while (Keep(4096)) {
  }
  if (errno != ENOMEM) return 0;
  while (Keep(64)) {
  }
  return errno == ENOMEM;
}

static void Pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (cpu >= 0) sched_setaffinity(0, sizeof set, &set);
}

static char answer[16384];

static void Add(const char* format, ...) __attribute__((format(printf, 1, 2)));
static void Add(const char* format, ...) {
  const size_t used = strlen(answer);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(answer + used, sizeof answer - used, format, arguments);
  va_end(arguments);
}

static void AddSnapshot(void) {
  static numaheap_node_snapshot_t nodes[64];
  numaheap_snapshot_t all = {
      .version = NUMAHEAP_SNAPSHOT_VERSION, .node_capacity = 64, .nodes = nodes};
  if (numaheap_snapshot(&all) != 0) return;
  Add("node_count=%u cache_mode=%u placement_mode=%u reservation_halvings=%u metrics_address=%s",
      all.node_count, all.cache_mode, all.placement_mode, all.reservation_halvings,
      all.metrics_address);
  for (uint32_t i = 0; i < all.node_count; ++i) {
#define ADD(field) Add(" %d." #field "=%llu", nodes[i].node, (unsigned long long)nodes[i].field)
    ADD(reserved_bytes);
    ADD(committed_bytes);
    ADD(in_use_bytes);
    ADD(idle_bytes);
    ADD(released_bytes);
    ADD(large_bytes);
    ADD(allocations);
    ADD(failed_growths);
#undef ADD
  }
}

struct walk {
  int file;
  int node;
};

static int WriteSpan(const numaheap_span_t* span, void* argument) {
  static const char* const states[] = {
      "", "small", "large", "idle", "partly_released", "released", "reserved"};
  const struct walk* walk = argument;
  char node[16] = "interleaved", line[256];
  if (walk->node >= 0) snprintf(node, sizeof node, "%d", walk->node);
  const int length = snprintf(line, sizeof line, "%s,%#llx,%zu,%s,%u,%zu,%u,%u,%zu\n", node,
                              (unsigned long long)(uintptr_t)span->start, span->bytes,
                              states[span->state], span->size_class, span->object_size,
                              span->objects, span->live_objects, span->released_bytes);
  return write(walk->file, line, (size_t)length) == length ? 0 : -1;
}

static int WriteWalk(const char* path) {
  static const char head[] =
      "node,start,bytes,state,size_class,object_size,objects,live_objects,released_bytes\n";
  struct walk walk = {open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600), -1};
  if (write(walk.file, head, sizeof head - 1) < 0) return 0;
  int result = 0;
  for (; walk.node < 64 && (result == 0 || result == ENOENT); ++walk.node) {
    result = numaheap_walk(walk.node, WriteSpan, &walk);
  }
  close(walk.file);
  return result == 0 || result == ENOENT;
}

static void* Churn(void* unused) {
  static void* churned[2000];
  uint64_t random = 1;
  for (;;) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    void** place = &churned[(random >> 33) % 2000];
    free(*place);
    *place = malloc((size_t)1 << (random >> 60) << (random >> 50 & 7));
  }
  return unused;
}

static pid_t Fork(void) {
  const pid_t child = fork();
  if (child != 0) return child;
  alarm(120);  // nobody else ends it if the test dies
  close(0);
  close(1);
  Allocate(64 << 20, 16, 2048);
  Allocate(64 << 20, 300 << 10, 2 << 20);
  FreeAll();
  for (;;) pause();
}

// Whether the line could be done.
static int Obey(const char* line) {
  size_t mib, count, size;
  int cpu = -1;
  char path[4096];
  if (sscanf(line, "small %zu %d", &mib, &cpu) >= 1) {
    Pin(cpu);
    return Allocate(mib << 20, 16, 2048);
  }
  if (sscanf(line, "large %zu %d", &mib, &cpu) >= 1) {
    Pin(cpu);
    return Allocate(mib << 20, 300 << 10, 2 << 20);
  }
  if (sscanf(line, "interleaved %zu", &mib) == 1) {
    while (mib > 0 && KeepBlock(numaheap_malloc_interleaved(1 << 20), 1 << 20)) --mib;
    return mib == 0;
  }
  if (sscanf(line, "count %zu %zu", &count, &size) == 2) {
    while (count > 0 && Keep(size)) --count;
    return count == 0;
  }
  if (strncmp(line, "free", 4) == 0) {
    sscanf(line, "free %d", &cpu);
    Pin(cpu);
    FreeAll();
    return 1;
  }
  if (strcmp(line, "exhaust") == 0) {
    if (!Exhaust(&mib)) return 0;
    Add("%zu", mib);
    return 1;
  }
  if (sscanf(line, "load %4095s", path) == 1) return dlopen(path, RTLD_NOW) != NULL;
  if (strcmp(line, "fork") == 0) {
    const pid_t child = Fork();
    Add("%d", (int)child);
    return child > 0;
  }
  if (sscanf(line, "walk %4095s", path) == 1) return WriteWalk(path);
  if (strcmp(line, "churn") == 0) {
    pthread_t thread;
    return pthread_create(&thread, NULL, Churn, NULL) == 0;
  }
  if (strcmp(line, "snapshot") == 0) {
    AddSnapshot();
    return answer[0] != '\0';
  }
  return 0;
}

int main(void) {
  char line[4200];
  size_t used = 0;
  while (read(0, line + used, 1) == 1) {
    if (line[used] != '\n' && used < sizeof line - 1) {
      ++used;
      continue;
    }
    line[used] = '\0';
    used = 0;
    answer[0] = '\0';
    if (!Obey(line)) {
      answer[0] = '\0';
      Add("refused: %s", line);
    }
    Add("\n");
    if (write(1, answer, strlen(answer)) < 0) return 1;
  }
  return 0;
}
