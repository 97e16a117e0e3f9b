/* numaheap: a NUMA-aware memory allocator.
 *
 * The malloc family and the C++ operators come with the library and need no header; this one has
 * what they can't say. Plain C. Every function is thread-safe and, unless it says otherwise, leaves
 * errno alone. Nothing here prints. */
#ifndef NUMAHEAP_H_
#define NUMAHEAP_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NUMAHEAP_VERSION_MAJOR 0
#define NUMAHEAP_VERSION_MINOR 1
#define NUMAHEAP_VERSION_PATCH 0

#if defined(__GNUC__)
#define NUMAHEAP_API __attribute__((visibility("default")))
#else
#define NUMAHEAP_API
#endif

/* ---- Placement ------------------------------------------------------------------------------ */

/* Allocates `size` bytes (0 counts as 1) from the heap of kernel node `node`, aligned to 16 bytes.
 * Free with free(). The memory comes from that node's address range or not at all: null with errno
 * ENOMEM when the range has none, null with errno EINVAL when there is no such heap or this process
 * may not use that node. */
NUMAHEAP_API void* numaheap_malloc_onnode(size_t size, int node);

/* As above, from the heap whose pages lie interleaved over all nodes. It is there once the
 * library's constructor has run. */
NUMAHEAP_API void* numaheap_malloc_interleaved(size_t size);

/* Makes the calling thread allocate from the heap of kernel node `node` wherever it runs, and from
 * the nearest other node only when that is full; -1, with which every thread begins, is the node of
 * the CPU that runs it. Such allocations go past the CPU caches and cost more, and as long as any
 * thread has a node of its own, malloc and free take a longer way in all of them. Returns 0, or
 * EINVAL when there is no such heap, this process may not use that node, or the library's
 * constructor has not run yet; then nothing changes. */
NUMAHEAP_API int numaheap_set_thread_node(int node);

/* What numaheap_set_thread_node set for the calling thread, or -1. */
NUMAHEAP_API int numaheap_thread_node(void);

/* What numaheap knows of an address. */
typedef struct numaheap_owner_t {
  int node;            /* kernel node whose heap owns it; -1 for the interleaved heap */
  unsigned size_class; /* 1 and up; 0: a large object with pages of its own */
  void* object;        /* start of the block that contains the address */
  size_t object_size;  /* usable bytes of that block */
} numaheap_owner_t;

/* Says which block contains `ptr`, which may point into its middle. Safe for any address at all,
 * as long as the block is not freed at the same time. Returns 0 and fills *owner, or ENOENT when no
 * block of numaheap contains it (a block that lies freed in a cache may still be reported). */
NUMAHEAP_API int numaheap_owner(const void* ptr, numaheap_owner_t* owner);

/* ---- Finalizers ----------------------------------------------------------------------------- */

/* Has `fn(ptr, arg)` called once after `ptr`, a live block of numaheap, has been freed, before its
 * memory is used again. It runs on the scavenger thread of the block's node, in its next round (a
 * tenth of scavenger.idle_after, at most a second), or in numaheap_run_finalizers. Until it has
 * returned the block counts as in use and keeps its content.
 *
 * Returns 0, or EINVAL: `ptr` or `fn` is null, or `ptr` points into the middle of a block; ENOENT:
 * no block of numaheap is there, or it has been freed (one that lies freed in a cache is not
 * recognised); EEXIST: it has a finalizer, which stays; ENOMEM. The block's neighbours of the same
 * size are freed more slowly meanwhile.
 *
 * fn may allocate and free, and add finalizers to other blocks; it must not throw. It shares its
 * thread with the scavenger: every signal is blocked, the stack has 256 KiB, and what blocks it
 * keeps idle memory with the process. For fn itself `ptr` is freed: to free it again ends the
 * program, to add a finalizer to it fails with ENOENT.
 *
 * realloc keeps the finalizer of a block that stays where it is. A block that moves is freed at its
 * old address: the finalizer runs for that, and the new block has none.
 * At fork the child inherits all finalizers, those that wait to run among them, as it does all
 * memory: each process runs them for its own copy (one that is running on another thread at that
 * moment runs in the parent only, and the child keeps that block for good).
 * At exit those that wait do not run; numaheap_run_finalizers in a handler of atexit(3) changes
 * that.
 * A process without a scavenger thread gets one when a finalizer waits, at the next call of malloc
 * or free that leaves the CPU's cache and does not come from libc or the loader; where no thread
 * can be had, numaheap_run_finalizers is left. */
NUMAHEAP_API int numaheap_add_finalizer(void* ptr, void (*fn)(void* ptr, void* arg), void* arg);

/* Takes the finalizer of a live block off again; free then is a plain free. Returns 0, or ENOENT
 * when `ptr` is no live block with a finalizer. */
NUMAHEAP_API int numaheap_remove_finalizer(void* ptr);

/* Runs the finalizers that wait at this moment, of all nodes, on the calling thread, and returns
 * how many those were. What finalizers themselves free is left for the next call. One that a
 * scavenger thread has begun may still be running. */
NUMAHEAP_API size_t numaheap_run_finalizers(void);

/* ---- Giving memory back --------------------------------------------------------------------- */

/* Empties the caches into the page heaps and returns every idle page to the kernel, whatever its
 * age. Returns the number of bytes returned. Takes milliseconds per GiB; other threads go on. */
NUMAHEAP_API size_t numaheap_release_memory(void);

/* ---- Snapshot ------------------------------------------------------------------------------- */

#define NUMAHEAP_SNAPSHOT_VERSION 2

/* One heap. All sizes in bytes, all counts since start. In every snapshot
 * in_use_bytes + idle_bytes + released_bytes == committed_bytes, exactly. */
typedef struct numaheap_node_snapshot_t {
  int32_t node;             /* kernel node number; -1 for the interleaved heap */
  uint32_t cpus;            /* online CPUs whose nearest heap this is */
  uint64_t reserved_bytes;  /* address space kept for this heap */
  uint64_t committed_bytes; /* the part of it that was ever used */
  uint64_t in_use_bytes;    /* pages that hold objects, cached ones included */
  uint64_t idle_bytes;      /* free pages still backed by memory */
  uint64_t released_bytes;  /* free pages without memory behind them */
  uint64_t cached_bytes;    /* part of in_use: freed objects in the CPU and transfer caches */
  uint64_t large_bytes;     /* part of in_use: objects with pages of their own */
  uint64_t metadata_bytes;  /* committed for the heap's own records, outside committed_bytes */
  uint64_t spans_in_use;
  uint64_t spans_free;
  uint64_t allocations;     /* objects handed out */
  uint64_t allocated_bytes; /* their sum, by usable size */
  uint64_t frees_local;     /* freed on a CPU of this node */
  uint64_t frees_remote;    /* freed on a CPU of another node */
  uint64_t remote_pending;  /* remote frees not swept yet, objects */
  uint64_t scavenged_bytes; /* returned to the kernel */
  uint64_t growths;         /* times the committed part grew */
  uint64_t failed_growths;  /* times the kernel refused it */
  uint64_t usable;          /* 1, or 0 while the process may not use the node's memory */
  /* Samples of the 4 KiB pages that hold this heap, once a second: those found on its node, those
   * found on another, and those of them that were moved home. */
  uint64_t audited_home_pages;
  uint64_t audited_away_pages;
  uint64_t healed_pages;
  uint64_t large_objects; /* those of large_bytes */
} numaheap_node_snapshot_t;

/* One size class of a heap: what its small spans hold. The classes' live bytes are a part of
 * in_use_bytes - large_bytes; the rest is free within spans, or left over at their ends. */
typedef struct numaheap_class_snapshot_t {
  uint64_t object_size; /* bytes; 0 where there is no such class */
  uint64_t spans;
  uint64_t live_objects; /* in use by the program, or cached */
  uint64_t live_bytes;
} numaheap_class_snapshot_t;

enum { NUMAHEAP_CACHE_BOOT = 0, NUMAHEAP_CACHE_RSEQ = 1, NUMAHEAP_CACHE_LOCKED = 2 };
enum {
  NUMAHEAP_PLACEMENT_SINGLE_NODE = 0, /* one node: nothing to place */
  NUMAHEAP_PLACEMENT_PREFERRED = 1,
  NUMAHEAP_PLACEMENT_BIND = 2,
  NUMAHEAP_PLACEMENT_FIRST_TOUCH = 3, /* the kernel refused mbind */
  NUMAHEAP_PLACEMENT_SYNTHETIC = 4    /* nodes are made up: addresses are, memory is not, placed */
};

typedef struct numaheap_snapshot_t {
  uint32_t version;                /* in: NUMAHEAP_SNAPSHOT_VERSION */
  uint32_t node_capacity;          /* in: entries in `nodes`; 0 to ask for the number only */
  numaheap_node_snapshot_t* nodes; /* in: the caller's array; filled by rising node number */
  uint32_t node_count;     /* out: heaps there are; more than node_capacity: the rest is left out */
  uint32_t cache_mode;     /* out: NUMAHEAP_CACHE_… */
  uint32_t placement_mode; /* out: NUMAHEAP_PLACEMENT_… */
  uint32_t
      reservation_halvings; /* out: times the address space was refused and asked for by half */
  /* in: null, or the caller's array of node_capacity * node_capacity entries. Of what was freed on
   * CPUs of nodes[i], [i * node_capacity + j] gets the bytes that belonged to the heap nodes[j]. */
  uint64_t* freed_bytes;
  /* in: null, or likewise: the allocations that wanted nodes[i] and got memory of nodes[j]. */
  uint64_t* spills;
  char metrics_address[64]; /* out: host:port that serves /metrics, "" if none does */
  /* in: null, or the caller's array of node_capacity * class_capacity entries. Of nodes[i],
   * [i * class_capacity + c] gets size class c; class 0 is none. */
  numaheap_class_snapshot_t* classes;
  uint32_t class_capacity; /* in */
  uint32_t class_count;    /* out: size classes and class 0; with less capacity some are left out */
} numaheap_snapshot_t;

/* Fills *snapshot. Allocates nothing; takes each heap's locks for a moment. Returns 0, or EINVAL
 * for an unknown version. */
NUMAHEAP_API int numaheap_snapshot(numaheap_snapshot_t* snapshot);

/* ---- Walk ----------------------------------------------------------------------------------- */

enum {
  NUMAHEAP_SPAN_SMALL = 1,           /* cut into objects of one size class */
  NUMAHEAP_SPAN_LARGE = 2,           /* one object */
  NUMAHEAP_SPAN_IDLE = 3,            /* free, all of it backed by memory */
  NUMAHEAP_SPAN_PARTLY_RELEASED = 4, /* free, some of it without memory */
  NUMAHEAP_SPAN_RELEASED = 5,        /* free, without memory */
  NUMAHEAP_SPAN_RESERVED = 6         /* addresses behind all others, never used yet */
};

/* A run of pages of a heap. */
typedef struct numaheap_span_t {
  void* start;
  size_t bytes;
  size_t released_bytes; /* free: the part of it without memory */
  size_t object_size;    /* small, large: usable bytes of an object; else 0 */
  uint32_t state;        /* NUMAHEAP_SPAN_… */
  uint32_t size_class;   /* small: 1 and up; else 0 */
  uint32_t objects;      /* small: how many it has room for; large: 1; else 0 */
  uint32_t live_objects; /* of those: in use by the program, or freed into a cache (CPU, transfer,
                          * on the way home from another node) and not yet back in the span */
} numaheap_span_t;

/* Calls visit(span, argument) for the spans of the heap of kernel node `node` (-1: the interleaved
 * heap), by rising address; *span is the caller's until visit returns. Together they are the heap's
 * reserved range, each page once; a heap at rest has the sums of its snapshot.
 *
 * Other threads go on meanwhile: the heap's lock is held for 64 spans at a time and never while
 * visit runs, which may allocate and free. So of a heap in motion each span is right for its own
 * moment; a free one that grows meanwhile may come in pieces, and one that is made across the place
 * where the walk stands is shown from there on.
 *
 * Stops when visit returns anything but 0, and returns that. Else 0, or ENOENT when there is no
 * such heap. */
NUMAHEAP_API int numaheap_walk(int node, int (*visit)(const numaheap_span_t* span, void* argument),
                               void* argument);

/* ---- Profile -------------------------------------------------------------------------------- */

/* Writes what was allocated by whom to `fd`, in pprof's format (profile.proto, gzipped): for each
 * stack and node (the label "node": a number, or "interleaved") the objects and bytes allocated
 * since start, and those of them that have not been freed. They are estimated from the allocations
 * that profile.sample_interval made samples; sizes are those asked for, at the time of the
 * allocation. Stacks go as far as frame pointers do: the function that allocates, and what called
 * it if it is built with -fno-omit-frame-pointer.
 *
 * Allocates. Returns 0, ENODATA when nothing is sampled, ENOMEM, or what write(2) failed with; then
 * part of the file may have been written. */
NUMAHEAP_API int numaheap_profile_dump(int fd);

/* The library's version, "0.1.0". */
NUMAHEAP_API const char* numaheap_version(void);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* NUMAHEAP_H_ */
