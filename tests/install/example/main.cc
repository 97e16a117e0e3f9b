// Allocates with new and malloc, and prints the heaps that this came from, a line per node.
#include <numaheap.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

// True if numaheap says that it owns `ptr`: malloc and new are really its own.
static bool Owned(const void* ptr) {
  numaheap_owner_t owner;
  return numaheap_owner(ptr, &owner) == 0 && owner.object == ptr;
}

int main() {
  std::vector<int*> numbers;
  for (int i = 0; i < 100000; ++i) numbers.push_back(new int(i));
  void* block = std::malloc(10 << 20);
  if (!Owned(numbers[0]) || !Owned(numbers.data()) || !Owned(block)) {
    std::puts("not on numaheap");
    return 1;
  }

  numaheap_node_snapshot_t nodes[64];
  numaheap_snapshot_t snapshot = {};
  snapshot.version = NUMAHEAP_SNAPSHOT_VERSION;
  snapshot.node_capacity = 64;
  snapshot.nodes = nodes;
  if (numaheap_snapshot(&snapshot) != 0) return 1;
  std::printf("numaheap %s\n", numaheap_version());
  for (unsigned i = 0; i < snapshot.node_count; ++i) {
    std::printf("node %d: %llu bytes in use\n", nodes[i].node,
                static_cast<unsigned long long>(nodes[i].in_use_bytes));
  }

  for (int* number : numbers) delete number;
  std::free(block);
}
