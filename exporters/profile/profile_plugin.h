/* The entries of libnumaheap-profile.so: stack traces of allocations, and the file that they end up
 * in.
 *
 * The core loads the library with dlopen (RTLD_LOCAL) only when `profile.sample_interval` is set,
 * and keeps it loaded for good. Plain C types; nothing throws. */
#ifndef NUMAHEAP_PROFILE_PLUGIN_H_
#define NUMAHEAP_PROFILE_PLUGIN_H_

#include "src/api/numaheap.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Writes up to `most` return addresses of the calling stack to `stack`, the innermost first, and
 * returns how many. Follows frame pointers: takes no lock, allocates nothing, and ends where a
 * function keeps none. */
NUMAHEAP_API int numaheap_profile_trace(void** stack, int most);

/* What was allocated from one stack, of one node's memory. */
struct numaheap_profile_sample {
  int node;           /* kernel node number; -1 for the interleaved heap */
  void* const* stack; /* return addresses, the innermost first */
  int depth;
  int64_t alloc_objects, alloc_bytes; /* since start, estimated from the samples */
  int64_t inuse_objects, inuse_bytes; /* of those, what has not been freed */
};

struct numaheap_profile_source {
  int64_t sample_interval; /* bytes */
  /* Calls visit(context, sample) for all there are. No lock is held meanwhile; samples are valid
   * during the call, their stacks for good. */
  void (*for_each)(void (*visit)(void* context, const struct numaheap_profile_sample* sample),
                   void* context);
};

/* Writes all to `fd` as pprof reads it: profile.proto
 * (https://github.com/google/pprof/blob/main/proto/profile.proto), gzipped. Allocates. Returns 0,
 * ENOMEM, or what write(2) failed with. */
NUMAHEAP_API int numaheap_profile_write(int fd, const struct numaheap_profile_source* source);

typedef int (*numaheap_profile_trace_t)(void**, int);
typedef int (*numaheap_profile_write_t)(int, const struct numaheap_profile_source*);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* NUMAHEAP_PROFILE_PLUGIN_H_ */
