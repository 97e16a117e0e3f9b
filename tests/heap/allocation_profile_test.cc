// Buckets by stack: what they add up to, against a map as the model.
#include "src/heap/allocation_profile.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "tests/heap/small_arena.h"

namespace numaheap {
namespace {

using Stack = std::vector<void*>;
using Sums = std::map<Stack, std::pair<SampleWeight, SampleWeight>>;  // total, live

Stack MadeStack(unsigned number) {
  std::mt19937 random(number);
  Stack stack(1 + random() % kMaxStackDepth);
  for (void*& address : stack) address = reinterpret_cast<void*>(uintptr_t{random()});
  return stack;
}

ProfileBucket* Add(AllocationProfile& profile, const Stack& stack, SampleWeight weight) {
  return profile.Allocated(stack.data(), static_cast<int>(stack.size()), weight);
}

Sums SumsOf(AllocationProfile& profile) {
  Sums sums;
  profile.ForEach([&](void* const* stack, int depth, SampleWeight total, SampleWeight live) {
    EXPECT_TRUE(sums.emplace(Stack(stack, stack + depth), std::pair(total, live)).second);
  });
  return sums;
}

TEST(AllocationProfileTest, LikeAMap) {
  SmallArena arena;
  AllocationProfile profile(arena.arena());
  EXPECT_TRUE(SumsOf(profile).empty());
  struct Live {
    ProfileBucket* bucket;
    Stack stack;
    SampleWeight weight;
  };
  std::vector<Live> live;
  Sums model;
  std::mt19937 random(1);
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 3 != 0 || live.empty()) {
      const Stack stack = MadeStack(random() % 3000);
      const SampleWeight weight = {static_cast<int64_t>(random() % 1000),
                                   static_cast<int64_t>(random() % 1'000'000)};
      ProfileBucket* bucket = Add(profile, stack, weight);
      ASSERT_NE(bucket, nullptr);
      live.push_back({bucket, stack, weight});
      for (SampleWeight* sum : {&model[stack].first, &model[stack].second}) {
        sum->objects += weight.objects;
        sum->bytes += weight.bytes;
      }
    } else {
      std::swap(live[random() % live.size()], live.back());
      const Live& freed = live.back();
      profile.Freed(freed.bucket, freed.weight);
      model[freed.stack].second.objects -= freed.weight.objects;
      model[freed.stack].second.bytes -= freed.weight.bytes;
      live.pop_back();
    }
  }
  const Sums sums = SumsOf(profile);
  ASSERT_EQ(sums.size(), model.size());
  for (const auto& [stack, expected] : model) {
    const auto found = sums.find(stack);
    ASSERT_NE(found, sums.end());
    EXPECT_EQ(found->second.first.objects, expected.first.objects);
    EXPECT_EQ(found->second.first.bytes, expected.first.bytes);
    EXPECT_EQ(found->second.second.objects, expected.second.objects);
    EXPECT_EQ(found->second.second.bytes, expected.second.bytes);
  }
}

TEST(AllocationProfileTest, DeepStacksAreCutOff) {
  SmallArena arena;
  AllocationProfile profile(arena.arena());
  Stack stack(2 * kMaxStackDepth);
  for (size_t i = 0; i < stack.size(); ++i) stack[i] = reinterpret_cast<void*>(i + 1);
  Add(profile, stack, {1, 1});
  stack.resize(kMaxStackDepth);
  const Sums sums = SumsOf(profile);
  ASSERT_EQ(sums.size(), 1u);
  EXPECT_EQ(sums.begin()->first, stack);
}

TEST(AllocationProfileTest, WithoutMemoryKnownStacksStillCount) {
  SmallArena arena;
  AllocationProfile profile(arena.arena());
  ProfileBucket* known = Add(profile, MadeStack(1), {1, 1});
  arena.RefuseMemory();
  while (arena.arena().Allocate(16) != nullptr) {
  }
  EXPECT_EQ(Add(profile, MadeStack(2), {1, 1}), nullptr);
  EXPECT_EQ(Add(profile, MadeStack(1), {1, 1}), known);
  SmallArena empty;
  empty.RefuseMemory();
  AllocationProfile none(empty.arena());
  EXPECT_EQ(Add(none, MadeStack(1), {1, 1}), nullptr);
  EXPECT_TRUE(SumsOf(none).empty());
}

TEST(AllocationProfileTest, ThreadsAndAReader) {
  SmallArena arena;
  AllocationProfile profile(arena.arena());
  constexpr int kThreads = 4, kSteps = 5000;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&profile, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      for (int i = 0; i < kSteps; ++i) {
        ProfileBucket* bucket = Add(profile, MadeStack(random() % 100), {2, 3});
        profile.Freed(bucket, {1, 1});
      }
    });
  }
  for (int i = 0; i < 100; ++i) {
    for (const auto& [stack, sum] : SumsOf(profile)) {
      EXPECT_LE(sum.second.objects, sum.first.objects);
    }
  }
  for (std::thread& thread : threads) thread.join();
  int64_t total = 0, live = 0;
  for (const auto& [stack, sum] : SumsOf(profile)) {
    total += sum.first.bytes;
    live += sum.second.bytes;
  }
  EXPECT_EQ(total, 3 * kThreads * kSteps);
  EXPECT_EQ(live, 2 * kThreads * kSteps);
}

}  // namespace
}  // namespace numaheap
