// HeapPicture: a heap's address range cut into cells of equal size, each with the kind of memory
// that most of it is, and how much of it is alive. What the terminal and the SVG file draw.
//
// Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "exporters/command/heap_reader.h"

namespace numaheap::command {

// Small objects by size, then the rest. Each has a row in kKinds.
enum class Kind : uint8_t {
  kTo64,
  kTo256,
  kTo1K,
  kTo4K,
  kTo16K,
  kTo64K,
  kTo256K,
  kLarge,
  kIdle,
  kReleased,
  kUnknown,
  kReserved
};

struct KindInfo {
  std::string_view label;
  uint32_t colour;  // 0xrrggbb
  uint32_t tint;    // of what is not alive
  char letter;      // where there are no colours
};

// Small objects go from violet to yellow with their size, in steps of even lightness (the viridis
// map), so that they can be told apart in grey as well; what is free is pale.
inline constexpr KindInfo kKinds[] = {
    {"up to 64 B", 0x5b2a86, 0xded4e7, 'a'},    {"up to 256 B", 0x3f4f9e, 0xd9dcec, 'b'},
    {"up to 1 KiB", 0x2f7492, 0xd5e3e9, 'c'},   {"up to 4 KiB", 0x229389, 0xd3e9e7, 'd'},
    {"up to 16 KiB", 0x43b36b, 0xd9f0e1, 'e'},  {"up to 64 KiB", 0x9bcf3c, 0xebf5d8, 'f'},
    {"up to 256 KiB", 0xecd32b, 0xfbf6d5, 'g'}, {"large", 0xe2703a, 0xf9e2d8, 'L'},
    {"idle", 0xb9c0c9, 0xb9c0c9, '.'},          {"released", 0xebeef1, 0xebeef1, '_'},
    {"unknown", 0xc01f3a, 0xc01f3a, '?'},       {"reserved", 0xffffff, 0xffffff, '-'},
};
inline constexpr size_t kKindCount = std::size(kKinds);

// Of a span that is partly released: kIdle.
Kind KindOf(const SpanRecord& span);

// Of a heap.
struct Totals {
  uint64_t bytes[kKindCount] = {};  // they add up to what is reserved
  uint64_t live[kKindCount] = {};   // of the objects in them that are in use or cached
  uint64_t small = 0, live_small = 0, committed = 0, reserved = 0;  // sums of those

  uint64_t Of(Kind kind) const { return bytes[static_cast<size_t>(kind)]; }
  uint64_t in_use() const { return small + Of(Kind::kLarge); }
};

Totals TotalsOf(const HeapRecord& heap);

struct Cell {
  Kind kind = Kind::kUnknown;
  double live = 1;  // share of its kind's bytes that is alive
};

// The committed part, by address; the last cell may stand for less than the others.
struct HeapPicture {
  uint64_t cell_bytes = 0;
  uint64_t start = 0;
  std::vector<Cell> cells;
};

// At most `most` cells, each a power of two of bytes and at least one page.
HeapPicture PictureOf(const HeapRecord& heap, size_t most);

// "0", "interleaved".
std::string NodeName(int node);
// "1.5 GiB": three digits or so.
std::string BytesText(uint64_t bytes);
// "in use 1.0 GiB (small 0.9 GiB, 87% alive; large 0.1 GiB), idle …"
std::string TotalsText(const Totals& totals);

}  // namespace numaheap::command
