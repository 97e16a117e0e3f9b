// Reservation: addresses that a test has to itself, given back with the object.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/os/linux_kernel.h"

namespace numaheap {

class Reservation {
 public:
  explicit Reservation(size_t bytes, void* at = nullptr) : bytes_(bytes) {
    int error = 0;
    start_ = static_cast<char*>(kernel_.Reserve(at, bytes, &error));
  }
  ~Reservation() {
    if (start_ != nullptr) kernel_.Unreserve(start_, bytes_);
  }
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;

  char* start() const { return start_; }  // null when refused
  char* end() const { return start_ + bytes_; }

  // Where `bytes` bytes from a huge-page boundary on were free a moment ago.
  static char* FreePlace(size_t bytes) {
    const Reservation reservation(bytes + kHugePageSize);
    const uintptr_t start = reinterpret_cast<uintptr_t>(reservation.start());
    return reservation.start() + (-start & (kHugePageSize - 1));
  }

 private:
  LinuxKernel kernel_;
  const size_t bytes_;
  char* start_ = nullptr;
};

}  // namespace numaheap
