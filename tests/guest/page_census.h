// PageCensus: on which nodes the pages of blocks lie, as move_pages tells, against where they
// should.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <vector>

#include "numa/libnuma_placement.h"

namespace numaheap {

class PageCensus {
 public:
  static constexpr size_t kPageBytes = 4096;  // the kernel's

  // Asks where each page of [block, block + bytes) lies, which should be on `node`. Allocates.
  void Count(const void* block, size_t bytes, int node) {
    const auto first = reinterpret_cast<uintptr_t>(block) / kPageBytes;
    const auto last = (reinterpret_cast<uintptr_t>(block) + bytes - 1) / kPageBytes;
    std::vector<const void*> pages;
    for (uintptr_t page = first; page <= last; ++page) {
      pages.push_back(reinterpret_cast<const void*>(page * kPageBytes));
    }
    std::vector<int> nodes(pages.size());
    error_ |= LibnumaPlacement().page_nodes(pages.data(), pages.size(), nodes.data());
    for (int at : nodes) {
      ++pages_;
      at_home_ += at == node;
      ++by_node_[at];
    }
  }

  void Add(const PageCensus& other) {
    pages_ += other.pages_;
    at_home_ += other.at_home_;
    error_ |= other.error_;
    for (const auto& [node, pages] : other.by_node_) by_node_[node] += pages;
  }

  int error() const { return error_; }  // 0, or what move_pages said
  uint64_t pages() const { return pages_; }
  uint64_t at_home() const { return at_home_; }
  uint64_t on(int node) const {
    const auto found = by_node_.find(node);
    return found == by_node_.end() ? 0 : found->second;
  }
  // Pages by node; a negative one is an error of the kernel's for those pages.
  const std::map<int, uint64_t>& by_node() const { return by_node_; }
  double percent_at_home() const {
    return pages_ == 0 ? 0 : 100.0 * static_cast<double>(at_home_) / static_cast<double>(pages_);
  }

 private:
  int error_ = 0;
  uint64_t pages_ = 0;
  uint64_t at_home_ = 0;
  std::map<int, uint64_t> by_node_;
};

}  // namespace numaheap
