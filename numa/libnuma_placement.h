// The placement calls as libnuma and sysfs provide them.
#pragma once

#include "numa/placement.h"

namespace numaheap {

// The table of placement.h: bind_range and page_nodes are libnuma's mbind and move_pages,
// free_bytes reads sysfs (libnuma's numa_node_size64 would allocate). EINVAL from bind_range also
// means an empty list or a node number that no kernel has.
PlacementCalls LibnumaPlacement();

// Reads what free_bytes leaves to the kernel. Once, before free_bytes is first called. Allocates.
void ReadNodeReserves();

}  // namespace numaheap
