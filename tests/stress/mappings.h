// Mappings: how many entries /proc/self/maps has, and how many of them are numaheap's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>

namespace numaheap {

struct Mappings {
  // `block`: any live block of numaheap. Its address space is one reservation, so numaheap's are
  // the nameless mappings that touch one another around it. Allocates.
  explicit Mappings(const void* block) {
    const auto address = reinterpret_cast<uintptr_t>(block);
    std::ifstream maps("/proc/self/maps");
    uintptr_t run_begin = 0, run_end = 0;
    size_t run = 0;
    bool around = false;  // the block is in this run
    const auto end_run = [&] {
      if (around) {
        of_heaps = run;
        heap_bytes = run_end - run_begin;
      }
      run = 0;
      around = false;
    };
    for (std::string line; std::getline(maps, line);) {
      unsigned long begin = 0, end = 0, inode = 0;
      int read = 0;
      std::sscanf(line.c_str(), "%lx-%lx %*s %*s %*s %lu %n", &begin, &end, &inode, &read);
      ++of_process;
      const bool nameless = inode == 0 && line.size() == static_cast<size_t>(read);
      if (!nameless || begin > run_end) end_run();
      if (!nameless) continue;
      if (run++ == 0) run_begin = begin;
      run_end = end;
      around |= begin <= address && address < end;
    }
    end_run();
  }

  size_t of_process = 0;
  size_t of_heaps = 0;
  size_t heap_bytes = 0;  // what those span, reserved addresses included
};

}  // namespace numaheap
