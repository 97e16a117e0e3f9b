// A page heap and a trivial model of it, which is a map of the spans in use, go through the same
// random steps while the kernel refuses some of its calls.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "src/base/bitmap.h"
#include "src/heap/page_heap.h"
#include "tests/heap/small_space.h"

namespace numaheap {
namespace {

constexpr SizeClass kSomeClass{21};

// What is written at both ends of a span.
struct Mark {
  uint64_t value;
  void Write(char* start, size_t bytes) const {
    std::memcpy(start, &value, sizeof(value));
    std::memcpy(start + bytes - sizeof(value), &value, sizeof(value));
  }
  bool IsAt(const char* place) const { return std::memcmp(place, &value, sizeof(value)) == 0; }
};

class PageHeapModelTest : public testing::TestWithParam<unsigned> {
 protected:
  struct InUse {
    size_t pages;
    Span* span;
    Mark front, back;  // `back` lies at the end of `marked_pages`
    size_t marked_pages;
  };
  struct Hole {
    size_t start, pages;
  };
  enum class Faults { kNone, kOnce, kCommits, kReleases, kLargeCommits };

  PageHeapModelTest() : small_(1, 26), paged_(small_), random_(GetParam()) {}

  FakeKernel& kernel() { return small_.kernel; }
  PageHeap& heap() { return paged_.pages; }
  size_t Below(size_t limit) { return random_() % limit; }
  size_t reserved() const { return paged_.range.heap.reserved_bytes() >> kPageShift; }

  size_t RandomPages() {
    switch (Below(20)) {
      case 0:
        return 1 + Below(700);
      case 1:
        return 120 + Below(20);  // around the border of lists and tree
      default:
        return 1 + Below(12);
    }
  }

  // The free stretches of the model in front of `end`.
  std::vector<Hole> Holes(size_t end) const {
    std::vector<Hole> holes;
    size_t next = 0;
    for (const auto& [start, use] : model_) {
      if (start > next) holes.push_back({next, start - next});
      next = start + use.pages;
    }
    if (next < end) holes.push_back({next, end - next});
    return holes;
  }

  void CheckMarks(size_t start, const InUse& use) {
    const char* address = heap().map().AddressOf({static_cast<uint32_t>(start)});
    ASSERT_TRUE(use.front.IsAt(address)) << start;
    ASSERT_TRUE(use.back.IsAt(address + use.marked_pages * kPageSize - sizeof(uint64_t))) << start;
  }

  void Enter(Span* span) {
    const size_t start = span->start.index;
    const auto behind = model_.lower_bound(start);
    ASSERT_TRUE(behind == model_.end() || start + span->pages <= behind->first) << "overlap";
    if (behind != model_.begin()) {
      const auto before = std::prev(behind);
      ASSERT_LE(before->first + before->second.pages, start) << "overlap";
    }
    char* address = paged_.AddressOf(span);
    const size_t bytes = span->length().bytes();
    if (span->zeroed) {
      ASSERT_TRUE(IsZero(address, bytes)) << start;
    }
    const Mark mark{random_()};
    mark.Write(address, bytes);
    model_[start] = {span->pages, span, mark, mark, span->pages};
  }

  void Allocate() {
    const size_t pages = RandomPages();
    const size_t alignment = Below(5) == 0 ? size_t{1} << Below(8) : 1;
    const size_t need = pages + alignment - 1;
    const SizeClass c = pages <= 32 && Below(2) == 0 ? kSomeClass : kNoClass;
    const PageHeapStats before = heap().stats();
    const std::vector<Hole> holes = Holes(before.committed.pages);
    Span* span = heap().Allocate({pages}, c, {alignment});
    const PageHeapStats after = heap().stats();
    // The smallest hole that fits, of large ones the first.
    const Hole* best = nullptr;
    for (const Hole& hole : holes) {
      if (hole.pages >= need && (best == nullptr || hole.pages < best->pages)) best = &hole;
    }
    if (span == nullptr) {
      if (faults_ != Faults::kNone) return;
      ASSERT_EQ(best, nullptr) << "there was room";
      ASSERT_GT(need, reserved() - before.committed.pages) << "it could have grown";
      ASSERT_EQ(after.failed_growths, before.failed_growths + 1);
      ++range_full_;
      return;
    }
    ASSERT_EQ(span->pages, pages);
    ASSERT_EQ(span->state, c == kNoClass ? SpanState::kLarge : SpanState::kSmall);
    ASSERT_EQ(span->size_class, c);
    ASSERT_EQ(reinterpret_cast<uintptr_t>(paged_.AddressOf(span)) % (alignment * kPageSize), 0u);
    if (after.committed == before.committed) {
      ASSERT_NE(best, nullptr);
      const Hole* from = nullptr;
      for (const Hole& hole : holes) {
        if (span->start.index >= hole.start && span->start.index < hole.start + hole.pages) {
          from = &hole;
        }
      }
      ASSERT_NE(from, nullptr);
      ASSERT_EQ(from->pages, best->pages);
      if (best->pages >= PageHeap::kListPages) {
        ASSERT_EQ(from->start, best->start);
      }
      ASSERT_LT(span->start.index - from->start, alignment);
    } else if (faults_ == Faults::kNone) {
      ASSERT_EQ(best, nullptr) << "grew without need";
    }
    Enter(span);
  }

  std::map<size_t, InUse>::iterator RandomSpan() {
    // By address, which is as good as any.
    const auto found = model_.lower_bound(Below(heap().stats().committed.pages));
    return found == model_.end() ? model_.begin() : found;
  }

  void Free() {
    if (model_.empty()) return;
    const auto it = RandomSpan();
    CheckMarks(it->first, it->second);
    ASSERT_EQ(it->second.span->start.index, it->first);
    heap().Free(it->second.span);
    model_.erase(it);
  }

  void Resize() {
    if (model_.empty()) return;
    const auto it = RandomSpan();
    InUse& use = it->second;
    if (use.span->state != SpanState::kLarge) return;
    char* address = paged_.AddressOf(use.span);
    if (Below(2) == 0 && use.pages > 1) {
      const size_t pages = 1 + Below(use.pages - 1);
      heap().Shrink(use.span, {pages});
      if (use.span->pages == use.pages) {
        ASSERT_NE(faults_, Faults::kNone) << "only without memory for a record";
        return;
      }
      ASSERT_EQ(use.span->pages, pages);
      ASSERT_TRUE(use.front.IsAt(address));
      use.pages = pages;
    } else {
      const size_t pages = use.pages + 1 + Below(20);
      const size_t committed = heap().stats().committed.pages;
      const auto next = std::next(it);
      const size_t limit = next == model_.end() ? committed : next->first;
      const bool grown = heap().GrowInPlace(use.span, {pages});
      CheckMarks(it->first, use);
      if (!grown) {
        ASSERT_EQ(use.span->pages, use.pages);
        if (faults_ == Faults::kNone) {
          ASSERT_GT(it->first + pages, limit) << "there was room";
        }
        return;
      }
      ASSERT_EQ(use.span->pages, pages);
      ASSERT_FALSE(use.span->zeroed);
      ASSERT_TRUE(next == model_.end() || it->first + pages <= next->first) << "overlap";
      use.pages = pages;
    }
    use.front = use.back = {random_()};
    use.front.Write(address, use.pages * kPageSize);
    use.marked_pages = use.pages;
  }

  void Release() {
    const PageHeapStats before = heap().stats();
    const uint64_t given = kernel().released_bytes();
    const size_t at_most = Below(3) == 0 ? SIZE_MAX : Below(100) * kPageSize;
    const uint64_t age = Below(3) == 0 ? 0 : Below(2'000);
    const size_t bytes = heap().ReleaseIdle(kernel().NowMs() - age, at_most);
    const PageHeapStats after = heap().stats();
    ASSERT_EQ(kernel().released_bytes() - given, bytes);
    ASSERT_EQ((before.idle - after.idle).bytes(), bytes);
    ASSERT_EQ((after.released - before.released).bytes(), bytes);
    ASSERT_EQ(after.scavenged_bytes - before.scavenged_bytes, bytes);
    if (age == 0 && at_most == SIZE_MAX && faults_ == Faults::kNone) {
      ASSERT_EQ(after.idle.pages, 0u);
    }
  }

  void ChangeFaults() {
    kernel().FailNothing();
    faults_ = Below(2) == 0 ? Faults::kNone : static_cast<Faults>(Below(5));
    const int next = 1 + static_cast<int>(Below(4));
    switch (faults_) {
      case Faults::kNone:
        break;
      case Faults::kOnce:
        kernel().FailOnce(next);
        break;
      case Faults::kCommits:
        kernel().FailFrom(FakeKernel::kCommit, next);
        break;
      case Faults::kReleases:
        kernel().FailFrom(FakeKernel::kRelease, next, EINVAL);
        break;
      case Faults::kLargeCommits:
        kernel().FailAbove(FakeKernel::kCommit, kPageSize << Below(10));
        break;
    }
  }

  void CheckAll() {
    paged_.ExpectConsistent();
    const PageHeapStats stats = heap().stats();
    size_t in_use = 0, large = 0;
    for (const auto& [start, use] : model_) {
      CheckMarks(start, use);
      in_use += use.pages;
      if (use.span->state == SpanState::kLarge) large += use.pages;
      for (size_t page = start; page < start + use.pages; ++page) {
        ASSERT_EQ(heap().map().SpanAt({static_cast<uint32_t>(page)}), use.span);
      }
      ASSERT_EQ(CountBits(heap().map().released(), start, use.pages), 0u);
    }
    ASSERT_EQ(stats.in_use.pages, in_use);
    ASSERT_EQ(stats.large.pages, large);
    ASSERT_EQ(stats.spans_in_use, model_.size());
    ASSERT_EQ(stats.spans_free, Holes(stats.committed.pages).size());
    ASSERT_EQ(stats.released.pages, CountBits(heap().map().released(), 0, stats.committed.pages));
  }

  SmallSpace small_;
  PagedRange paged_;
  std::mt19937_64 random_;
  std::map<size_t, InUse> model_;  // by first page
  Faults faults_ = Faults::kNone;
  int range_full_ = 0;  // how often that was why there was no span
};

TEST_P(PageHeapModelTest, RandomSteps) {
  constexpr int kSteps = 20'000;
  for (int step = 0; step < kSteps; ++step) {
    SCOPED_TRACE(step);
    // The heap fills and empties in turn.
    const size_t bias = (step / 2'000) % 2 == 0 ? 7 : 3;
    switch (const size_t what = Below(16)) {
      case 10:
      case 11:
      case 12:
        Resize();
        break;
      case 13:
        Release();
        break;
      case 14:
        kernel().SetNow(kernel().NowMs() + Below(1'000));
        break;
      case 15:
        ChangeFaults();
        break;
      default:
        what < bias ? Allocate() : Free();
        break;
    }
    if (HasFatalFailure()) return;
    if (step % 250 == 0) CheckAll();
    if (HasFailure()) return;
  }
  kernel().FailNothing();
  faults_ = Faults::kNone;
  while (!model_.empty()) Free();
  CheckAll();
  EXPECT_LE(heap().stats().spans_free, 1u);
  const size_t idle = heap().stats().idle.bytes();
  EXPECT_EQ(heap().ReleaseIdle(UINT64_MAX, SIZE_MAX), idle);
  CheckAll();
  EXPECT_GT(heap().stats().growths, 3u);
  EXPECT_GT(range_full_, 10);
  EXPECT_GT(heap().stats().scavenged_bytes, 0u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, PageHeapModelTest, testing::Values(1, 2, 3, 20240917));

}  // namespace
}  // namespace numaheap
