// Strong types for the things that have numbers: nodes, CPUs, size classes, pages.
//
// A NodeId is the kernel's node number, so ids may be sparse (0, 2, 5); whoever keeps an array per
// node sizes it by Topology::node_limit and skips the ids that are absent.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

namespace numaheap {

// The kernel's number of a NUMA node. Never negative; "no node" is kNoNode.
struct NodeId {
  int value = 0;
  friend constexpr auto operator<=>(NodeId, NodeId) = default;
};
inline constexpr NodeId kNoNode{-1};

// The kernel's number of a logical CPU.
struct CpuId {
  int value = 0;
  friend constexpr auto operator<=>(CpuId, CpuId) = default;
};

// Index into the SizeMap. Class 0 means "not a small object".
struct SizeClass {
  uint8_t value = 0;
  friend constexpr auto operator<=>(SizeClass, SizeClass) = default;
};
inline constexpr SizeClass kNoClass{0};

inline constexpr int kPageShift = 13;
inline constexpr size_t kPageSize = size_t{1} << kPageShift;  // bytes

// A number of pages.
struct Length {
  size_t pages = 0;
  constexpr size_t bytes() const { return pages << kPageShift; }
  friend constexpr auto operator<=>(Length, Length) = default;
  friend constexpr Length operator+(Length a, Length b) { return {a.pages + b.pages}; }
  friend constexpr Length operator-(Length a, Length b) { return {a.pages - b.pages}; }
  constexpr Length& operator+=(Length b) { return pages += b.pages, *this; }
  constexpr Length& operator-=(Length b) { return pages -= b.pages, *this; }
};

// The pages needed to hold `bytes`. Safe for any argument.
constexpr Length LengthOf(size_t bytes) {
  return {(bytes >> kPageShift) + ((bytes & (kPageSize - 1)) != 0)};
}

// A page by its number within the heap area of its node's range: page 0 is the first page that can
// hold user memory. 32 bits address 32 TiB per node.
struct PageId {
  uint32_t index = 0;
  friend constexpr auto operator<=>(PageId, PageId) = default;
  friend constexpr PageId operator+(PageId p, Length n) {
    return {static_cast<uint32_t>(p.index + n.pages)};
  }
  friend constexpr PageId operator-(PageId p, Length n) {
    return {static_cast<uint32_t>(p.index - n.pages)};
  }
  friend constexpr Length operator-(PageId a, PageId b) { return {size_t{a.index} - b.index}; }
};

}  // namespace numaheap
