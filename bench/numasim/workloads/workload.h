// Workload: a program with threads whose memory accesses are counted.
//
//   workload NAME ALLOCATOR LIBRARY SCALE
//
// ALLOCATOR is what the counts are called by, LIBRARY the file name of its library ("libc.so.6" for
// glibc's), SCALE multiplies the operations.
#pragma once

#include <pthread.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace numasim {

struct Workload {
  const char* name;
  const char* allocator;
  const char* library;
  double scale;
  std::vector<std::vector<int>> nodes;  // CPUs by node

  size_t Scaled(size_t operations) const {
    return static_cast<size_t>(static_cast<double>(operations) * scale);
  }
};

// Memory of the program itself, from the kernel: zeros that lie where they are touched first.
// Counted as the region of that name. Never given back. Called before counting starts.
void* ProgramMemory(size_t bytes, const char* region);

// Declares the process and starts counting; and ends it.
void StartCounting(const Workload& workload);
void StopCounting(uint64_t operations);

// Runs body(i) in `count` threads and waits for them.
void RunThreads(size_t count, const std::function<void(size_t)>& body);

// Where all threads wait for each other, asleep.
class MeetingPoint {
 public:
  explicit MeetingPoint(size_t threads) {
    pthread_barrier_init(&barrier_, nullptr, static_cast<unsigned>(threads));
  }
  ~MeetingPoint() { pthread_barrier_destroy(&barrier_); }
  void Wait() { pthread_barrier_wait(&barrier_); }

 private:
  pthread_barrier_t barrier_;
};

// Described where they are defined: churn.cc for the first three, else a file each.
void RunPinned(const Workload& workload);
void RunMoved(const Workload& workload);
void RunFreedAcross(const Workload& workload);
void RunHandoff(const Workload& workload);
void RunServer(const Workload& workload);
void RunKnown(const Workload& workload);

}  // namespace numasim
