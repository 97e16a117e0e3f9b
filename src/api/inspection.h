/* What a process on numaheap shows to those who read its memory from outside, as a debugger does
 * (exporters/command): one constant, the symbol numaheap_inspection. It says where the heaps are
 * and how their records are laid out, so that a reader depends on neither the compiler nor the
 * build.
 *
 * Plain C. In the process nothing reads it, and nothing has to be called or stopped. The records
 * change while they are read: a reader checks everything that it follows. */
#ifndef NUMAHEAP_INSPECTION_H_
#define NUMAHEAP_INSPECTION_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NUMAHEAP_INSPECTION_SYMBOL "numaheap_inspection"
#define NUMAHEAP_INSPECTION_MAGIC "numaheap heaps\n" /* with its 0, 16 bytes */

/* Raised when a field changes its meaning; new fields are added at the end without. */
#define NUMAHEAP_INSPECTION_VERSION 1

/* Addresses are those of the process; offsets and sizes are in bytes. */
typedef struct numaheap_inspection_t {
  char magic[16];           /* NUMAHEAP_INSPECTION_MAGIC */
  const void* self;         /* where this struct lies; tells it from a copy in a file */
  uint32_t version;         /* NUMAHEAP_INSPECTION_VERSION */
  uint32_t bytes;           /* of this struct, as the library has it */
  char library_version[16]; /* "0.1.0" */

  /* *heap_table is an array of *heap_limit pointers to heaps, null where there is none. */
  const void* heap_table; /* address of a pointer; null in it: nothing was allocated yet */
  const void* heap_limit; /* address of an int32_t */

  uint32_t page_bytes;

  /* Of a heap. */
  uint32_t heap_node;         /* offset of an int32_t: kernel node; -1: the interleaved heap */
  uint32_t heap_span_indices; /* offsets of areas: the index of each page's span record; … */
  uint32_t heap_arena;        /* … the records; … */
  uint32_t heap_released;     /* … a bit per page, in words of 64: free and without memory; … */
  uint32_t heap_pages;        /* … and the pages */

  /* Of an area: offsets of a pointer and two uint64_t. */
  uint32_t area_start;
  uint32_t area_reserved;
  uint32_t area_committed; /* usable from the start; it only grows */

  /* A page's index is a uint32_t. 0: none. Else the record lies index * span_index_unit bytes into
   * the arena. If it does not cover the page, the record of the last page whose number is a
   * multiple of span_stride does, or else the page is in the middle of a free span, whose first
   * page has an index. */
  uint32_t span_index_unit;
  uint32_t span_stride;

  /* Of a span record. */
  uint32_t span_bytes;          /* its size */
  uint32_t span_start;          /* offset of a uint32_t: number of the first page */
  uint32_t span_pages;          /* of a uint32_t */
  uint32_t span_released_pages; /* of a uint32_t; free spans only */
  uint32_t span_state;          /* of a uint8_t: one of the next four, or no span */
  uint32_t span_size_class;     /* of a uint8_t; small spans only */
  uint32_t span_free_objects;   /* of a uint16_t; small spans only */
  uint32_t state_free;
  uint32_t state_detached; /* free, and being cut or released */
  uint32_t state_small;
  uint32_t state_large;

  /* The size classes, from 0 (none) on. */
  const void* class_table;
  uint32_t class_count;
  uint32_t class_bytes;        /* of an entry */
  uint32_t class_object_size;  /* offset of a uint32_t */
  uint32_t class_span_objects; /* of a uint16_t: objects in a span */
} numaheap_inspection_t;

extern const numaheap_inspection_t numaheap_inspection;

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* NUMAHEAP_INSPECTION_H_ */
