#include "src/heap/special.h"

namespace numaheap {
namespace {

bool IsBefore(const Special& special, const void* block, SpecialKind kind) {
  return special.block != block ? special.block < block : special.kind < kind;
}

bool IsOf(const Special* special, const void* block, SpecialKind kind) {
  return special != nullptr && special->block == block && special->kind == kind;
}

}  // namespace

Special** Specials::Place(Span* span, const void* block, SpecialKind kind) {
  Special** place = &span->specials;
  while (*place != nullptr && IsBefore(**place, block, kind)) place = &(*place)->next;
  return place;
}

Specials::Added Specials::Add(Span* span, const Special& special) {
  LockHolder holder(LockOf(span));
  Special** place = Place(span, special.block, special.kind);
  if (IsOf(*place, special.block, special.kind)) {
    return (*place)->freed ? Added::kFreed : Added::kExists;
  }
  auto* record = arena_.New<Special>(special);
  if (record == nullptr) return Added::kNoMemory;
  const bool first = span->specials == nullptr;
  record->next = *place;
  std::atomic_ref(*place).store(record, std::memory_order_release);
  live_[static_cast<int>(record->kind)].fetch_add(1, std::memory_order_relaxed);
  if (first && span->state == SpanState::kSmall) pages_.ShowClass(span, false);
  return Added::kDone;
}

void Specials::Unlink(Span* span, Special** place) {
  Special* record = *place;
  std::atomic_ref(*place).store(record->next, std::memory_order_release);
  live_[static_cast<int>(record->kind)].fetch_sub(1, std::memory_order_relaxed);
  arena_.Free(record, sizeof(Special));
  if (span->specials == nullptr && span->state == SpanState::kSmall) pages_.ShowClass(span, true);
}

bool Specials::Remove(Span* span, const void* block, SpecialKind kind, Special* out) {
  if (!HasAny(*span)) return false;
  LockHolder holder(LockOf(span));
  Special** place = Place(span, block, kind);
  if (!IsOf(*place, block, kind) || (*place)->freed) return false;
  *out = **place;
  Unlink(span, place);
  return true;
}

Specials::Freed Specials::TakeFreed(Span* span, const void* block) {
  Freed freed;
  LockHolder holder(LockOf(span));
  Special** place = Place(span, block, SpecialKind::kProfile);
  if (IsOf(*place, block, SpecialKind::kProfile)) {
    freed.has_profile = true;
    freed.profile = **place;
    Unlink(span, place);
  }
  place = Place(span, block, SpecialKind::kFinalizer);
  if (IsOf(*place, block, SpecialKind::kFinalizer)) {
    freed.twice = (*place)->freed;
    (*place)->freed = true;
    freed.finalizer = *place;
  }
  return freed;
}

void Specials::Drop(Span* span, Special* finalizer) {
  LockHolder holder(LockOf(span));
  Special** place = Place(span, finalizer->block, finalizer->kind);
  CHECK(*place == finalizer);
  Unlink(span, place);
}

void Specials::CheckInvariants() {
  size_t found[kSpecialKinds] = {};
  const PageMap& map = pages_.map();
  for (PageId page{0}; page.index < map.committed_pages();) {
    Span* span = map.SpanAt(page);
    CHECK(span != nullptr && span->pages > 0);
    LockHolder holder(LockOf(span));
    const bool in_use = span->state == SpanState::kSmall || span->state == SpanState::kLarge;
    CHECK(in_use || span->specials == nullptr);
    CHECK(span->hides_class == (span->state == SpanState::kSmall && span->specials != nullptr));
    for (const Special* special = span->specials; special != nullptr; special = special->next) {
      ++found[static_cast<int>(special->kind)];
      CHECK(span->Covers(map.PageOf(special->block)));
      const Special* next = special->next;
      CHECK(next == nullptr || IsBefore(*special, next->block, next->kind));
    }
    page = span->start + span->length();
  }
  for (int kind = 0; kind < kSpecialKinds; ++kind) {
    CHECK(found[kind] == live(static_cast<SpecialKind>(kind)));
  }
}

}  // namespace numaheap
