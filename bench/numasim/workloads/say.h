// Say: how a program in the guest tells the simulator's plugin something.
//
// A plugin of this interface sees no registers and no memory, but it sees the address of each
// access. So a text is read aloud: for each character, one load from the place of that number in a
// table of 256 bytes, with an instruction that no compiler would make (`testb $0x5a` with the
// displacement below), by which the plugin knows it. Without the plugin it is a harmless load.
#pragma once

#include <cstdint>
#include <string_view>

namespace numasim {

inline constexpr int32_t kSayDisplacement = 0x4e554d41;

// testb $0x5a, kSayDisplacement(%rax)
inline constexpr unsigned char kSayInstruction[] = {0xf6, 0x80, 0x41, 0x4d, 0x55, 0x4e, 0x5a};

// One command. One thread of one process at a time. Allocates nothing.
inline void Say(std::string_view command) {
  alignas(256) static constexpr char kCharacters[256] = {};
  const auto say = [](char c) {
    const uintptr_t place =
        reinterpret_cast<uintptr_t>(kCharacters) + static_cast<unsigned char>(c);
    asm volatile("testb $0x5a, %c0(%1)"
                 :
                 : "i"(kSayDisplacement), "a"(place - kSayDisplacement)
                 : "cc", "memory");
  };
  for (const char c : command) say(c);
  say('\n');
}

}  // namespace numasim
