// Scavenger: when a node's scavenger wakes, and what it gives back. Pure; the thread is apart
// (src/api/background.h).
#pragma once

#include <algorithm>
#include <cstdint>

namespace numaheap {

class Scavenger {
 public:
  explicit Scavenger(uint64_t idle_after_ms) : idle_after_ms_(idle_after_ms) {}

  // Time between rounds: a tenth of the age, so that nothing stays a tenth longer than it should;
  // never so often that it costs (10 ms), never so seldom that remote frees pile up (1 s).
  uint64_t period_ms() const { return std::clamp<uint64_t>(idle_after_ms_ / 10, 10, 1000); }

  // Spans idle since then or before go back to the kernel in a round at `now_ms`.
  uint64_t CutoffMs(uint64_t now_ms) const {
    return now_ms > idle_after_ms_ ? now_ms - idle_after_ms_ : 0;
  }

  // Whether this round also empties caches that have rested since the last such round: four times
  // within the age, so that what a cache held is released at most half an age late.
  bool TimeToDrain(uint64_t now_ms) {
    if (now_ms - drained_ms_ < idle_after_ms_ / 4) return false;
    drained_ms_ = now_ms;
    return true;
  }

 private:
  const uint64_t idle_after_ms_;
  uint64_t drained_ms_ = 0;
};

}  // namespace numaheap
