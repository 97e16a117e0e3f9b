#include "src/heap/span_walk.h"

#include <algorithm>

#include "src/base/bitmap.h"
#include "src/heap/size_map.h"

namespace numaheap {

const SpanView* SpanWalk::Next() {
  if (shown_ == count_) Copy();
  return shown_ == count_ ? nullptr : &views_[shown_++];
}

void SpanWalk::Copy() {
  shown_ = count_ = 0;
  LockHolder holder(pages_.lock());
  const PageId end{static_cast<uint32_t>(pages_.map().committed_pages())};
  while (count_ < kSpansPerHold && page_ < end) {
    const SpanView view = ViewFrom(page_, end);
    views_[count_++] = view;
    page_ = page_ + view.length;
  }
}

SpanView SpanWalk::ViewFrom(PageId page, PageId end) const {
  const PageMap& map = pages_.map();
  // A page that has no entry is in the middle of a free span, which has one at its end.
  const PageId limit = std::min(end, page + Length{kPagesPerPiece});
  const Span* span = map.SpanAt(page);
  PageId behind = page + Length{1};
  for (; span == nullptr && behind < limit; behind = behind + Length{1}) span = map.SpanAt(behind);
  SpanView view;
  view.start = page;
  view.state = SpanState::kFree;
  if (span == nullptr) {
    view.length = behind - page;
  } else {
    DCHECK(span->Covers(page));
    view.length = span->start + span->length() - page;
    if (span->state == SpanState::kSmall || span->state == SpanState::kLarge) {
      view.state = span->state;
      view.size_class = span->size_class;
    }
  }
  if (view.state == SpanState::kSmall) {
    const uint32_t objects = kSizeMap[view.size_class].span_objects;
    view.live_objects = objects - std::min<uint32_t>(objects, span->FreeObjects());
  } else if (view.state == SpanState::kFree) {
    // While the kernel takes its memory the bits run ahead of the count, and of the statistics.
    const bool whole = span != nullptr && span->start == page;
    view.released = {whole ? span->released_pages
                           : CountBits(map.released(), page.index, view.length.pages)};
  }
  return view;
}

}  // namespace numaheap
