// LineSink: where finished lines go, be it stderr, a buffer or a test.
#pragma once

#include <string_view>

namespace numaheap {

// Called with one line at a time, without its newline; the text is valid during the call only.
// Calls come from the thread that was given the sink.
struct LineSink {
  void* context = nullptr;
  void (*line)(void* context, std::string_view text) = nullptr;

  void operator()(std::string_view text) const { line(context, text); }
};

}  // namespace numaheap
