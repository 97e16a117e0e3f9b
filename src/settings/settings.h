// Settings: what a person may choose, one field per row of options.inc.
//
// A plain value: default-constructed it holds the defaults, at compile time if need be; copying
// copies bytes. Whoever holds one owns it; the process's own is filled while it starts (load.h) and
// constant from then on, so reading it needs no lock.
#pragma once

#include <cstddef>
#include <cstdint>

namespace numaheap {

enum class PlacementPolicy : uint8_t { kPreferred, kBind, kFirstTouch };
enum class BindFallback : uint8_t { kFail, kSpill };
enum class UseMemoryOnly : uint8_t { kSpill, kDemand, kNever };
enum class CacheMode : uint8_t { kAuto, kRseq, kLocked };
enum class OnError : uint8_t { kContinue, kAbort };

inline constexpr size_t kTextBytes = 256;  // of a TEXT field, with the closing zero

struct Settings {
#define TEXT(field, key, initial, doc) char field[kTextBytes] = initial;
#define CHOICE(field, key, Enum, initial, names, doc) Enum field = Enum::initial;
#define SWITCH(field, key, initial, doc) bool field = initial;
#define SIZE(field, key, initial, min, max, doc) int64_t field = initial;      // bytes
#define DURATION(field, key, initial, min, max, doc) int64_t field = initial;  // milliseconds
#include "src/settings/options.inc"
};

}  // namespace numaheap
