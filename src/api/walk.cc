// numaheap_walk: the spans of a heap, as numaheap.h names them.
#include <errno.h>

#include "src/api/allocator.h"
#include "src/heap/span_walk.h"

namespace numaheap {
namespace {

uint32_t StateOf(const SpanView& view) {
  if (view.state == SpanState::kSmall) return NUMAHEAP_SPAN_SMALL;
  if (view.state == SpanState::kLarge) return NUMAHEAP_SPAN_LARGE;
  if (view.released.pages == 0) return NUMAHEAP_SPAN_IDLE;
  return view.released == view.length ? NUMAHEAP_SPAN_RELEASED : NUMAHEAP_SPAN_PARTLY_RELEASED;
}

numaheap_span_t SpanOf(const SpanView& view, const PageMap& map) {
  numaheap_span_t span = {};
  span.start = map.AddressOf(view.start);
  span.bytes = view.length.bytes();
  span.released_bytes = view.released.bytes();
  span.state = StateOf(view);
  if (view.state == SpanState::kSmall) {
    const SizeClassInfo& info = kSizeMap[view.size_class];
    span.object_size = info.size;
    span.size_class = view.size_class.value;
    span.objects = info.span_objects;
    span.live_objects = view.live_objects;
  } else if (view.state == SpanState::kLarge) {
    span.object_size = span.bytes;
    span.objects = span.live_objects = 1;
  }
  return span;
}

}  // namespace

int Allocator::Walk(NodeId node, int (*visit)(const numaheap_span_t* span, void* argument),
                    void* argument) {
  NodeHeap* heap = Boot() ? heaps_.heap(node) : nullptr;
  if (heap == nullptr) return ENOENT;
  SpanWalk walk(heap->pages());
  while (const SpanView* view = walk.Next()) {
    const numaheap_span_t span = SpanOf(*view, heap->map());
    if (const int stop = visit(&span, argument)) return stop;
  }
  numaheap_span_t rest = {};
  rest.start = heap->map().AddressOf(walk.next_page());
  rest.bytes = heap->range().heap.reserved_bytes() - Length{walk.next_page().index}.bytes();
  rest.state = NUMAHEAP_SPAN_RESERVED;
  return rest.bytes == 0 ? 0 : visit(&rest, argument);
}

}  // namespace numaheap
