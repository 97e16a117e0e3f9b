// What /sys/devices/system/node/nodeN/meminfo says of a node's memory.
//
// A pure function over text: no allocation, no kernel.
#pragma once

#include <cstdint>
#include <string_view>

namespace numaheap {

// Bytes that the node can give without swapping: its free memory, and half of the file cache and
// reclaimable slab, which the kernel drops on demand. A machine that has been up for a while keeps
// next to nothing free, so MemFree alone would call every node full; the other half of the cache is
// left alone because part of it is dirty, mapped or in use, as in the kernel's own MemAvailable.
// 0 when the text has no MemFree line. Lines that can't be read count as absent.
uint64_t AvailableBytes(std::string_view meminfo);

}  // namespace numaheap
