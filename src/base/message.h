// Message: one line of text, put together without allocating and written to a file descriptor.
//
// For what the allocator has to say when it can rely on nothing: no malloc, no stdio, no locale,
// no locks. A Message lives on the stack of its one thread and may be used in a signal handler.
// Text beyond kCapacity is dropped and the end becomes "...", so what is written is never wrong,
// only short.
//
//   Message m;
//   m << "numaheap: free of " << Hex(ptr) << " on node " << node.value;
//   m.WriteTo(STDERR_FILENO);
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <type_traits>

namespace numaheap {

// Appends as 0x and lower-case digits, without leading zeros.
struct Hex {
  uint64_t value;
  constexpr explicit Hex(uint64_t v) : value(v) {}
  explicit Hex(const void* pointer) : value(reinterpret_cast<uintptr_t>(pointer)) {}
};

class Message {
 public:
  static constexpr size_t kCapacity = 512;  // bytes

  constexpr Message() {}

  constexpr Message& operator<<(std::string_view text) {
    for (char c : text) Put(c);
    return *this;
  }
  constexpr Message& operator<<(const char* text) { return *this << std::string_view(text); }
  constexpr Message& operator<<(char c) { return Put(c), *this; }
  constexpr Message& operator<<(bool b) { return *this << (b ? "true" : "false"); }
  constexpr Message& operator<<(Hex hex) {
    *this << "0x";
    return PutDigits(hex.value, 16);
  }
  // In decimal, whatever the width: an int8_t is a number here, only char is a character.
  template <std::integral Integer>
  constexpr Message& operator<<(Integer number) {
    uint64_t magnitude = static_cast<uint64_t>(number);
    if constexpr (std::is_signed_v<Integer>) {
      if (number < 0) {
        Put('-');
        magnitude = 0 - magnitude;  // right for the smallest number too
      }
    }
    return PutDigits(magnitude, 10);
  }

  // Valid until the next append or the end of this Message.
  constexpr std::string_view view() const { return {text_, size_}; }
  constexpr bool truncated() const { return truncated_; }
  constexpr void clear() { size_ = 0, truncated_ = false; }

  // Writes the text and a newline, as WriteLine() does.
  void WriteTo(int fd) const;

 private:
  constexpr void Put(char c) {
    if (size_ < kCapacity) {
      text_[size_++] = c;
    } else if (!truncated_) {
      truncated_ = true;
      for (size_t i = kCapacity - 3; i < kCapacity; ++i) text_[i] = '.';
    }
  }

  constexpr Message& PutDigits(uint64_t number, unsigned base) {
    char digits[std::numeric_limits<uint64_t>::digits10 + 1] = {};
    size_t count = 0;
    do {
      digits[count++] = "0123456789abcdef"[number % base];
      number /= base;
    } while (number != 0);
    while (count > 0) Put(digits[--count]);
    return *this;
  }

  size_t size_ = 0;
  bool truncated_ = false;
  char text_[kCapacity];  // the first size_ bytes are text, the rest is never read
};

// Writes `line` and a newline to `fd` with one system call where the kernel takes it whole, so that
// lines of several threads or processes don't mix. Goes on after signals and short writes, gives up
// silently on any other error: there is nobody left to tell. Keeps errno. Async-signal-safe.
void WriteLine(int fd, std::string_view line);

}  // namespace numaheap
