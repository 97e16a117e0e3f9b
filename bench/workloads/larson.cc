// larson: a server whose threads come and go, each inheriting its predecessor's blocks. A thread
// frees random blocks of an array and allocates others, 8 to 1,000 bytes, in their place; then it
// starts a thread that goes on with the array, and ends. After Larson and Krishnan, "Memory
// allocation for long-running server applications", ISMM 1998.
#include <latch>
#include <thread>

#include "bench/workloads/block.h"
#include "bench/workloads/random.h"
#include "bench/workloads/workloads.h"

namespace numaheap::workloads {
namespace {

constexpr size_t kSmallest = 8;
constexpr size_t kLargest = 1000;

size_t AnySize(Random& random) {
  return kSmallest + random.Below(kLargest - kSmallest + 1);
}

// One array and the threads that have it in turn.
struct Connection {
  std::vector<Block> blocks;
  Random random;
  uint64_t generations;
  uint64_t replacements;  // in each generation
  std::latch* closed;

  void Serve() {
    for (uint64_t left = replacements; left > 0; --left) {
      Block& block = blocks[random.Below(blocks.size())];
      Free(block);
      block = Allocate(AnySize(random));
    }
    if (--generations > 0) {
      std::thread([this] { Serve(); }).detach();
    } else {
      closed->count_down();
    }
  }
};

}  // namespace

void Larson(const Parameters& parameters) {
  const size_t threads = parameters["threads"];
  std::latch closed(static_cast<ptrdiff_t>(threads));
  std::vector<Connection> connections;
  for (size_t i = 0; i < threads; ++i) {
    connections.push_back({std::vector<Block>(parameters["blocks"]), Random(i),
                           parameters["generations"], parameters["replacements"], &closed});
    // One thread allocates the first blocks of all: somebody else's they are from the beginning.
    for (Block& block : connections[i].blocks) block = Allocate(AnySize(connections[i].random));
  }
  for (Connection& connection : connections) {
    std::thread([&connection] { connection.Serve(); }).detach();
  }
  closed.wait();
  for (const Connection& connection : connections) {
    for (const Block& block : connection.blocks) Free(block);
  }
}

}  // namespace numaheap::workloads
