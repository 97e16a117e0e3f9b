// What profile_test.py looks at: allocates in known functions, known amounts, and dumps the
// profile.
//
//   profile_subject FILE [THREADS]   THREADS others allocate and free beside it
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <atomic>
#include <new>
#include <thread>
#include <vector>

#include "src/api/numaheap.h"

namespace {

constexpr int kBlocks = 40'000;
void* live[kBlocks];
void* more[kBlocks];

}  // namespace

// The functions that the test knows, each called by the next: names without C++'s signs.
extern "C" {

[[gnu::noinline]] void SmallLive() {
  for (void*& block : live) block = malloc(1000);
}
[[gnu::noinline]] void SmallFreed() {
  for (int i = 0; i < kBlocks; ++i) free(malloc(300));
}
[[gnu::noinline]] void HalfFreed() {
  for (void*& block : more) block = operator new(500);
  for (int i = 0; i < kBlocks; i += 2) operator delete(more[i]);
}
[[gnu::noinline]] void LargeFreed() {
  for (int i = 0; i < 1000; ++i) free(malloc(400'000));
}
[[gnu::noinline]] void Zeroed() {
  for (int i = 0; i < kBlocks / 4; ++i) {
    char* block = static_cast<char*>(calloc(10, 100));
    for (int at = 0; at < 1000; ++at) {
      if (block[at] != 0) abort();
    }
    memset(block, 1, 1000);
    free(block);
  }
}
[[gnu::noinline]] void Aligned() {
  for (int i = 0; i < kBlocks / 4; ++i) {
    void* block = aligned_alloc(256, 1000);
    if (reinterpret_cast<uintptr_t>(block) % 256 != 0) abort();
    free(block);
  }
}
[[gnu::noinline]] char* NotMoved() {
  return static_cast<char*>(malloc(16));
}
[[gnu::noinline]] void Moved() {
  for (int i = 0; i < kBlocks / 4; ++i) {
    char* block = NotMoved();
    memset(block, i, 16);
    block = static_cast<char*>(realloc(block, 2000));
    if (block[0] != static_cast<char>(i) || block[15] != static_cast<char>(i)) abort();
    free(block);
  }
}
[[gnu::noinline]] void OnNode() {
  for (int i = 0; i < kBlocks / 4; ++i) free(numaheap_malloc_onnode(1000, 0));
}
[[gnu::noinline]] void Interleaved() {
  for (int i = 0; i < kBlocks / 4; ++i) free(numaheap_malloc_interleaved(1000));
}

[[gnu::noinline]] void Inner() {
  SmallLive();
  SmallFreed();
  HalfFreed();
  LargeFreed();
  Zeroed();
  Aligned();
  Moved();
  OnNode();
  Interleaved();
  for (void* block : live) free(block);
  memset(live, 0, sizeof live);
  SmallLive();
}
[[gnu::noinline]] void Outer() {
  Inner();
}
}

int main(int argc, char** argv) {
  const char* path = argv[1];
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  for (int i = 0; argc > 2 && i < atoi(argv[2]); ++i) {
    threads.emplace_back([&stop] {
      void* blocks[100] = {};
      for (unsigned n = 0; !stop; ++n) {
        free(blocks[n * 7 % 100]);
        blocks[n * 7 % 100] = malloc(16 << n % 14);
      }
      for (void* block : blocks) free(block);
    });
  }
  Outer();
  const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  errno = 0;
  printf("to a full device: %s\n", strerrorname_np(numaheap_profile_dump(full)));
  for (int i = 0; argc > 2 && i < 20; ++i) {
    const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (numaheap_profile_dump(nowhere) != 0) abort();
    close(nowhere);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  const int error = numaheap_profile_dump(fd);
  if (errno != 0) abort();
  printf("result: %s\n", error == 0 ? "0" : strerrorname_np(error));
  return 0;
}
