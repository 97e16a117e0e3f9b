// xmalloc: some threads do nothing but allocate, others nothing but free. Batches of blocks of 16
// to 1,024 bytes go through a bounded queue. After the test that Lever and Boreham describe in
// "malloc() performance in a multithreaded Linux environment", USENIX 2000.
#include <condition_variable>
#include <deque>
#include <mutex>

#include "bench/workloads/block.h"
#include "bench/workloads/random.h"
#include "bench/workloads/threads.h"
#include "bench/workloads/workloads.h"

namespace numaheap::workloads {
namespace {

using Delivery = std::vector<Block>;

// Where producers wait when it is full and consumers when it is empty.
class Queue {
 public:
  void Push(Delivery delivery) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return waiting_.size() < kRoom; });
    waiting_.push_back(std::move(delivery));
    changed_.notify_all();
  }

  Delivery Pop() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !waiting_.empty(); });
    Delivery delivery = std::move(waiting_.front());
    waiting_.pop_front();
    changed_.notify_all();
    return delivery;
  }

 private:
  static constexpr size_t kRoom = 64;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Delivery> waiting_;
};

// The share of thread `index` of `count` in `total`.
uint64_t Share(uint64_t total, uint64_t index, uint64_t count) {
  return total * (index + 1) / count - total * index / count;
}

}  // namespace

void Xmalloc(const Parameters& parameters) {
  const uint64_t producers = parameters["producers"];
  const uint64_t consumers = parameters["consumers"];
  const uint64_t batches = parameters["batches"];
  const size_t batch = parameters["batch"];
  Queue queue;
  RunThreads(producers + consumers, [&](size_t index) {
    if (index < producers) {
      Random random(index);
      for (uint64_t left = Share(batches, index, producers); left > 0; --left) {
        Delivery delivery(batch);
        for (Block& block : delivery) block = Allocate(random.Size(16, 1024));
        queue.Push(std::move(delivery));
      }
    } else {
      for (uint64_t left = Share(batches, index - producers, consumers); left > 0; --left) {
        for (const Block& block : queue.Pop()) Free(block);
      }
    }
  });
}

}  // namespace numaheap::workloads
