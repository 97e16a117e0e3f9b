// handoff: producers on one node hand blocks to consumers on the next. An operation is one message.
//
// A consumer reads the message, which is the program's own sharing and is counted as that, frees
// it, and writes a record of its own in its stead, which has to be local.

#include <sched.h>

#include <atomic>

#include "bench/numasim/workloads/blocks.h"
#include "bench/numasim/workloads/nodes.h"
#include "bench/numasim/workloads/workload.h"

namespace numasim {
namespace {

constexpr size_t kRing = 1024;     // messages under way
constexpr size_t kRecords = 4096;  // that a consumer keeps
constexpr size_t kMessages = 40000, kWarmUp = 10000;

struct Message {
  Block* block;
  size_t bytes;
};

// One producer, one consumer.
struct Ring {
  alignas(64) std::atomic<size_t> written;
  alignas(64) std::atomic<size_t> read;
  alignas(64) Message messages[kRing];
};

NUMASIM_SHARED_CODE uint64_t ReadMessage(const Message& message) {
  const volatile uint64_t* const words = message.block->words;
  uint64_t sum = 0;
  for (size_t i = 0; i < WordsOf(message.bytes); ++i) sum += words[i];
  return sum;
}

void Produce(Ring& ring, Dice& dice, size_t messages) {
  for (size_t i = 0; i < messages; ++i) {
    const size_t place = ring.written.load(std::memory_order_relaxed);
    while (place - ring.read.load(std::memory_order_acquire) == kRing) sched_yield();
    const size_t bytes = dice.RollSize();
    Block* block = Allocate(bytes);
    Fill(block, bytes, bytes);
    ring.messages[place % kRing] = {block, bytes};
    ring.written.store(place + 1, std::memory_order_release);
  }
}

void Consume(Ring& ring, Dice& dice, Block** records, size_t messages) {
  for (size_t i = 0; i < messages; ++i) {
    const size_t place = ring.read.load(std::memory_order_relaxed);
    while (ring.written.load(std::memory_order_acquire) == place) sched_yield();
    const Message message = ring.messages[place % kRing];
    ring.read.store(place + 1, std::memory_order_release);
    CheckSum(ReadMessage(message), message.bytes, message.bytes);
    std::free(message.block);
    Block*& record = records[dice.Roll(kRecords)];
    std::free(record);
    record = Allocate(message.bytes);
    Fill(record, message.bytes, message.bytes);
  }
}

}  // namespace

void RunHandoff(const Workload& workload) {
  std::vector<std::pair<int, int>> pairs;  // CPUs
  for (size_t n = 0; n + 1 < workload.nodes.size(); n += 2) {
    for (size_t i = 0; i < std::min(workload.nodes[n].size(), workload.nodes[n + 1].size()); ++i) {
      pairs.emplace_back(workload.nodes[n][i], workload.nodes[n + 1][i]);
    }
  }
  const size_t threads = 2 * pairs.size();
  auto* rings = static_cast<Ring*>(ProgramMemory(pairs.size() * sizeof(Ring), "shared"));
  MeetingPoint meeting(threads);
  RunThreads(threads, [&](size_t i) {
    const bool is_producer = i % 2 == 0;
    Ring& ring = rings[i / 2];
    MoveTo(is_producer ? pairs[i / 2].first : pairs[i / 2].second);
    Dice dice(i);
    auto** records = static_cast<Block**>(ProgramMemory(kRecords * sizeof(Block*), "program"));
    const auto run = [&](size_t messages) {
      is_producer ? Produce(ring, dice, messages) : Consume(ring, dice, records, messages);
    };
    run(workload.Scaled(kWarmUp));
    meeting.Wait();
    if (i == 0) StartCounting(workload);
    meeting.Wait();
    run(workload.Scaled(kMessages));
    meeting.Wait();
    if (i == 0) StopCounting(workload.Scaled(kMessages) * pairs.size());
    meeting.Wait();
  });
}

}  // namespace numasim
