// What the kernel keeps back of each node's memory, as /proc/zoneinfo tells.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace numaheap {

// Bytes by node number: per zone its high watermark, and what only requests that ask for this very
// zone may have (the largest value of its "protection" line), as the kernel's own
// totalreserve_pages adds them up. Memory beyond that can be handed out without anybody being
// killed for it. Pure.
std::vector<uint64_t> NodeReserves(std::string_view zoneinfo);

}  // namespace numaheap
