// Span: a run of pages of one heap, and the record that describes it.
//
//   kFree      on the page heap's lists; some of its pages may be released
//   kDetached  taken off the lists: being cut, or the kernel takes its memory back
//   kSmall     cut into blocks of one class; belongs to that class's CentralFreeList
//   kLarge     one object
//   kDead      a record without pages, waiting to be reused
//
// Records come from the heap's MetadataArena and are type-stable: their memory only ever holds
// Spans, so a stale reference can be read and then checked by what it covers. start, pages and
// state change only under the page heap's lock; free_objects and bits under the lock of the central
// list of the span's class (walks read free_objects without it); specials under a lock of Specials.
#pragma once

#include <cstdint>

#include "src/base/ids.h"
#include "src/base/intrusive_list.h"
#include "src/base/ordered_tree.h"

namespace numaheap {

struct Special;

enum class SpanState : uint8_t { kDead, kFree, kDetached, kSmall, kLarge };

struct alignas(16) Span {
  ListLink<Span> list_link;  // kFree: the list of its page count
  ListLink<Span> idle_link;  // kFree with idle pages: the scavenger's list
  TreeLink<Span> tree_link;  // kFree and large: by size; kSmall with free blocks: by address

  PageId start;
  uint32_t pages = 0;
  SpanState state = SpanState::kDead;
  SizeClass size_class;       // kSmall
  bool zeroed = false;        // kLarge: every byte was zero when it was handed out
  bool hides_class = false;   // kSmall: the byte map shows kNoClass, because there are specials
  uint16_t free_objects = 0;  // kSmall: blocks that the central list may hand out

  uint32_t released_pages = 0;    // kFree: pages without memory; the bitmap says which
  uint64_t idle_since_ms = 0;     // kFree: mean over its idle pages
  uint64_t* free_bits = nullptr;  // kSmall: a set bit is a free block
  uint64_t inline_bits = 0;       // where free_bits points for up to 64 blocks
  Special* specials = nullptr;    // kSmall, kLarge: by address and kind; read without the lock, too

  Length length() const { return {pages}; }
  bool Covers(PageId page) const { return page >= start && page - start < length(); }
  uint32_t idle_pages() const { return pages - released_pages; }

  uint32_t FreeObjects() const { return __atomic_load_n(&free_objects, __ATOMIC_RELAXED); }
  void SetFreeObjects(size_t n) {
    __atomic_store_n(&free_objects, static_cast<uint16_t>(n), __ATOMIC_RELAXED);
  }
};

}  // namespace numaheap
