// Threads that do one thing and are waited for.
#pragma once

#include <cstddef>
#include <thread>
#include <vector>

namespace numaheap::workloads {

// Runs work(0) to work(count - 1), each in a thread of its own, and returns when all are done.
template <typename Work>
void RunThreads(size_t count, Work work) {
  std::vector<std::thread> threads;
  threads.reserve(count);
  for (size_t i = 0; i < count; ++i) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace numaheap::workloads
