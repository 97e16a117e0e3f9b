// Draws heaps as text: a block per cell, filled as high as it is alive, in its kind's colour; or a
// letter per cell.
#pragma once

#include <string>

#include "exporters/command/heap_picture.h"

namespace numaheap::command {

struct TerminalStyle {
  enum Colours { kNone, k256, kTrue } colours = kNone;
  size_t columns = 80;
};

std::string DrawOnTerminal(const std::vector<HeapRecord>& heaps, const TerminalStyle& style);

}  // namespace numaheap::command
