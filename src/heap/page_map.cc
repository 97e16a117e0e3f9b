#include "src/heap/page_map.h"

namespace numaheap {

bool PageMap::CommitUpTo(Kernel& kernel, size_t pages) {
  // Bytes committed at a time: what 512 MiB of heap needs, so that growth seldom comes here.
  constexpr size_t kPagesAtATime = (size_t{512} << 20) >> kPageShift;
  return range_.page_classes.CommitUpTo(kernel, pages, kPagesAtATime) &&
         range_.released_bits.CommitUpTo(kernel, (pages + 63) / 64 * 8, kPagesAtATime / 8) &&
         range_.span_indices.CommitUpTo(kernel, pages * sizeof(uint32_t),
                                        kPagesAtATime * sizeof(uint32_t));
}

void PageMap::Enter(Span* span) {
  const uint32_t index = IndexOf(span);
  const uint32_t begin = span->start.index;
  const uint32_t end = begin + span->pages;
  if (span->pages <= kStride) {
    for (uint32_t page = begin; page < end; ++page) SetEntry(page, index);
    return;
  }
  SetEntry(begin, index);
  SetEntry(end - 1, index);
  // Pages in front of the first multiple look up a page outside the span.
  const uint32_t first = (begin + kStride - 1) & ~(kStride - 1);
  for (uint32_t page = begin; page < first; ++page) SetEntry(page, index);
  for (uint32_t page = first; page < end; page += kStride) SetEntry(page, index);
}

void PageMap::EnterEnds(Span* span) {
  const uint32_t index = IndexOf(span);
  SetEntry(span->start.index, index);
  SetEntry(span->start.index + span->pages - 1, index);
}

}  // namespace numaheap
