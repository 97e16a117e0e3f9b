// Freed blocks wait for their finalizers first in, first out; each is taken once.
#include "src/heap/finalizer_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <random>
#include <thread>
#include <vector>

namespace numaheap {
namespace {

TEST(FinalizerQueueTest, LikeADeque) {
  FinalizerQueue queue;
  std::vector<Special> records(100);
  std::deque<Special*> model, outside;
  for (Special& record : records) outside.push_back(&record);
  std::mt19937 random(1);
  for (int step = 0; step < 10'000; ++step) {
    // A random walk that visits both ends.
    if (random() % 2 == 0 && !outside.empty()) {
      queue.Put(outside.front());
      model.push_back(outside.front());
      outside.pop_front();
    } else if (random() % 2 == 0) {
      Special* expected = model.empty() ? nullptr : model.front();
      ASSERT_EQ(queue.Take(), expected);
      if (expected == nullptr) continue;
      model.pop_front();
      outside.push_back(expected);
    }
    ASSERT_EQ(queue.waiting(), model.size());
  }
}

TEST(FinalizerQueueTest, EachIsTakenOnce) {
  constexpr int kRecords = 20'000;
  FinalizerQueue queue;
  std::vector<Special> records(kRecords);
  std::vector<std::atomic<int>> taken(kRecords);
  std::atomic<int> left{kRecords};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = static_cast<size_t>(t); i < kRecords; i += 2) queue.Put(&records[i]);
    });
    threads.emplace_back([&] {
      while (left > 0) {
        if (Special* record = queue.Take()) {
          ++taken[static_cast<size_t>(record - records.data())];
          --left;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::atomic<int>& count : taken) ASSERT_EQ(count, 1);
  EXPECT_EQ(queue.waiting(), 0u);
  EXPECT_EQ(queue.Take(), nullptr);
}

}  // namespace
}  // namespace numaheap
