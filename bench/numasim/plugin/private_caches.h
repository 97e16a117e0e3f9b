// PrivateCaches: one set-associative cache per CPU, over physical addresses.
//
// Least recently used goes first. A store takes the line away from every other CPU's cache
// (write-invalidate), and nothing else couples the caches: there is no shared level behind them, so
// each miss is one access to memory. Not synchronised.
//
//   ways_[cpu][set][way]  the line's number, most recently used first
//   holders_[line]        a bit per CPU that has the line
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <vector>

namespace numasim {

inline constexpr int kLineShift = 6;
inline constexpr int kMaxCpus = 64;  // bits of a holders entry

class PrivateCaches {
 public:
  // `bytes` and `ways` of each cache: the sets they make must be a power of two. `memory_bytes`:
  // the physical addresses there are.
  PrivateCaches(int cpus, uint64_t bytes, int ways, uint64_t memory_bytes)
      : sets_(bytes / static_cast<uint64_t>(ways) >> kLineShift),
        ways_per_set_(ways),
        lines_(memory_bytes >> kLineShift),
        ways_(static_cast<uint64_t>(cpus) * sets_ * static_cast<uint64_t>(ways), kNoLine) {
    // Zero pages until touched: most of the memory never is.
    void* map = mmap(nullptr, lines_ * sizeof(uint64_t), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) abort();
    holders_ = static_cast<uint64_t*>(map);
  }
  PrivateCaches(const PrivateCaches&) = delete;
  PrivateCaches& operator=(const PrivateCaches&) = delete;
  ~PrivateCaches() { munmap(holders_, lines_ * sizeof(uint64_t)); }

  uint64_t lines() const { return lines_; }

  // `cpu` reads or writes `line`, less than lines(). Returns whether it had to come from memory.
  bool Access(unsigned cpu, uint64_t line, bool is_store) {
    uint64_t* const set =
        &ways_[(cpu * sets_ + (line & (sets_ - 1))) * static_cast<uint64_t>(ways_per_set_)];
    const uint64_t me = uint64_t{1} << cpu;
    uint64_t& holders = holders_[line];
    const bool hit = (holders & me) != 0;
    // To the front; the others move back by one, over the place that becomes free.
    const uint64_t leaving = hit ? line : kNoLine;
    uint64_t moved = line;
    for (int way = 0; way < ways_per_set_; ++way) {
      std::swap(set[way], moved);
      if (moved == leaving) break;
    }
    if (!hit && moved != kNoLine) holders_[moved] &= ~me;
    if (is_store) {
      for (uint64_t others = holders & ~me; others != 0; others &= others - 1) {
        Drop(static_cast<unsigned>(__builtin_ctzll(others)), line);
      }
      holders = 0;
    }
    holders |= me;
    return !hit;
  }

 private:
  static constexpr uint64_t kNoLine = ~uint64_t{0};

  void Drop(unsigned cpu, uint64_t line) {
    uint64_t* const set =
        &ways_[(cpu * sets_ + (line & (sets_ - 1))) * static_cast<uint64_t>(ways_per_set_)];
    for (int way = 0; way < ways_per_set_; ++way) {
      if (set[way] == line) set[way] = kNoLine;
    }
  }

  const uint64_t sets_;
  const int ways_per_set_;
  const uint64_t lines_;
  std::vector<uint64_t> ways_;
  uint64_t* holders_;
};

}  // namespace numasim
