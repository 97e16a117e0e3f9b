#include "src/api/inspection.h"

#include <cstddef>

#include "src/api/allocator.h"

// Of classes with references and private members the layout is the compiler's own affair; g++ and
// clang know the offsets all the same.
#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace numaheap {

// A friend of those whose layout it tells.
struct Inspection {
  static constexpr numaheap_inspection_t Describe() {
    numaheap_inspection_t all = {};
    Copy(NUMAHEAP_INSPECTION_MAGIC, all.magic);
    all.self = &numaheap_inspection;
    all.version = NUMAHEAP_INSPECTION_VERSION;
    all.bytes = sizeof all;
    Copy(NUMAHEAP_VERSION, all.library_version);

    all.heap_table = &allocator.heaps_.table_;
    all.heap_limit = &allocator.heaps_.limit_;
    all.page_bytes = kPageSize;

    constexpr size_t kRange = offsetof(NodeHeap, range_);
    all.heap_node = offsetof(NodeHeap, node_);
    all.heap_span_indices = kRange + offsetof(NodeRange, span_indices);
    all.heap_arena = kRange + offsetof(NodeRange, arena);
    all.heap_released = kRange + offsetof(NodeRange, released_bits);
    all.heap_pages = kRange + offsetof(NodeRange, heap);
    all.area_start = offsetof(Area, start_);
    all.area_reserved = offsetof(Area, reserved_);
    all.area_committed = offsetof(Area, committed_);

    all.span_index_unit = PageMap::kIndexUnit;
    all.span_stride = PageMap::kStride;
    all.span_bytes = sizeof(Span);
    all.span_start = offsetof(Span, start);
    all.span_pages = offsetof(Span, pages);
    all.span_released_pages = offsetof(Span, released_pages);
    all.span_state = offsetof(Span, state);
    all.span_size_class = offsetof(Span, size_class);
    all.span_free_objects = offsetof(Span, free_objects);
    all.state_free = static_cast<uint32_t>(SpanState::kFree);
    all.state_detached = static_cast<uint32_t>(SpanState::kDetached);
    all.state_small = static_cast<uint32_t>(SpanState::kSmall);
    all.state_large = static_cast<uint32_t>(SpanState::kLarge);

    all.class_table = &kSizeMap[kNoClass];
    all.class_count = kSizeClasses;
    all.class_bytes = sizeof(SizeClassInfo);
    all.class_object_size = offsetof(SizeClassInfo, size);
    all.class_span_objects = offsetof(SizeClassInfo, span_objects);
    return all;
  }

 private:
  template <size_t kFrom, size_t kTo>
  static constexpr void Copy(const char (&text)[kFrom], char (&to)[kTo]) {
    static_assert(kFrom <= kTo);
    for (size_t i = 0; i < kFrom; ++i) to[i] = text[i];
  }
};

// What the header says of the fields' types.
static_assert(sizeof(NodeId) == 4 && sizeof(PageId) == 4 && sizeof(SpanState) == 1 &&
              sizeof(SizeClass) == 1 && sizeof(std::atomic<size_t>) == 8 &&
              sizeof(std::atomic<int>) == 4);

}  // namespace numaheap

extern "C"
    [[gnu::visibility("default")]] constinit const numaheap_inspection_t numaheap_inspection =
        numaheap::Inspection::Describe();
