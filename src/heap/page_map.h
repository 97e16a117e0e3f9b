// PageMap: flat arrays over the pages of one heap: size class, released bit, span record.
//
// The arrays lie in the range, in front of the pages, and are committed as the heap grows. Lookups
// are safe for any page number. Writers hold the page heap's lock; a reader without it is right
// about pages that belong to a block which it keeps alive.
//
// Which pages have a span entry: every page of a span of up to kStride pages; the first, the last
// and every page whose number is a multiple of kStride in larger ones, so that handing out a large
// span costs little. Entries are never erased: a reader checks that the record covers the page,
// which can only be so when it is the right one.
#pragma once

#include <atomic>
#include <cstdint>

#include "src/base/bitmap.h"
#include "src/heap/span.h"
#include "src/os/address_space.h"

namespace numaheap {

class PageMap {
 public:
  static constexpr uint32_t kStride = 128;
  static constexpr uint32_t kIndexUnit = 16;  // bytes of the arena, by which entries count

  explicit PageMap(NodeRange& range)
      : range_(range),
        classes_(reinterpret_cast<uint8_t*>(range.page_classes.start())),
        released_(reinterpret_cast<uint64_t*>(range.released_bits.start())),
        entries_(reinterpret_cast<std::atomic<uint32_t>*>(range.span_indices.start())) {}

  // Makes the arrays usable for the first `pages` pages. False when the kernel refuses.
  bool CommitUpTo(Kernel& kernel, size_t pages);

  char* AddressOf(PageId page) const {
    return range_.heap.start() + (size_t{page.index} << kPageShift);
  }
  // `ptr` must lie in the heap area.
  PageId PageOf(const void* ptr) const {
    return {static_cast<uint32_t>(OffsetOf(ptr) >> kPageShift)};
  }
  size_t OffsetOf(const void* ptr) const {
    return static_cast<size_t>(static_cast<const char*>(ptr) - range_.heap.start());
  }
  // Whether `ptr` lies where blocks can be.
  bool IsCommitted(const void* ptr) const {
    return reinterpret_cast<uintptr_t>(ptr) - reinterpret_cast<uintptr_t>(range_.heap.start()) <
           range_.heap.committed_bytes();
  }
  size_t committed_pages() const { return range_.heap.committed_bytes() >> kPageShift; }

  // Of the arrays, what describes committed pages.
  size_t used_bytes() const {
    const size_t pages = committed_pages();
    return pages + pages / 8 + pages * sizeof(uint32_t);
  }

  const uint8_t* classes() const { return classes_; }
  // Others may write it at the same time: the class of a live block's page can be hidden.
  SizeClass ClassAt(PageId page) const {
    return {std::atomic_ref(classes_[page.index]).load(std::memory_order_relaxed)};
  }
  void SetClass(PageId start, Length n, SizeClass c) {
    for (size_t i = start.index; i < start.index + n.pages; ++i) {
      std::atomic_ref(classes_[i]).store(c.value, std::memory_order_relaxed);
    }
  }

  uint64_t* released() const { return released_; }

  // The span that covers `page`, whatever its state, or null.
  Span* SpanAt(PageId page) const {
    if (page.index >= committed_pages()) return nullptr;
    Span* span = EntryAt(page);
    if (span != nullptr && span->Covers(page)) return span;
    span = EntryAt({page.index & ~(kStride - 1)});
    return span != nullptr && span->Covers(page) ? span : nullptr;
  }

  // Bytes of the large object that starts at `ptr`, which must lie in the heap area; 0 when none
  // does.
  size_t LargeSizeAt(const void* ptr) const {
    const PageId page = PageOf(ptr);
    if (page.index >= committed_pages() || AddressOf(page) != ptr) return 0;
    const Span* span = EntryAt(page);
    const bool starts = span != nullptr && span->start == page && span->state == SpanState::kLarge;
    return starts ? span->length().bytes() : 0;
  }

  // Enters every page that lookups may ask for when blocks are handed out from the span.
  void Enter(Span* span);
  // Enters the ends, which is what merging with neighbours asks for.
  void EnterEnds(Span* span);

 private:
  Span* EntryAt(PageId page) const {
    const uint32_t index = entries_[page.index].load(std::memory_order_relaxed);
    return index == 0 ? nullptr
                      : reinterpret_cast<Span*>(range_.arena.start() + size_t{index} * kIndexUnit);
  }
  void SetEntry(uint32_t page, uint32_t index) {
    entries_[page].store(index, std::memory_order_relaxed);
  }
  uint32_t IndexOf(const Span* span) const {
    return static_cast<uint32_t>(
        static_cast<size_t>(reinterpret_cast<const char*>(span) - range_.arena.start()) /
        kIndexUnit);
  }

  NodeRange& range_;
  uint8_t* const classes_;
  uint64_t* const released_;
  std::atomic<uint32_t>* const entries_;
};

}  // namespace numaheap
