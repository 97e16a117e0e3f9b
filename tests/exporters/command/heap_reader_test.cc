// Reading heaps, out of records that the test makes in its own memory: what is there is found, and
// whatever the records hold, the answer covers the committed pages once.
#include "exporters/command/heap_reader.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <random>

#include "exporters/command/inspection_finder.h"

namespace numaheap::command {
namespace {

constexpr uint32_t kPageBytes = 8192;
constexpr uint32_t kUnit = 16;
constexpr uint32_t kStride = 128;

enum State : uint8_t { kDead, kFree, kDetached, kSmall, kLarge };

struct MadeArea {
  const void* start = nullptr;
  uint64_t reserved = 0, committed = 0;
};

struct MadeHeap {
  int32_t node = 3;
  MadeArea indices, arena, released, pages;
};

struct alignas(16) MadeSpan {
  uint32_t start, pages, released;
  uint16_t free_objects;
  uint8_t state, size_class;
};

struct MadeClass {
  uint32_t object_size;
  uint16_t objects;
};

// A process's heaps, as numaheap would have them.
class MadeProcess {
 public:
  static constexpr uint32_t kPages = 40'000, kReservedPages = 50'000, kRecords = 4'000;

  MadeProcess() {
    heap_.indices = {indices_.data(), kPages * 4, kPages * 4};
    heap_.arena = {records_.data(), kRecords * sizeof(MadeSpan), 4096};
    heap_.released = {released_.data(), kPages / 8, kPages / 8};
    heap_.pages = {reinterpret_cast<void*>(uint64_t{1} << 44),
                   uint64_t{kReservedPages} * kPageBytes, uint64_t{kPages} * kPageBytes};
    std::memcpy(inspection.magic, NUMAHEAP_INSPECTION_MAGIC, sizeof inspection.magic);
    inspection.self = &inspection;
    inspection.version = NUMAHEAP_INSPECTION_VERSION;
    inspection.bytes = sizeof inspection;
    inspection.heap_table = &table_;
    inspection.heap_limit = &limit_;
    inspection.page_bytes = kPageBytes;
    inspection.heap_node = offsetof(MadeHeap, node);
    inspection.heap_span_indices = offsetof(MadeHeap, indices);
    inspection.heap_arena = offsetof(MadeHeap, arena);
    inspection.heap_released = offsetof(MadeHeap, released);
    inspection.heap_pages = offsetof(MadeHeap, pages);
    inspection.area_start = offsetof(MadeArea, start);
    inspection.area_reserved = offsetof(MadeArea, reserved);
    inspection.area_committed = offsetof(MadeArea, committed);
    inspection.span_index_unit = kUnit;
    inspection.span_stride = kStride;
    inspection.span_bytes = sizeof(MadeSpan);
    inspection.span_start = offsetof(MadeSpan, start);
    inspection.span_pages = offsetof(MadeSpan, pages);
    inspection.span_released_pages = offsetof(MadeSpan, released);
    inspection.span_state = offsetof(MadeSpan, state);
    inspection.span_size_class = offsetof(MadeSpan, size_class);
    inspection.span_free_objects = offsetof(MadeSpan, free_objects);
    inspection.state_free = kFree;
    inspection.state_detached = kDetached;
    inspection.state_small = kSmall;
    inspection.state_large = kLarge;
    inspection.class_table = classes_;
    inspection.class_count = std::size(classes_);
    inspection.class_bytes = sizeof(MadeClass);
    inspection.class_object_size = offsetof(MadeClass, object_size);
    inspection.class_span_objects = offsetof(MadeClass, objects);
  }

  // Behind the last one; its index is entered at its ends.
  void Add(MadeSpan span) {
    span.start = next_page_;
    next_page_ += span.pages;
    records_[next_record_] = span;
    indices_[span.start] = indices_[next_page_ - 1] =
        next_record_++ * static_cast<uint32_t>(sizeof(MadeSpan)) / kUnit;
  }
  void AddRest() { Add({0, kPages - next_page_, kPages - next_page_, 0, kFree, 0}); }

  std::vector<HeapRecord> Read() {
    const auto process = Process::Open(getpid());
    EXPECT_TRUE(process.ok());
    auto heaps = ReadHeaps(*process, inspection);
    EXPECT_TRUE(heaps.ok()) << heaps.status();
    return heaps.ok() ? *std::move(heaps) : std::vector<HeapRecord>();
  }
  absl::Status Error() {
    const auto process = Process::Open(getpid());
    return ReadHeaps(*process, inspection).status();
  }

  numaheap_inspection_t inspection = {};
  MadeHeap heap_;
  MadeHeap* heaps_[4] = {nullptr, nullptr, nullptr, &heap_};
  MadeHeap** table_ = heaps_;
  int32_t limit_ = 4;
  uint32_t next_page_ = 0, next_record_ = 1;
  std::vector<uint32_t> indices_ = std::vector<uint32_t>(kPages);
  std::vector<uint64_t> released_ = std::vector<uint64_t>(kPages / 64);
  std::vector<MadeSpan> records_ = std::vector<MadeSpan>(kRecords);
  MadeClass classes_[4] = {{0, 0}, {16, 1024}, {512, 32}, {100'000, 8}};
};

// Every page once, in order, and nothing that can't be.
void ExpectWhole(const HeapRecord& heap) {
  uint64_t next = uint64_t{1} << 44;
  for (const SpanRecord& span : heap.spans) {
    ASSERT_EQ(span.start, next);
    ASSERT_GT(span.bytes, 0u);
    ASSERT_EQ(span.bytes % kPageBytes, 0u);
    ASSERT_LE(span.released_bytes, span.bytes);
    ASSERT_LE(span.live_objects, span.objects);
    next += span.bytes;
  }
  ASSERT_EQ(next, (uint64_t{1} << 44) + uint64_t{MadeProcess::kReservedPages} * kPageBytes);
  ASSERT_EQ(heap.spans.back().state, uint32_t{NUMAHEAP_SPAN_RESERVED});
}

TEST(HeapReaderTest, FindsWhatIsThere) {
  MadeProcess made;
  made.Add({0, 2, 0, 24, kSmall, 1});
  made.Add({0, 5, 0, 0, kFree, 0});
  made.Add({0, 300, 0, 0, kLarge, 0});
  made.Add({0, 10, 4, 0, kDetached, 0});
  made.Add({0, 100, 0, 8, kSmall, 3});
  made.AddRest();
  made.released_[309 / 64] = uint64_t{0xf} << (309 % 64);
  const auto heaps = made.Read();
  ASSERT_EQ(heaps.size(), 1u);
  EXPECT_EQ(heaps[0].node, 3);
  ExpectWhole(heaps[0]);
  const auto& spans = heaps[0].spans;
  ASSERT_EQ(spans.size(), 7u);
  EXPECT_EQ(spans[0].state, uint32_t{NUMAHEAP_SPAN_SMALL});
  EXPECT_EQ(spans[0].size_class, 1u);
  EXPECT_EQ(spans[0].object_size, 16u);
  EXPECT_EQ(spans[0].objects, 1024u);
  EXPECT_EQ(spans[0].live_objects, 1000u);
  EXPECT_EQ(spans[1].state, uint32_t{NUMAHEAP_SPAN_IDLE});
  EXPECT_EQ(spans[2].state, uint32_t{NUMAHEAP_SPAN_LARGE});
  EXPECT_EQ(spans[2].object_size, 300u * kPageBytes);
  EXPECT_EQ(spans[2].live_objects, 1u);
  EXPECT_EQ(spans[3].state, uint32_t{NUMAHEAP_SPAN_PARTLY_RELEASED});
  EXPECT_EQ(spans[3].released_bytes, 4u * kPageBytes);
  EXPECT_EQ(spans[4].live_objects, 0u);
  const auto& runs = heaps[0].runs;
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_EQ(runs[0].start, spans[3].start);
  EXPECT_EQ(runs[0].bytes, 2u * kPageBytes);
  EXPECT_EQ(runs[1].bytes, 4u * kPageBytes);
  EXPECT_EQ(runs[2].bytes, 4u * kPageBytes);
  EXPECT_TRUE(runs[1].released && !runs[0].released && !runs[2].released);
  EXPECT_EQ(spans[5].state, uint32_t{NUMAHEAP_SPAN_RELEASED});
}

TEST(HeapReaderTest, SortsHeapsWithTheInterleavedOneFirst) {
  MadeProcess made;
  made.AddRest();
  MadeHeap interleaved = made.heap_, other = made.heap_;
  interleaved.node = -1;
  other.node = 0;
  made.heaps_[0] = &other;
  made.heaps_[1] = &interleaved;
  const auto heaps = made.Read();
  ASSERT_EQ(heaps.size(), 3u);
  EXPECT_EQ(heaps[0].node, -1);
  EXPECT_EQ(heaps[1].node, 0);
  EXPECT_EQ(heaps[2].node, 3);
}

TEST(HeapReaderTest, WhatMakesNoSenseIsUnknown) {
  for (const MadeSpan& odd : {MadeSpan{0, 7, 0, 2000, kSmall, 1},  // more free than there is room
                              MadeSpan{0, 7, 0, 0, kSmall, 9},     // no such class
                              MadeSpan{0, 7, 0, 0, kSmall, 0}, MadeSpan{0, 7, 8, 0, kFree, 0},
                              MadeSpan{0, 7, 0, 0, 77, 0}, MadeSpan{0, 7, 0, 0, kDead, 0}}) {
    MadeProcess made;
    made.Add({0, 3, 0, 0, kLarge, 0});
    made.Add(odd);
    made.AddRest();
    const auto heaps = made.Read();
    ASSERT_EQ(heaps.size(), 1u);
    ExpectWhole(heaps[0]);
    ASSERT_EQ(heaps[0].spans.size(), 4u);
    EXPECT_EQ(heaps[0].spans[1].state, kSpanUnknown);
    EXPECT_EQ(heaps[0].spans[1].bytes, 7u * kPageBytes);
  }
}

TEST(HeapReaderTest, Errors) {
  MadeProcess made;
  made.AddRest();
  made.table_ = nullptr;
  EXPECT_TRUE(absl::IsNotFound(made.Error())) << "nothing allocated yet";
  made.table_ = reinterpret_cast<MadeHeap**>(uint64_t{4096});
  EXPECT_FALSE(made.Error().ok());
  made.table_ = made.heaps_;
  made.limit_ = -1;
  EXPECT_FALSE(made.Error().ok());
  made.limit_ = INT32_MAX;
  EXPECT_FALSE(made.Error().ok());
  made.limit_ = 4;
  made.heap_.pages.committed = made.heap_.pages.reserved + kPageBytes;
  EXPECT_FALSE(made.Error().ok());
  made.heap_.pages.committed = made.heap_.pages.reserved;
  EXPECT_FALSE(made.Error().ok()) << "more pages than have an index";
  made.heaps_[0] = reinterpret_cast<MadeHeap*>(uint64_t{4096});
  EXPECT_FALSE(made.Error().ok());
}

TEST(HeapReaderTest, AnyRecordsAtAll) {
  std::mt19937 random(20261124);
  for (int round = 0; round < 60; ++round) {
    SCOPED_TRACE(round);
    MadeProcess made;
    while (made.next_page_ < MadeProcess::kPages - 100 &&
           made.next_record_ < MadeProcess::kRecords - 1) {
      made.Add({0, 1 + static_cast<uint32_t>(random() % 60), 0, 0,
                random() % 2 == 0 ? kLarge : kFree, 0});
    }
    made.AddRest();
    // Numbers of all sizes, in the indices and in the records.
    for (unsigned n = random() % 3'000; n > 0; --n) {
      uint32_t* word = random() % 2 == 0
                           ? &made.indices_[random() % made.indices_.size()]
                           : reinterpret_cast<uint32_t*>(made.records_.data()) +
                                 random() % (MadeProcess::kRecords * sizeof(MadeSpan) / 4);
      *word = static_cast<uint32_t>(random() >> random() % 32);
    }
    const auto heaps = made.Read();
    ASSERT_EQ(heaps.size(), 1u);
    ExpectWhole(heaps[0]);
    if (HasFatalFailure()) return;
  }
}

TEST(InspectionTest, IsChecked) {
  MadeProcess made;
  EXPECT_TRUE(CheckInspection(made.inspection).ok());
  using Field = uint32_t numaheap_inspection_t::*;
  using I = numaheap_inspection_t;
  for (const Field field : {&I::page_bytes,      &I::heap_node,           &I::heap_span_indices,
                            &I::heap_arena,      &I::heap_released,       &I::heap_pages,
                            &I::area_start,      &I::area_reserved,       &I::area_committed,
                            &I::span_stride,     &I::span_bytes,          &I::span_start,
                            &I::span_pages,      &I::span_released_pages, &I::span_state,
                            &I::span_size_class, &I::span_free_objects,   &I::class_count,
                            &I::class_bytes,     &I::class_object_size,   &I::class_span_objects}) {
    numaheap_inspection_t odd = made.inspection;
    odd.*field = UINT32_MAX;
    EXPECT_FALSE(CheckInspection(odd).ok());
  }
  numaheap_inspection_t odd = made.inspection;
  odd.span_index_unit = 0;
  EXPECT_FALSE(CheckInspection(odd).ok());
}

}  // namespace
}  // namespace numaheap::command
