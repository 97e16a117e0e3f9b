// Rseq: the area that glibc registered tells the CPU, the made-up one never does; each thread has
// its own of both, at the same offset.
#include "src/os/rseq.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace numaheap {
namespace {

const volatile RseqArea* AreaAt(ptrdiff_t offset) {
  return reinterpret_cast<const volatile RseqArea*>(static_cast<char*>(__builtin_thread_pointer()) +
                                                    offset);
}

// In several threads at once, so that no thread gets the memory of one that has ended.
template <typename Body>
void InThreads(int count, Body body) {
  std::vector<std::thread> threads;
  std::mutex running;
  running.lock();  // held until all have started: each waits at its end
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&] {
      body();
      const std::lock_guard wait(running);
    });
  }
  running.unlock();
  for (std::thread& thread : threads) thread.join();
}

TEST(RseqTest, LayoutIsTheKernels) {
  EXPECT_EQ(offsetof(RseqArea, cpu_id_start), 0u);
  EXPECT_EQ(offsetof(RseqArea, cpu_id), 4u);
  EXPECT_EQ(offsetof(RseqArea, rseq_cs), 8u);
}

TEST(RseqTest, TheFakeAreaHasNoCpuInAnyThread) {
  const ptrdiff_t offset = FakeRseqOffset();
  std::mutex lock;
  std::set<const volatile RseqArea*> areas;
  InThreads(8, [&] {
    EXPECT_EQ(FakeRseqOffset(), offset);
    const volatile RseqArea* area = AreaAt(offset);
    EXPECT_EQ(area->cpu_id, -1);
    EXPECT_EQ(area->rseq_cs, 0u);
    const std::lock_guard holder(lock);
    areas.insert(area);
  });
  EXPECT_EQ(areas.size(), 8u);
}

TEST(RseqTest, TheFakeAreaIsNotTheRegisteredOne) {
  EXPECT_NE(FakeRseqOffset(), RegisteredRseqOffset());
  EXPECT_NE(FakeRseqOffset(), 0);
}

class RegisteredRseqTest : public testing::Test {
 protected:
  void SetUp() override {
    if (offset_ == 0) GTEST_SKIP() << "no restartable sequences here";
  }
  const ptrdiff_t offset_ = RegisteredRseqOffset();
};

TEST_F(RegisteredRseqTest, TheOffsetIsTheSameInEveryThread) {
  std::mutex lock;
  std::set<const volatile RseqArea*> areas;
  InThreads(8, [&] {
    EXPECT_EQ(RegisteredRseqOffset(), offset_);
    EXPECT_GE(AreaAt(offset_)->cpu_id, 0);
    const std::lock_guard holder(lock);
    areas.insert(AreaAt(offset_));
  });
  EXPECT_EQ(areas.size(), 8u);
}

TEST_F(RegisteredRseqTest, TellsTheCpuThatRunsTheThread) {
  cpu_set_t allowed;
  ASSERT_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
  int pinned = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    std::thread([&, cpu] {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      if (sched_setaffinity(0, sizeof one, &one) != 0) return;  // taken offline meanwhile
      EXPECT_EQ(AreaAt(offset_)->cpu_id, cpu);
      EXPECT_EQ(sched_getcpu(), cpu);
      ++pinned;
    }).join();
  }
  EXPECT_GT(pinned, 0);
}

}  // namespace
}  // namespace numaheap
