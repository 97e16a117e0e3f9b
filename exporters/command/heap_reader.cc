#include "exporters/command/heap_reader.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "absl/strings/str_cat.h"

namespace numaheap::command {
namespace {

// More than any machine has; a number beyond it is not one of heaps.
constexpr int32_t kMostHeaps = 1 << 14;
constexpr uint64_t kAddressLimit = uint64_t{1} << 47;
constexpr uint64_t kPagesAtATime = 16'384;
constexpr int kTries = 4;  // for a stretch that does not fit together

struct Area {
  uint64_t start = 0, reserved = 0, committed = 0;
};

struct ClassRecord {
  uint32_t object_size = 0, objects = 0;
};

template <typename T>
T Field(const char* record, uint32_t offset) {
  T value;
  std::memcpy(&value, record + offset, sizeof value);
  return value;
}

// One heap.
class HeapReader {
 public:
  HeapReader(const Process& process, const numaheap_inspection_t& layout,
             const std::vector<ClassRecord>& classes, uint64_t address)
      : process_(process), layout_(layout), classes_(classes), address_(address) {}

  absl::StatusOr<HeapRecord> Read() {
    auto node = process_.Get<int32_t>(address_ + layout_.heap_node);
    if (!node.ok()) return node.status();
    heap_.node = *node;
    for (auto [area, offset] :
         {std::pair(&indices_, layout_.heap_span_indices), std::pair(&arena_, layout_.heap_arena),
          std::pair(&released_, layout_.heap_released), std::pair(&pages_, layout_.heap_pages)}) {
      const absl::Status status = ReadArea(address_ + offset, area);
      if (!status.ok()) return status;
    }
    heap_.page_bytes = layout_.page_bytes;
    heap_.reserved_bytes = pages_.reserved;
    const uint64_t end = pages_.committed / layout_.page_bytes;
    if (end > UINT32_MAX || end * sizeof(uint32_t) > indices_.committed ||
        (end + 63) / 64 * sizeof(uint64_t) > released_.committed) {
      return Odd();
    }
    for (uint64_t page = 0; page < end;) {
      const absl::Status status = ReadStretch(end, &page);
      if (!status.ok()) return status;
    }
    for (const SpanRecord& span : heap_.spans) {
      if (span.state != NUMAHEAP_SPAN_PARTLY_RELEASED) continue;
      const absl::Status status = ReadRuns(span);
      if (!status.ok()) return status;
    }
    if (pages_.reserved > pages_.committed) {
      SpanRecord rest;
      rest.start = pages_.start + pages_.committed;
      rest.bytes = pages_.reserved - pages_.committed;
      rest.state = NUMAHEAP_SPAN_RESERVED;
      heap_.spans.push_back(rest);
    }
    return std::move(heap_);
  }

 private:
  absl::Status Odd() const {
    return absl::DataLossError(absl::StrCat("the heap of node ", heap_.node, " in ",
                                            process_.Title(),
                                            " makes no sense: is its memory "
                                            "overwritten?"));
  }

  absl::Status ReadArea(uint64_t address, Area* area) {
    Piece pieces[] = {{address + layout_.area_start, &area->start, sizeof area->start},
                      {address + layout_.area_reserved, &area->reserved, sizeof area->reserved},
                      {address + layout_.area_committed, &area->committed, sizeof area->committed}};
    const absl::Status status = process_.ReadPieces(absl::MakeSpan(pieces));
    if (!status.ok()) return status;
    if (!pieces[0].read || !pieces[1].read || !pieces[2].read || area->start > kAddressLimit ||
        area->reserved > kAddressLimit || area->committed > area->reserved) {
      return Odd();
    }
    return absl::OkStatus();
  }

  // Some pages from *page on, which goes on to behind them: always by at least one.
  absl::Status ReadStretch(uint64_t end, uint64_t* page) {
    stretch_begin_ = heap_.spans.size();
    for (int attempt = 1;; ++attempt) {
      const absl::Status status = ReadRecords(*page, std::min(end, *page + kPagesAtATime));
      if (!status.ok()) return status;
      uint64_t unknown = 0, at = *page;
      while (at < indices_end_) at = AddSpanAt(at, end, &unknown);
      if (unknown == 0 || attempt == kTries) {
        *page = at;
        return absl::OkStatus();
      }
      heap_.spans.resize(stretch_begin_);
    }
  }

  // The indices of the pages up to `end`, and all records that they name.
  absl::Status ReadRecords(uint64_t begin, uint64_t end) {
    indices_begin_ = begin & ~uint64_t{layout_.span_stride - 1};
    indices_end_ = end;
    page_index_.assign(end - indices_begin_, 0);
    const absl::Status status =
        process_.Read(indices_.start + indices_begin_ * sizeof(uint32_t), page_index_.data(),
                      page_index_.size() * sizeof(uint32_t));
    if (!status.ok()) return status;
    // The arena grows while we read, so what is reserved is the limit; what is not there can't be
    // read.
    std::vector<uint32_t> wanted = page_index_;
    std::sort(wanted.begin(), wanted.end());
    wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
    std::erase_if(wanted, [this](uint32_t index) {
      return index == 0 ||
             uint64_t{index} * layout_.span_index_unit + layout_.span_bytes > arena_.reserved;
    });
    std::vector<char> bytes(wanted.size() * layout_.span_bytes);
    std::vector<Piece> pieces;
    for (size_t i = 0; i < wanted.size(); ++i) {
      pieces.push_back({arena_.start + uint64_t{wanted[i]} * layout_.span_index_unit,
                        bytes.data() + i * layout_.span_bytes, layout_.span_bytes});
    }
    const absl::Status read = process_.ReadPieces(absl::MakeSpan(pieces));
    if (!read.ok()) return read;
    records_.clear();
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (!pieces[i].read) continue;
      const char* record = bytes.data() + i * layout_.span_bytes;
      records_[wanted[i]] = {Field<uint32_t>(record, layout_.span_start),
                             Field<uint32_t>(record, layout_.span_pages),
                             Field<uint32_t>(record, layout_.span_released_pages),
                             Field<uint8_t>(record, layout_.span_state),
                             Field<uint8_t>(record, layout_.span_size_class),
                             Field<uint16_t>(record, layout_.span_free_objects)};
    }
    return absl::OkStatus();
  }

  struct Record {
    uint64_t start, pages, released;
    uint32_t state, size_class, free_objects;
  };

  // The record of `page`'s index, if it covers that page and could be true.
  const Record* Covering(uint64_t index_page, uint64_t page) const {
    if (index_page < indices_begin_) return nullptr;
    const auto found = records_.find(page_index_[index_page - indices_begin_]);
    if (found == records_.end()) return nullptr;
    const Record& record = found->second;
    if (page < record.start || page - record.start >= record.pages) return nullptr;
    const bool is_free =
        record.state == layout_.state_free || record.state == layout_.state_detached;
    if (is_free) return record.released <= record.pages ? &record : nullptr;
    if (record.state == layout_.state_large) return &record;
    if (record.state != layout_.state_small) return nullptr;
    const bool has_class = record.size_class > 0 && record.size_class < classes_.size();
    return has_class && record.free_objects <= classes_[record.size_class].objects ? &record
                                                                                   : nullptr;
  }

  // Adds the span at `page`, or one unknown page; returns the page behind.
  uint64_t AddSpanAt(uint64_t page, uint64_t end, uint64_t* unknown) {
    const Record* record = Covering(page, page);
    if (record == nullptr) record = Covering(page & ~uint64_t{layout_.span_stride - 1}, page);
    // Of what was merged or made while we read, only what is behind the last span is left.
    const bool fits = record != nullptr && record->start == page && record->pages <= end - page;
    *unknown += !fits;
    SpanRecord span;
    span.start = pages_.start + page * layout_.page_bytes;
    span.bytes = layout_.page_bytes;
    if (record == nullptr) {
      if (heap_.spans.size() > stretch_begin_ && heap_.spans.back().state == kSpanUnknown) {
        heap_.spans.back().bytes += span.bytes;
      } else {
        heap_.spans.push_back(span);
      }
      return page + 1;
    }
    const uint64_t behind = std::min(end, record->start + record->pages);
    span.bytes *= behind - page;
    if (record->state == layout_.state_small) {
      const ClassRecord& c = classes_[record->size_class];
      span.state = NUMAHEAP_SPAN_SMALL;
      span.size_class = record->size_class;
      span.object_size = c.object_size;
      span.objects = c.objects;
      span.live_objects = c.objects - record->free_objects;
    } else if (record->state == layout_.state_large) {
      span.state = NUMAHEAP_SPAN_LARGE;
      span.object_size = span.bytes;
      span.objects = span.live_objects = 1;
    } else {
      span.released_bytes = std::min(span.bytes, record->released * layout_.page_bytes);
      span.state = span.released_bytes == 0            ? NUMAHEAP_SPAN_IDLE
                   : span.released_bytes == span.bytes ? NUMAHEAP_SPAN_RELEASED
                                                       : NUMAHEAP_SPAN_PARTLY_RELEASED;
    }
    heap_.spans.push_back(span);
    return behind;
  }

  // Which pages of the span are released, as the bits have it by now.
  absl::Status ReadRuns(const SpanRecord& span) {
    const uint64_t begin = (span.start - pages_.start) / layout_.page_bytes;
    const uint64_t end = begin + span.bytes / layout_.page_bytes;
    std::vector<uint64_t> words((end + 63) / 64 - begin / 64);
    const absl::Status status = process_.Read(released_.start + begin / 64 * sizeof(uint64_t),
                                              words.data(), words.size() * sizeof(uint64_t));
    if (!status.ok()) return status;
    for (uint64_t page = begin; page < end; ++page) {
      const bool released = words[page / 64 - begin / 64] >> (page % 64) & 1;
      if (page == begin || heap_.runs.back().released != released) {
        heap_.runs.push_back({pages_.start + page * layout_.page_bytes, 0, released});
      }
      heap_.runs.back().bytes += layout_.page_bytes;
    }
    return absl::OkStatus();
  }

  const Process& process_;
  const numaheap_inspection_t& layout_;
  const std::vector<ClassRecord>& classes_;
  const uint64_t address_;
  Area indices_, arena_, released_, pages_;
  HeapRecord heap_;

  // Of the stretch that is being read.
  size_t stretch_begin_ = 0;  // in heap_.spans
  uint64_t indices_begin_ = 0, indices_end_ = 0;
  std::vector<uint32_t> page_index_;
  std::unordered_map<uint32_t, Record> records_;
};

absl::StatusOr<std::vector<ClassRecord>> ReadClasses(const Process& process,
                                                     const numaheap_inspection_t& layout) {
  std::vector<char> table(size_t{layout.class_count} * layout.class_bytes);
  const absl::Status status =
      process.Read(reinterpret_cast<uint64_t>(layout.class_table), table.data(), table.size());
  if (!status.ok()) return status;
  std::vector<ClassRecord> classes;
  for (size_t i = 0; i < table.size(); i += layout.class_bytes) {
    classes.push_back({Field<uint32_t>(table.data() + i, layout.class_object_size),
                       Field<uint16_t>(table.data() + i, layout.class_span_objects)});
  }
  return classes;
}

}  // namespace

absl::StatusOr<std::vector<HeapRecord>> ReadHeaps(const Process& process,
                                                  const numaheap_inspection_t& inspection) {
  const auto classes = ReadClasses(process, inspection);
  if (!classes.ok()) return classes.status();
  // The limit first: the table that goes with it, or a longer one, is there already.
  const auto limit = process.Get<int32_t>(reinterpret_cast<uint64_t>(inspection.heap_limit));
  if (!limit.ok()) return limit.status();
  const auto table = process.Get<uint64_t>(reinterpret_cast<uint64_t>(inspection.heap_table));
  if (!table.ok()) return table.status();
  if (*table == 0 || *limit == 0) {
    return absl::NotFoundError(
        absl::StrCat(process.Title(), " has numaheap, but has not allocated with it yet"));
  }
  if (*limit < 0 || *limit > kMostHeaps) {
    return absl::DataLossError(absl::StrCat("the table of heaps in ", process.Title(),
                                            " makes no sense: is its memory overwritten?"));
  }
  std::vector<uint64_t> addresses(static_cast<size_t>(*limit));
  const absl::Status status =
      process.Read(*table, addresses.data(), addresses.size() * sizeof(uint64_t));
  if (!status.ok()) return status;
  std::vector<HeapRecord> heaps;
  for (const uint64_t address : addresses) {
    if (address == 0) continue;
    auto heap = HeapReader(process, inspection, *classes, address).Read();
    if (!heap.ok()) return heap.status();
    heaps.push_back(*std::move(heap));
  }
  std::sort(heaps.begin(), heaps.end(),
            [](const HeapRecord& a, const HeapRecord& b) { return a.node < b.node; });
  return heaps;
}

}  // namespace numaheap::command
