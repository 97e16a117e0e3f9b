// A block of the allocator under test, and the pattern that tells whether it is still ours.
//
// The first and the last word, and one in each 4 KiB between, hold a number made of the block's
// address, its size and their offset. Free() looks whether all are still there, and wipes the first
// out: a block that somebody else wrote into is found, and one that was handed out twice when it is
// freed the second time. Touching a word per page is also what makes large blocks cost memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace numaheap::workloads {

inline constexpr size_t kWord = sizeof(uint64_t);
inline constexpr size_t kTouched = 4096;  // one word is written in each so many bytes

[[noreturn, gnu::cold, gnu::noinline]] inline void Fail(const char* what) {
  std::fprintf(stderr, "workload: %s\n", what);
  std::_Exit(1);
}

inline void Check(bool holds, const char* what) {
  if (!holds) [[unlikely]]
    Fail(what);
}

struct Block {
  char* data = nullptr;
  size_t size = 0;  // at least a word, unless data is null

  uint64_t Pattern(size_t offset) const {
    return (reinterpret_cast<uintptr_t>(data) ^ (size << 48)) + offset * 0x9e3779b97f4a7c15;
  }

  void Write() const {
    for (size_t offset = 0; offset + kWord <= size; offset += kTouched) WriteAt(offset);
    WriteAt(size - kWord);
  }

  void Verify() const {
    // Where two words overlap, the last one that was written counts.
    for (size_t offset = 0; offset + 2 * kWord <= size; offset += kTouched) VerifyAt(offset);
    VerifyAt(size - kWord);
    std::memset(data, 0, kWord);
    asm volatile("" : : "r"(data) : "memory");  // or the write to what is freed next is dropped
  }

 private:
  void WriteAt(size_t offset) const {
    const uint64_t pattern = Pattern(offset);
    std::memcpy(data + offset, &pattern, kWord);
  }
  void VerifyAt(size_t offset) const {
    uint64_t found;
    std::memcpy(&found, data + offset, kWord);
    Check(found == Pattern(offset), "a live block was overwritten");
  }
};

inline Block Written(void* data, size_t size) {
  Check(data != nullptr, "out of memory");
  Check(size >= kWord, "a block has at least a word");
  const Block block{static_cast<char*>(data), size};
  block.Write();
  return block;
}

inline Block Allocate(size_t size) {
  return Written(std::malloc(size), size);
}

inline void Free(const Block& block) {
  if (block.data == nullptr) return;
  block.Verify();
  std::free(block.data);
}

}  // namespace numaheap::workloads
