// pinned, moved, freed-across: a thread per CPU allocates, fills, reads and frees blocks of 32 to
// 287 bytes at random. An operation is one block replaced by another.
//
// Before counting starts every thread has warmed up and its blocks are free again; the workloads
// differ in where that happened. So whatever is remote afterwards was the allocator's choice.

#include "bench/numasim/workloads/blocks.h"
#include "bench/numasim/workloads/nodes.h"
#include "bench/numasim/workloads/workload.h"

namespace numasim {
namespace {

constexpr size_t kSlots = 4096;  // of about 160 bytes: more than the default cache holds
constexpr size_t kOperations = 30000, kWarmUp = 10000;
constexpr int kReads = 2;  // other blocks per operation

struct Slot {
  Block* block;
  size_t bytes;
};

class Churn {
 public:
  explicit Churn(size_t thread)
      : slots_(static_cast<Slot*>(ProgramMemory(kSlots * sizeof(Slot), "program"))),
        dice_(thread) {}

  void Run(size_t operations) {
    for (size_t i = 0; i < operations; ++i) {
      Slot& slot = slots_[dice_.Roll(kSlots)];
      std::free(slot.block);
      slot.bytes = dice_.RollSize();
      slot.block = Allocate(slot.bytes);
      Fill(slot.block, slot.bytes, slot.bytes);
      for (int k = 0; k < kReads; ++k) {
        const Slot& other = slots_[dice_.Roll(kSlots)];
        if (other.block != nullptr) {
          CheckSum(Sum(other.block, other.bytes), other.bytes, other.bytes);
        }
      }
    }
  }

  void FreeAll() {
    for (size_t i = 0; i < kSlots; ++i) {
      std::free(slots_[i].block);
      slots_[i].block = nullptr;
    }
  }

 private:
  Slot* const slots_;
  Dice dice_;
};

enum class WarmUp { kHere, kOnOtherNode, kFreedOnOtherNode };

void RunChurn(const Workload& workload, WarmUp warm_up) {
  std::vector<int> cpus, elsewhere;  // of thread i, and its place on the next node
  for (size_t n = 0; n < workload.nodes.size(); ++n) {
    const std::vector<int>& next = workload.nodes[(n + 1) % workload.nodes.size()];
    for (size_t i = 0; i < workload.nodes[n].size(); ++i) {
      cpus.push_back(workload.nodes[n][i]);
      elsewhere.push_back(next[i % next.size()]);
    }
  }
  std::vector<Churn*> churns(cpus.size());
  MeetingPoint meeting(cpus.size());
  RunThreads(cpus.size(), [&](size_t i) {
    MoveTo(warm_up == WarmUp::kOnOtherNode ? elsewhere[i] : cpus[i]);
    Churn churn(i);
    churns[i] = &churn;
    churn.Run(workload.Scaled(kWarmUp));
    meeting.Wait();
    // Those that go by number from the next node's first thread on.
    const size_t offset = warm_up == WarmUp::kFreedOnOtherNode ? workload.nodes[0].size() : 0;
    churns[(i + offset) % cpus.size()]->FreeAll();
    MoveTo(cpus[i]);
    meeting.Wait();
    if (i == 0) StartCounting(workload);
    meeting.Wait();
    churn.Run(workload.Scaled(kOperations));
    meeting.Wait();
    if (i == 0) StopCounting(workload.Scaled(kOperations) * cpus.size());
    meeting.Wait();
    churn.FreeAll();
  });
}

}  // namespace

void RunPinned(const Workload& workload) {
  RunChurn(workload, WarmUp::kHere);
}
void RunMoved(const Workload& workload) {
  RunChurn(workload, WarmUp::kOnOtherNode);
}
void RunFreedAcross(const Workload& workload) {
  RunChurn(workload, WarmUp::kFreedOnOtherNode);
}

}  // namespace numasim
