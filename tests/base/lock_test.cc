// Lock: mutual exclusion, waiting, errno, fork, and the order of ranks in builds that check it.
#include "src/base/lock.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

namespace numaheap {
namespace {

constexpr char kOutOfRank[] = "lock taken out of rank";

// Tests take locks in ways that the compile-time analysis rightly refuses.
void Take(Lock& lock) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  lock.Acquire();
}
bool TryTake(Lock& lock) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  return lock.TryAcquire();
}
void Leave(Lock& lock) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  lock.Release();
}

// Whether a thread of this process sleeps in the kernel, as /proc tells: "TID (NAME) S …".
bool IsAsleep(pid_t thread) {
  std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/stat");
  std::string text;
  std::getline(file, text);
  const size_t name_end = text.rfind(')');
  return name_end != text.npos && text.substr(name_end, 3) == ") S";
}

// A thread that takes `lock`, which the creator holds, and finds its errno as it was.
class Waiter {
 public:
  explicit Waiter(Lock& lock)
      : thread_([this, &lock] {
          thread_id_ = static_cast<pid_t>(syscall(SYS_gettid));
          errno = EDOM;
          Take(lock);
          errno_after_acquire_ = errno;
          Leave(lock);
          errno_after_release_ = errno;
        }) {}

  // Returns once the thread has spun long enough and sleeps.
  void AwaitSleep() {
    while (thread_id_ == 0 || !IsAsleep(thread_id_)) sched_yield();
  }
  void Interrupt() { pthread_kill(thread_.native_handle(), SIGUSR1); }
  void Join() {
    thread_.join();
    EXPECT_EQ(errno_after_acquire_, EDOM);
    EXPECT_EQ(errno_after_release_, EDOM);
  }

 private:
  std::atomic<pid_t> thread_id_{0};
  int errno_after_acquire_ = 0;
  int errno_after_release_ = 0;
  std::thread thread_;
};

TEST(LockTest, ExcludesOthers) {
  constexpr int kThreads = 8, kRounds = 5'000;
  Lock lock(LockRank::kPageHeap);
  long sum = 0;  // not atomic: the lock is what orders its changes
  std::atomic<int> inside{0};
  std::atomic<int> crowds{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kRounds; ++i) {
        LockHolder holder(lock);
        if (inside.fetch_add(1, std::memory_order_relaxed) != 0) ++crowds;
        ++sum;
        if (i % 64 == 0) sched_yield();  // others find it taken, spin in vain and sleep
        inside.fetch_sub(1, std::memory_order_relaxed);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(crowds, 0);
  EXPECT_EQ(sum, long{kThreads} * kRounds);
}

TEST(LockTest, TryAcquireExcludesToo) {
  constexpr int kThreads = 4, kRounds = 20'000;
  Lock lock(LockRank::kPageHeap);
  long sum = 0;
  std::atomic<long> taken{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kRounds; ++i) {
        if (!TryTake(lock)) continue;
        ++sum;
        Leave(lock);
        ++taken;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sum, taken);
  EXPECT_GT(sum, 0);
}

TEST(LockTest, TryAcquireTakesOnlyWhatIsFree) {
  Lock lock(LockRank::kPageHeap);
  ASSERT_TRUE(TryTake(lock));
  std::thread([&lock] { EXPECT_FALSE(TryTake(lock)); }).join();
  EXPECT_FALSE(TryTake(lock)) << "not recursive";
  Leave(lock);
  std::thread([&lock] {
    ASSERT_TRUE(TryTake(lock));
    Leave(lock);
  }).join();
}

TEST(LockTest, TheHolderReleasesAtTheEndOfItsScope) {
  Lock lock(LockRank::kPageHeap);
  {
    LockHolder holder(lock);
    lock.AssertHeld();
    EXPECT_FALSE(TryTake(lock));
  }
  ASSERT_TRUE(TryTake(lock));
  Leave(lock);
}

TEST(LockTest, AFailedTryCountsAsNotHeld) {
  // Else this thread could take nothing of a higher rank from then on, in builds that check ranks.
  Lock high(LockRank::kStart), low(LockRank::kMetadata);
  Take(low);
  std::thread([&] {
    EXPECT_FALSE(TryTake(low));
    Take(high);
    Leave(high);
  }).join();
  Leave(low);
}

TEST(LockTest, WakesWhoeverSleeps) {
  constexpr int kWaiters = 4;
  Lock lock(LockRank::kPageHeap);
  Take(lock);
  std::deque<Waiter> waiters;
  for (int i = 0; i < kWaiters; ++i) waiters.emplace_back(lock);
  for (Waiter& waiter : waiters) waiter.AwaitSleep();
  Leave(lock);
  for (Waiter& waiter : waiters) waiter.Join();  // one wake-up leads to the next
}

// The sleep ends early with EINTR, which neither counts as the lock nor shows.
TEST(LockTest, WaitsOnAfterASignal) {
  struct sigaction action = {}, before;
  action.sa_handler = [](int) {};  // without SA_RESTART
  ASSERT_EQ(sigaction(SIGUSR1, &action, &before), 0);
  Lock lock(LockRank::kPageHeap);
  Take(lock);
  Waiter waiter(lock);
  for (int i = 0; i < 3; ++i) {
    waiter.AwaitSleep();
    waiter.Interrupt();
  }
  waiter.AwaitSleep();
  Leave(lock);
  waiter.Join();
  sigaction(SIGUSR1, &before, nullptr);
}

// The futex call fails with EAGAIN when the lock changes hands just then.
TEST(LockTest, KeepsErrnoUnderContention) {
  constexpr int kThreads = 4, kRounds = 5'000;
  Lock lock(LockRank::kPageHeap);
  std::atomic<int> changed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRounds; ++i) {
        errno = 1000 + t;
        Take(lock);
        if (i % 16 == 0) sched_yield();
        Leave(lock);
        if (errno != 1000 + t) ++changed;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(changed, 0);
}

TEST(LockTest, TheChildOfAForkReleasesWhatTheParentHeld) {
  Lock lock(LockRank::kPageHeap);
  Take(lock);
  const pid_t child = fork();
  if (child == 0) {
    const bool was_held = !TryTake(lock);
    Leave(lock);
    _exit(was_held && TryTake(lock) ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(TryTake(lock)) << "the parent's is another lock";
  Leave(lock);
}

TEST(LockTest, AssertHeldDiesWhenFree) {
  if (!kDebugChecks) GTEST_SKIP() << "this build has no debug checks";
  Lock lock(LockRank::kPageHeap);
  EXPECT_DEATH(lock.AssertHeld(), "check failed");
}

class LockRankTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!kDebugChecks) GTEST_SKIP() << "this build has no debug checks";
  }

  Lock start_{LockRank::kStart};
  Lock cache_{LockRank::kTransferCache};
  Lock list_{LockRank::kCentralFreeList};
  Lock other_list_{LockRank::kCentralFreeList};
  Lock heap_{LockRank::kPageHeap};
};

TEST(LockRankOrderTest, DownwardsIsFine) {
  Lock locks[] = {
#define RANK(name, what) Lock(LockRank::name),
#include "src/base/lock_ranks.inc"
#undef RANK
  };
  for (Lock& lock : locks) Take(lock);
  for (Lock& lock : locks) Leave(lock);
  // What has been released counts no more.
  for (Lock* lock = std::end(locks); lock != locks;) {
    Take(*--lock);
    Leave(*lock);
  }
}

TEST_F(LockRankTest, UpwardsDies) {
  Take(heap_);
  EXPECT_DEATH(Take(list_), kOutOfRank);
  EXPECT_DEATH(Take(start_), kOutOfRank);
  Leave(heap_);
}

TEST_F(LockRankTest, TwoOfOneRankDie) {
  Take(list_);
  EXPECT_DEATH(Take(other_list_), kOutOfRank);
  EXPECT_DEATH(Take(list_), kOutOfRank) << "a deadlock, without the check";
  Leave(list_);
}

TEST_F(LockRankTest, ASuccessfulTryIsCheckedToo) {
  Take(heap_);
  EXPECT_DEATH(TryTake(list_), kOutOfRank);
  Leave(heap_);
}

TEST_F(LockRankTest, OrderOfReleaseIsFree) {
  Take(cache_);
  Take(list_);
  Leave(cache_);
  EXPECT_DEATH(Take(cache_), kOutOfRank);
  Leave(list_);
  Take(cache_);
  Leave(cache_);
}

TEST_F(LockRankTest, EachThreadHasAnOrderOfItsOwn) {
  Take(heap_);
  std::thread([this] {
    Take(list_);
    Leave(list_);
  }).join();
  Leave(heap_);
}

TEST_F(LockRankTest, ReleasingWhatAnotherThreadHoldsDies) {
  Take(heap_);
  std::thread([this] { EXPECT_DEATH(Leave(heap_), "released by a thread that lacks it"); }).join();
  Leave(heap_);
  EXPECT_DEATH(Leave(heap_), "released by a thread that lacks it");
}

TEST_F(LockRankTest, AroundForkLocksOfOneRankGoTogether) {
  Lock::BeginFork();
  Take(list_);
  Take(other_list_);
  Take(heap_);
  EXPECT_DEATH(Take(cache_), kOutOfRank) << "upwards stays forbidden";
  const pid_t child = fork();
  if (child == 0) {
    for (Lock* lock : {&heap_, &other_list_, &list_}) Leave(*lock);
    Lock::EndFork();
    Take(list_);
    _exit(0);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  for (Lock* lock : {&heap_, &other_list_, &list_}) Leave(*lock);
  Lock::EndFork();
  Take(list_);
  EXPECT_DEATH(Take(other_list_), kOutOfRank) << "the exception has ended";
  Leave(list_);
}

TEST_F(LockRankTest, OnlyTheForkingThreadIsExcepted) {
  Lock::BeginFork();
  std::thread([this] {
    Take(list_);
    EXPECT_DEATH(Take(other_list_), kOutOfRank);
    Leave(list_);
  }).join();
  Lock::EndFork();
}

}  // namespace
}  // namespace numaheap
