// Draws heaps as an SVG file: per heap its totals as a bar and its range as a map of cells, with a
// legend beside it.
#pragma once

#include <string>

#include "exporters/command/heap_picture.h"

namespace numaheap::command {

// `title`: what it is a picture of, in plain text.
std::string DrawAsSvg(const std::vector<HeapRecord>& heaps, std::string_view title);

}  // namespace numaheap::command
