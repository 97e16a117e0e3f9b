// realloc: several buffers grow in turn from 64 bytes to `largest`, as vectors do (growth=double)
// or as text that is appended to by a careless program does (growth=step, 16 bytes at a time). What
// was written must still be there when a buffer is done.
#include <vector>

#include "bench/workloads/block.h"
#include "bench/workloads/workloads.h"

namespace numaheap::workloads {
namespace {

constexpr size_t kFirst = 64;
constexpr size_t kStep = 16;

// A buffer whose every 16 bytes begin with the place they are at.
struct Buffer {
  char* data = nullptr;
  size_t size = 0;

  void Grow(size_t to) {
    void* moved = std::realloc(data, to);
    Check(moved != nullptr, "out of memory");
    data = static_cast<char*>(moved);
    for (; size < to; size += kStep) {
      const uint64_t place = Place(size);
      std::memcpy(data + size, &place, kWord);
    }
  }

  void Close() {
    for (size_t at = 0; at < size; at += kStep) {
      uint64_t found;
      std::memcpy(&found, data + at, kWord);
      Check(found == Place(at), "realloc lost what was in the block");
    }
    std::free(data);
    *this = Buffer();
  }

  // Another number in another buffer: `this` stays where it is while the buffer grows.
  uint64_t Place(size_t at) const { return at ^ reinterpret_cast<uintptr_t>(this); }
};

}  // namespace

void Realloc(const Parameters& parameters) {
  const std::string& growth = parameters.Text("growth");
  Check(growth == "double" || growth == "step", "growth: double or step");
  const bool doubles = growth == "double";
  const size_t largest = parameters["largest"];
  std::vector<Buffer> buffers(parameters["buffers"]);
  for (uint64_t left = parameters["repeats"]; left > 0; --left) {
    for (size_t size = kFirst; size <= largest; size = doubles ? 2 * size : size + kStep) {
      for (Buffer& buffer : buffers) buffer.Grow(size);
    }
    for (Buffer& buffer : buffers) buffer.Close();
  }
}

}  // namespace numaheap::workloads
