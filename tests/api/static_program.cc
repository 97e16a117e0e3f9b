// A program without any shared library: its indirect functions are resolved before it has a thread
// pointer, and it can load no plugin.
#include <cstdlib>
#include <thread>
#include <vector>

#include "src/api/numaheap.h"

int main() {
  std::vector<void*> blocks;
  for (size_t size = 0; size < 1000; ++size) blocks.push_back(std::malloc(size));
  numaheap_owner_t owner;
  bool ours = true;
  for (void* block : blocks) {
    ours = ours && block != nullptr && numaheap_owner(block, &owner) == 0;
    std::free(block);
  }
  std::thread([&ours] {
    void* block = std::malloc(100);
    ours = ours && block != nullptr;
    std::free(block);
  }).join();
  return ours ? 0 : 1;
}
