// Sizes and durations as people write them: "64 KiB", "1.5 MiB", "500ms".
//
// Pure functions, no allocation, no locale.
#pragma once

#include <cstdint>
#include <string_view>

#include "src/base/message.h"

namespace numaheap {

enum class QuantityKind : uint8_t {
  kSize,      // in bytes; units B, KiB, MiB, GiB, TiB; a bare number is bytes
  kDuration,  // in milliseconds; units ms, s, m, h; a bare number is refused, as nobody can say
              // whether 10 was meant as seconds or milliseconds
};

// Reads a decimal number with at most six digits after its point, optional blanks and a unit, and
// nothing else. What is less than a byte or a millisecond is dropped ("0.3 KiB" is 307 bytes). A
// number too large for int64_t becomes the largest or smallest one, so a check of the range still
// refuses it. Returns whether `text` was such a quantity; if not, *value is unchanged.
bool ParseQuantity(QuantityKind kind, std::string_view text, int64_t* value);

// Appends `value` (not negative) in the largest unit that divides it, such that ParseQuantity()
// reads the same value back: 2 MiB, 65537, 500ms, 2m, 0s.
void AppendQuantity(QuantityKind kind, int64_t value, Message& out);

}  // namespace numaheap
