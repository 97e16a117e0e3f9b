#include "numa/libnuma_placement.h"

#include <fcntl.h>
#include <numaif.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <sstream>

#include "numa/node_mask.h"
#include "numa/node_meminfo.h"
#include "numa/node_reserve.h"
#include "numa/numa_maps.h"

namespace numaheap {
namespace {

// Runs a system call that returns -1 on failure; 0 or its errno, with errno itself left as it was.
template <typename Call>
int ErrnoOf(Call call) {
  const int saved = errno;
  const int result = call() < 0 ? errno : 0;
  errno = saved;
  return result;
}

constexpr int kStaticNodes = 1 << 15;  // MPOL_F_STATIC_NODES of linux/mempolicy.h

int ModeOf(Policy policy) {
  switch (policy) {
    case Policy::kPreferred:
      return MPOL_PREFERRED;
    case Policy::kBind:
      return MPOL_BIND;
    case Policy::kInterleave:
      return MPOL_INTERLEAVE;
  }
  return -1;
}

int BindRange(void* start, size_t bytes, Policy policy, const NodeId* nodes, int count) {
  // An empty list is not an error to the kernel for every mode: MPOL_PREFERRED takes it for
  // "local".
  if (count <= 0) return EINVAL;
  NodeMask mask;
  for (int i = 0; i < count; ++i) {
    if (!mask.Add(nodes[i])) return EINVAL;
  }
  return ErrnoOf([&] {
    return mbind(start, bytes, ModeOf(policy) | kStaticNodes, mask.words(),
                 NodeMask::kMaxNodeArgument, MPOL_MF_MOVE);
  });
}

// Reads one sysfs file, which the kernel hands over in a single read. Returns the bytes read or -1.
ssize_t ReadWhole(const char* path, char* buffer, size_t capacity) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return -1;
  const ssize_t size = read(file, buffer, capacity);
  close(file);
  return size;
}

// Bytes by node; constant once read.
uint64_t node_reserves[kMaxNodes];

uint64_t FreeBytes(NodeId node) {
  constexpr std::string_view kPrefix = "/sys/devices/system/node/node";
  constexpr std::string_view kSuffix = "/meminfo";
  char path[kPrefix.size() + 11 + kSuffix.size() + 1];
  memcpy(path, kPrefix.data(), kPrefix.size());
  char* end = std::to_chars(path + kPrefix.size(), path + sizeof path, node.value).ptr;
  memcpy(end, kSuffix.data(), kSuffix.size() + 1);

  char text[4096];
  const int saved = errno;
  const ssize_t size = ReadWhole(path, text, sizeof text);
  errno = saved;
  const uint64_t bytes = size <= 0 ? 0 : AvailableBytes({text, static_cast<size_t>(size)});
  if (bytes == 0) return UINT64_MAX;
  const uint64_t reserve = node.value < kMaxNodes ? node_reserves[node.value] : 0;
  return bytes > reserve ? bytes - reserve : 0;
}

int PageNodes(const void* const* pages, size_t count, int* nodes) {
  return ErrnoOf(
      [&] { return move_pages(0, count, const_cast<void**>(pages), nullptr, nodes, 0); });
}

int MovePages(const void* const* pages, size_t count, NodeId node, int* nodes) {
  constexpr size_t kAtOnce = 256;
  int to[kAtOnce];
  std::fill(to, to + kAtOnce, node.value);
  int error = 0;
  for (size_t done = 0; done < count && error == 0;) {
    const size_t here = std::min(count - done, kAtOnce);
    // More than 0 is the number of pages that stayed; which ones, their statuses tell.
    error = ErrnoOf([&] {
      return move_pages(0, here, const_cast<void**>(pages + done), to, nodes + done, MPOL_MF_MOVE);
    });
    done += here;
  }
  return error;
}

int MappedBytes(const void* start, size_t bytes, NodeId node, uint64_t* there,
                uint64_t* elsewhere) {
  NodeBytes all;
  const int error = ReadNumaMaps(start, bytes, &all);
  if (error != 0) return error;
  for (int i = 0; i < kMaxNodes; ++i) *(i == node.value ? there : elsewhere) += all.on[i];
  return 0;
}

}  // namespace

void ReadNodeReserves() {
  std::stringstream text;
  text << std::ifstream("/proc/zoneinfo").rdbuf();
  const std::vector<uint64_t> reserves = NodeReserves(text.str());
  std::copy(reserves.begin(), reserves.end(), node_reserves);
}

PlacementCalls LibnumaPlacement() {
  return {.bind_range = BindRange,
          .free_bytes = FreeBytes,
          .page_nodes = PageNodes,
          .move_pages = MovePages,
          .mapped_bytes = MappedBytes};
}

}  // namespace numaheap
