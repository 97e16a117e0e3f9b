#include "src/heap/central_free_list.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "src/heap/report.h"

namespace numaheap {
namespace {

constexpr size_t BitmapBytes(size_t objects) {
  return (objects + 63) / 64 * sizeof(uint64_t);
}

ptrdiff_t Distance(const void* from, const void* to) {
  return static_cast<const char*>(to) - static_cast<const char*>(from);
}

}  // namespace

int CentralFreeList::RemoveFrom(Span* span, void** end, int n) {
  const ptrdiff_t size = kSizeMap[class_].size;
  const int here = std::min<int>(n, span->free_objects);
  char* first = pages_.map().AddressOf(span->start);  // the block of a word's lowest bit
  int left = here;
  for (uint64_t* word = span->free_bits; left > 0; ++word, first += 64 * size) {
    uint64_t bits = *word;
    while (bits != 0 && left > 0) {
      // Free blocks come in runs: one step for each.
      const int skip = std::countr_zero(bits);
      const int run = std::min(left, std::countr_one(bits >> skip));
      char* block = first + skip * size;
      for (int i = 0; i < run; ++i, block += size) *--end = block;
      bits &= ~(~uint64_t{0} >> (64 - run) << skip);
      left -= run;
    }
    *word = bits;
  }
  span->SetFreeObjects(span->free_objects - static_cast<size_t>(here));
  if (span->free_objects == 0) nonempty_.Remove(span);
  free_objects_ -= static_cast<size_t>(here);
  return here;
}

int CentralFreeList::RemoveBatch(void** out, int n) {
  LockHolder holder(lock_);
  int taken = 0;
  while (taken < n) {
    Span* span = nonempty_.First();
    if (span == nullptr) break;
    taken += RemoveFrom(span, out + n - taken, n - taken);
  }
  if (taken < n) std::memmove(out, out + n - taken, static_cast<size_t>(taken) * sizeof(void*));
  return taken;
}

uint64_t* CentralFreeList::NewBitmap(Span* span) {
  const size_t objects = kSizeMap[class_].span_objects;
  if (objects <= 64) return &span->inline_bits;
  return static_cast<uint64_t*>(arena_.Allocate(BitmapBytes(objects)));
}

int CentralFreeList::Populate(void** out, int n) {
  const SizeClassInfo& info = kSizeMap[class_];
  Span* span = pages_.Allocate({info.span_pages}, class_);
  if (span == nullptr) return 0;
  span->free_bits = NewBitmap(span);
  if (span->free_bits == nullptr) {
    pages_.Free(span);
    return 0;
  }
  std::memset(span->free_bits, 0, BitmapBytes(info.span_objects));
  SetBits(span->free_bits, 0, info.span_objects);
  span->SetFreeObjects(info.span_objects);
  LockHolder holder(lock_);
  nonempty_.Insert(span);
  ++spans_;
  free_objects_ += info.span_objects;
  // Of this span, whatever else is here by now: a span goes back when its last block comes in, so
  // one must never lie here whole.
  n = std::min<int>(n, info.span_objects);
  return RemoveFrom(span, out + n, n);
}

Span* CentralFreeList::SpanOf(void* block, Span* last) const {
  const PageId page = pages_.map().PageOf(block);
  Span* span = last != nullptr && last->Covers(page) ? last : pages_.map().SpanAt(page);
  if (span == nullptr || span->state != SpanState::kSmall || span->size_class != class_) {
    ReportAlreadyFree("free", block, node_, class_, kSizeMap[class_].size);
  }
  return span;
}

int CentralFreeList::MarkRun(Span* span, void* const* blocks, int n) {
  const SizeClassInfo& info = kSizeMap[class_];
  const PageMap& map = pages_.map();
  const size_t offset = map.OffsetOf(blocks[0]) - (size_t{span->start.index} << kPageShift);
  const uint32_t index = kSizeMap.IndexOf(class_, offset);
  if (index >= info.span_objects) ReportForeignPointer("free", blocks[0]);  // a span's tail
  char* const start = map.AddressOf(span->start);
  if (index * size_t{info.size} != offset) {
    ReportInteriorPointer("free", blocks[0], node_, class_, info.size,
                          start + index * size_t{info.size});
  }
  uint64_t* const bits = span->free_bits;
  const auto already_free = [&](size_t at) {
    ReportAlreadyFree("free", start + at * size_t{info.size}, node_, class_, info.size);
  };
  if (bits == nullptr) already_free(index);  // the span became empty a moment ago, in this batch
  const auto size = static_cast<ptrdiff_t>(info.size);
  const ptrdiff_t step = n > 1 ? Distance(blocks[0], blocks[1]) : 0;
  if (step != size && step != -size) {
    if (TestBit(bits, index)) already_free(index);
    SetBits(bits, index, 1);
    return 1;
  }
  const bool down = step < 0;
  const int room =
      std::min(n, down ? static_cast<int>(index) + 1 : info.span_objects - static_cast<int>(index));
  int count = 1;
  while (count < room && Distance(blocks[count - 1], blocks[count]) == step) ++count;
  const size_t first = down ? index + 1 - static_cast<size_t>(count) : index;
  const size_t end = first + static_cast<size_t>(count);
  const size_t free = FindBit(bits, first, end, true);
  if (free < end) already_free(free);
  SetBits(bits, first, static_cast<size_t>(count));
  return count;
}

void CentralFreeList::InsertBatch(void* const* blocks, int n) {
  const SizeClassInfo& info = kSizeMap[class_];
  constexpr int kMaxEmpty = 16;  // spans given back at a time
  Span* empty[kMaxEmpty];
  uint64_t* bits[kMaxEmpty];  // of those
  for (int i = 0; i < n;) {
    int empties = 0;
    {
      LockHolder holder(lock_);
      const int begin = i;
      Span* span = nullptr;
      while (i < n && empties < kMaxEmpty) {
        span = SpanOf(blocks[i], span);
        const int count = MarkRun(span, blocks + i, n - i);
        i += count;
        if (span->free_objects == 0) nonempty_.Insert(span);
        span->SetFreeObjects(span->free_objects + static_cast<size_t>(count));
        if (span->free_objects < info.span_objects) continue;
        nonempty_.Remove(span);
        --spans_;
        free_objects_ -= info.span_objects;
        bits[empties] = span->free_bits;
        span->free_bits = nullptr;
        empty[empties++] = span;
        span = nullptr;
      }
      free_objects_ += static_cast<size_t>(i - begin);
    }
    for (int k = 0; k < empties; ++k) {
      pages_.Free(empty[k]);
      if (info.span_objects > 64) arena_.Free(bits[k], BitmapBytes(info.span_objects));
    }
  }
}

bool CentralFreeList::IsFree(const Span* span, const void* block) {
  LockHolder holder(lock_);
  const uint64_t* bits = span->free_bits;
  if (bits == nullptr) return true;  // on its way to the page heap
  const PageMap& map = pages_.map();
  const size_t offset = map.OffsetOf(block) - (size_t{span->start.index} << kPageShift);
  return TestBit(bits, kSizeMap.IndexOf(class_, offset));
}

size_t CentralFreeList::free_objects() {
  LockHolder holder(lock_);
  return free_objects_;
}

ClassStats CentralFreeList::stats() {
  LockHolder holder(lock_);
  return {spans_, spans_ * kSizeMap[class_].span_objects - free_objects_};
}

void CentralFreeList::CheckInvariants() {
  LockHolder holder(lock_);
  CHECK(nonempty_.IsValid());
  size_t free_objects = 0;
  const size_t objects = kSizeMap[class_].span_objects;
  nonempty_.ForEach([&](const Span& span) {
    CHECK(span.state == SpanState::kSmall && span.size_class == class_);
    CHECK(span.free_objects > 0 && span.free_objects < objects);
    CHECK(CountBits(span.free_bits, 0, objects) == span.free_objects);
    free_objects += span.free_objects;
  });
  CHECK(free_objects == free_objects_);
  CHECK(nonempty_.size() <= spans_);
}

}  // namespace numaheap
