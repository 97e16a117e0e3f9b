// Records of what is to be done when a block is freed: their order, what the byte map shows
// meanwhile, and that blocks of such a span get home wherever they were; against a map as the
// model.
#include "src/heap/special.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "src/heap/node_heap.h"
#include "tests/heap/small_space.h"

namespace numaheap {
namespace {

using Added = Specials::Added;

void Nothing(void*, void*) {}

Special Finalizer(void* block, void* argument = nullptr) {
  Special special;
  special.block = block;
  special.kind = SpecialKind::kFinalizer;
  special.finalizer = {&Nothing, argument, nullptr};
  return special;
}

Special Profile(void* block, size_t bytes = 1) {
  Special special;
  special.block = block;
  special.kind = SpecialKind::kProfile;
  special.profile = {nullptr, bytes};
  return special;
}

class SpecialTest : public testing::Test {
 protected:
  SpecialTest() {
    heap_ = NodeHeap::Create(small_.kernel, small_.space.RangeStart(0), small_.space.range_bytes(),
                             1 << 20, {0});
    EXPECT_NE(heap_, nullptr);
  }
  ~SpecialTest() override { heap_->CheckInvariants(); }

  Specials& specials() { return heap_->specials(); }
  Span* SpanOf(void* block) { return heap_->Find(block).span; }
  Added Add(const Special& special) { return specials().Add(SpanOf(special.block), special); }
  bool Remove(void* block, SpecialKind kind, Special* out = nullptr) {
    Special ignored;
    return specials().Remove(SpanOf(block), block, kind, out != nullptr ? out : &ignored);
  }
  std::vector<void*> Take(SizeClass c, int n) {
    std::vector<void*> blocks(static_cast<size_t>(n));
    for (void*& block : blocks) EXPECT_EQ(heap_->AllocateBatch(c, 0, &block, 1), 1);
    return blocks;
  }
  void* TakeLarge() {
    bool zeroed;
    return heap_->AllocateLarge(1 << 20, 1, &zeroed);
  }

  SmallSpace small_{1, 28};
  NodeHeap* heap_ = nullptr;
};

constexpr SizeClass k64 = kSizeMap.ClassOf(64);
constexpr SizeClass k1024 = kSizeMap.ClassOf(1024);

TEST_F(SpecialTest, OneOfAKindForABlock) {
  const auto blocks = Take(k64, 2);
  for (void* block : {blocks[0], blocks[1], TakeLarge()}) {
    EXPECT_FALSE(Remove(block, SpecialKind::kFinalizer));
    EXPECT_EQ(Add(Finalizer(block, block)), Added::kDone);
    EXPECT_EQ(Add(Finalizer(block)), Added::kExists);
    EXPECT_EQ(Add(Profile(block, 77)), Added::kDone);
    EXPECT_EQ(Add(Profile(block)), Added::kExists);
  }
  heap_->CheckInvariants();
  EXPECT_EQ(specials().live(SpecialKind::kFinalizer), 3u);
  EXPECT_EQ(specials().live(SpecialKind::kProfile), 3u);
  Special out;
  EXPECT_TRUE(Remove(blocks[1], SpecialKind::kFinalizer, &out));
  EXPECT_EQ(out.finalizer.argument, blocks[1]);
  EXPECT_FALSE(Remove(blocks[1], SpecialKind::kFinalizer));
  EXPECT_TRUE(Remove(blocks[1], SpecialKind::kProfile, &out));
  EXPECT_EQ(out.profile.bytes, 77u);
  EXPECT_EQ(specials().live(SpecialKind::kFinalizer), 2u);
  EXPECT_EQ(specials().live(SpecialKind::kProfile), 2u);
}

TEST_F(SpecialTest, TheByteMapHidesTheClassMeanwhile) {
  const auto blocks = Take(k64, 2);
  ASSERT_EQ(SpanOf(blocks[0]), SpanOf(blocks[1]));
  EXPECT_EQ(heap_->ClassAt(blocks[0]), k64);
  Add(Finalizer(blocks[0]));
  Add(Finalizer(blocks[1]));
  for (int removed = 0; removed < 2; ++removed) {
    for (void* block : blocks) {
      EXPECT_EQ(heap_->ClassAt(block), kNoClass);
      EXPECT_EQ(heap_->ClassOfBlock(block), k64);
      EXPECT_EQ(heap_->Find(block).size_class, k64);
    }
    heap_->CheckInvariants();
    EXPECT_TRUE(Remove(blocks[static_cast<size_t>(removed)], SpecialKind::kFinalizer));
  }
  EXPECT_EQ(heap_->ClassAt(blocks[0]), k64);
}

// Blocks that were cached or on their way home when the class was hidden.
TEST_F(SpecialTest, BlocksOfTheSpanGetHome) {
  auto blocks = Take(k1024, kSizeMap[k1024].span_objects);
  Span* span = SpanOf(blocks[0]);
  void* kept = blocks.back();
  blocks.pop_back();
  ASSERT_EQ(SpanOf(kept), span);
  const size_t third = blocks.size() / 3;
  heap_->FreeBatch(k1024, 0, blocks.data(), static_cast<int>(third));
  heap_->ReceiveRemote(blocks.data() + third, static_cast<int>(third));
  EXPECT_EQ(Add(Finalizer(kept)), Added::kDone);
  heap_->ReceiveRemote(blocks.data() + 2 * third, static_cast<int>(blocks.size() - 2 * third));
  EXPECT_EQ(heap_->SweepRemote(), blocks.size() - third);
  heap_->FlushTransferCaches(/*only_unused=*/false);
  heap_->CheckInvariants();
  EXPECT_EQ(span->free_objects, blocks.size());
  EXPECT_EQ(specials().TakeFreed(span, kept).twice, false);
  EXPECT_EQ(heap_->page_stats().spans_in_use, 1u);
  specials().Drop(span, span->specials);
  heap_->FreeToSpan(k1024, kept);
  EXPECT_EQ(heap_->page_stats().spans_in_use, 0u);
  EXPECT_EQ(heap_->ClassAt(kept), kNoClass);
}

TEST_F(SpecialTest, AFreedBlockKeepsItsFinalizerUntilItIsDropped) {
  void* block = TakeLarge();
  Span* span = SpanOf(block);
  Add(Profile(block, 5));
  Add(Finalizer(block, &small_));
  const Specials::Freed freed = specials().TakeFreed(span, block);
  EXPECT_FALSE(freed.twice);
  EXPECT_TRUE(freed.has_profile);
  EXPECT_EQ(freed.profile.profile.bytes, 5u);
  ASSERT_NE(freed.finalizer, nullptr);
  EXPECT_EQ(freed.finalizer->finalizer.argument, &small_);
  EXPECT_EQ(Add(Finalizer(block)), Added::kFreed);
  EXPECT_FALSE(Remove(block, SpecialKind::kFinalizer));
  EXPECT_TRUE(specials().TakeFreed(span, block).twice);
  specials().Drop(span, freed.finalizer);
  EXPECT_FALSE(Specials::HasAny(*span));
  const Specials::Freed none = specials().TakeFreed(span, block);
  EXPECT_FALSE(none.twice || none.has_profile || none.finalizer != nullptr);
}

TEST_F(SpecialTest, WithoutMemoryNothingIsAdded) {
  const auto blocks = Take(k64, 1);
  small_.kernel.FailFrom(FakeKernel::kCommit, 1);
  while (heap_->arena().Allocate(sizeof(Special)) != nullptr) {
  }
  EXPECT_EQ(Add(Finalizer(blocks[0])), Added::kNoMemory);
  EXPECT_EQ(heap_->ClassAt(blocks[0]), k64);
}

TEST_F(SpecialTest, RecordsAreReused) {
  void* block = Take(k64, 1)[0];
  Add(Finalizer(block));
  const size_t used = heap_->arena().used_bytes();
  for (int i = 0; i < 10'000; ++i) {
    EXPECT_TRUE(Remove(block, SpecialKind::kFinalizer));
    EXPECT_EQ(Add(Finalizer(block)), Added::kDone);
  }
  EXPECT_EQ(heap_->arena().used_bytes(), used);
  EXPECT_TRUE(Remove(block, SpecialKind::kFinalizer));
}

// Each thread has blocks of its own in the same span.
TEST_F(SpecialTest, ThreadsShareASpan) {
  constexpr size_t kThreads = 3;
  const auto blocks = Take(k64, 2 * kThreads);
  ASSERT_EQ(SpanOf(blocks.front()), SpanOf(blocks.back()));
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      void* const mine[] = {blocks[t], blocks[t + kThreads]};
      Span* const span = SpanOf(mine[0]);
      for (int i = 0; i < 3000; ++i) {
        for (void* block : mine) {
          EXPECT_EQ(specials().Add(span, Finalizer(block)), Added::kDone);
          EXPECT_TRUE(Specials::HasAny(*span));
          EXPECT_EQ(heap_->ClassAt(block), kNoClass);
        }
        for (void* block : mine) {
          EXPECT_EQ(heap_->ClassOfBlock(block), k64);
          if (i % 2 == 0) {
            EXPECT_TRUE(Remove(block, SpecialKind::kFinalizer));
            continue;
          }
          const Specials::Freed freed = specials().TakeFreed(span, block);
          EXPECT_FALSE(freed.twice);
          specials().Drop(span, freed.finalizer);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(heap_->ClassAt(blocks[0]), k64);
  EXPECT_EQ(specials().live(SpecialKind::kFinalizer), 0u);
}

TEST_F(SpecialTest, LikeAMap) {
  std::mt19937 random(1);
  std::vector<void*> blocks = Take(k64, 300);
  for (void* block : Take(k1024, 50)) blocks.push_back(block);
  for (int i = 0; i < 10; ++i) blocks.push_back(TakeLarge());
  std::map<std::pair<void*, SpecialKind>, size_t> model;
  for (int step = 0; step < 20'000; ++step) {
    void* block = blocks[random() % blocks.size()];
    const size_t number = random();
    const auto kind = number % 2 == 0 ? SpecialKind::kProfile : SpecialKind::kFinalizer;
    const auto found = model.find({block, kind});
    if (random() % 2 == 0) {
      Special special = kind == SpecialKind::kProfile
                            ? Profile(block, number)
                            : Finalizer(block, reinterpret_cast<void*>(number));
      EXPECT_EQ(Add(special), found == model.end() ? Added::kDone : Added::kExists);
      model.insert({{block, kind}, number});
    } else {
      Special out;
      ASSERT_EQ(Remove(block, kind, &out), found != model.end());
      if (found == model.end()) continue;
      EXPECT_EQ(kind == SpecialKind::kProfile ? out.profile.bytes
                                              : reinterpret_cast<size_t>(out.finalizer.argument),
                found->second);
      model.erase(found);
    }
    if (step % 500 == 0) heap_->CheckInvariants();
  }
  for (const auto& [key, number] : model) EXPECT_TRUE(Remove(key.first, key.second));
  EXPECT_EQ(specials().live(SpecialKind::kProfile) + specials().live(SpecialKind::kFinalizer), 0u);
}

}  // namespace
}  // namespace numaheap
