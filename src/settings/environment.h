// The reader of NUMAHEAP_OPTIONS: "key=value,key=value".
//
// Blanks around keys, values and commas don't count, empty items neither; of a key given twice the
// last holds. A value with a comma stands in double quotes: metrics.listen="a,b". No value can
// contain a double quote itself. Pure, no allocation.
#pragma once

#include <cstddef>
#include <string_view>

#include "src/base/message.h"
#include "src/settings/settings.h"

namespace numaheap {

// Called with each mistake, `column` counted in bytes from 1.
struct MistakeSink {
  void* context;
  void (*mistake)(void* context, size_t column, std::string_view what);
};

// Sets the options that `text` names. What is wrong is reported and skipped up to the next comma;
// the rest holds.
void ReadOptions(std::string_view text, Settings& settings, const MistakeSink& mistakes);

}  // namespace numaheap
