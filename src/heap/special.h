// Specials: what is to be done when certain blocks are freed. A record each, on the block's span.
//
// A span's records are sorted by address and kind, at most one of a kind for a block. While a small
// span has any, the byte map shows kNoClass for its pages: so the fast path never looks for them,
// and every free of one of its blocks comes to the slow path, which does.
//
// Records come from the heap's MetadataArena and go back there. Thread-safe: a lock guards the
// records of a span, shared by the spans whose first pages have numbers alike. A block whose
// special is asked for must be kept alive by the caller, and with it its span.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "src/base/lock.h"
#include "src/heap/metadata_arena.h"
#include "src/heap/page_heap.h"
#include "src/heap/span.h"

namespace numaheap {

// In the order in which they are looked after when a block is freed.
enum class SpecialKind : uint8_t { kProfile, kFinalizer };
inline constexpr int kSpecialKinds = 2;

struct ProfileBucket;

struct Special {
  struct Finalizer {
    void (*function)(void* block, void* argument);
    void* argument;
    Special* next;  // that waits to run, see FinalizerQueue
  };
  struct Profile {
    ProfileBucket* bucket;
    size_t bytes;  // asked for
  };

  Special* next = nullptr;  // on the same span
  void* block = nullptr;
  SpecialKind kind = SpecialKind::kProfile;
  bool freed = false;  // kFinalizer: the block has been freed and is held until the function ran
  union {
    Finalizer finalizer = {};
    Profile profile;
  };
};

class Specials {
 public:
  Specials(PageHeap& pages, MetadataArena& arena) : pages_(pages), arena_(arena) {}

  // Whether any block of the span has one. Right about a block that the caller keeps alive.
  static bool HasAny(Span& span) {
    return std::atomic_ref(span.specials).load(std::memory_order_acquire) != nullptr;
  }

  enum class Added : uint8_t { kDone, kExists, kFreed, kNoMemory };
  // Puts a copy of `special` on the span of its block.
  Added Add(Span* span, const Special& special);

  // Takes a record off; *out is its copy. False when there is none, or its block has been freed.
  bool Remove(Span* span, const void* block, SpecialKind kind, Special* out);

  struct Freed {
    bool twice = false;        // the block had been freed before, and waits for its finalizer
    bool has_profile = false;  // then `profile` is the record that was taken off
    Special profile;
    Special* finalizer = nullptr;  // stays on the span, marked as freed
  };
  // For a block that its owner gives up.
  Freed TakeFreed(Span* span, const void* block);

  // Takes a finalizer off that TakeFreed() has returned.
  void Drop(Span* span, Special* finalizer);

  size_t live(SpecialKind kind) const {
    return live_[static_cast<int>(kind)].load(std::memory_order_relaxed);
  }

  template <typename Visit>
  void ForEachLock(Visit visit) {
    for (Stripe& stripe : stripes_) visit(stripe.lock);
  }

  // Walks all spans. Nothing else may go on.
  void CheckInvariants();

 private:
  static constexpr size_t kStripes = 16;
  struct alignas(64) Stripe {
    Lock lock{LockRank::kSpecials};
  };

  Lock& LockOf(const Span* span) { return stripes_[span->start.index / 2 % kStripes].lock; }
  // Where the record of that block and kind is linked, or would be.
  static Special** Place(Span* span, const void* block, SpecialKind kind);
  void Unlink(Span* span, Special** place);

  PageHeap& pages_;
  MetadataArena& arena_;
  Stripe stripes_[kStripes];
  std::atomic<size_t> live_[kSpecialKinds] = {};
};

}  // namespace numaheap
