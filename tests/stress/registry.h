// Registry: which addresses belong to live blocks. Any thread; dies of two blocks that overlap.
//
// Addresses are cut into chunks, which share a few maps with a lock each, so that threads seldom
// wait for one another. A block stands in the map of each chunk that it touches, with its part.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

#include "tests/stress/require.h"

namespace numaheap {

class Registry {
 public:
  void Enter(const void* block, size_t bytes) {
    ForEachPart(block, bytes, [](Shard& shard, uintptr_t begin, uintptr_t end) {
      const auto next = shard.parts.lower_bound(begin);
      Require(next == shard.parts.end() || end <= next->first, "two live blocks overlap");
      Require(next == shard.parts.begin() || std::prev(next)->second <= begin,
              "two live blocks overlap");
      shard.parts.emplace_hint(next, begin, end);
    });
  }

  void Leave(const void* block, size_t bytes) {
    ForEachPart(block, bytes, [](Shard& shard, uintptr_t begin, uintptr_t end) {
      const auto found = shard.parts.find(begin);
      Require(found != shard.parts.end() && found->second == end, "a block is lost");
      shard.parts.erase(found);
    });
  }

  bool empty() {
    return std::all_of(shards_.begin(), shards_.end(), [](Shard& shard) {
      std::lock_guard holder(shard.lock);
      return shard.parts.empty();
    });
  }

 private:
  static constexpr uintptr_t kChunk = 1 << 18;  // bytes

  struct Shard {
    std::mutex lock;
    std::map<uintptr_t, uintptr_t> parts;  // begin to end
  };

  template <typename Visit>
  void ForEachPart(const void* block, size_t bytes, Visit visit) {
    uintptr_t begin = reinterpret_cast<uintptr_t>(block);
    const uintptr_t end = begin + bytes;
    while (begin < end) {
      const uintptr_t part_end = std::min(end, (begin / kChunk + 1) * kChunk);
      Shard& shard = shards_[begin / kChunk % shards_.size()];
      std::lock_guard holder(shard.lock);
      visit(shard, begin, part_end);
      begin = part_end;
    }
  }

  std::array<Shard, 61> shards_;
};

}  // namespace numaheap
