// PprofFile: a profile in pprof's format, put together in memory: profile.proto's fields in
// protobuf's wire format, then gzipped.
//
// https://github.com/google/pprof/blob/main/proto/profile.proto says what the fields mean,
// https://protobuf.dev/programming-guides/encoding/ how they are written. For one thread.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "exporters/profile/loaded_code.h"

namespace numaheap {

class PprofFile {
 public:
  explicit PprofFile(std::vector<CodeMapping> mappings);

  // Each sample has one value per type. In this order: types, then samples.
  void AddType(std::string_view type, std::string_view unit);
  void AddSample(void* const* stack, int depth, const std::vector<int64_t>& values,
                 std::string_view label, std::string_view label_value);
  // A sample stands for `period` of these.
  void SetPeriod(std::string_view type, std::string_view unit, int64_t period);
  void SetDefaultType(std::string_view type) { default_type_ = StringId(type); }
  void SetTime(int64_t ns_since_1970) { time_ns_ = ns_since_1970; }

  // The file. "" when memory has run out.
  std::string Gzipped() const;

 private:
  uint64_t StringId(std::string_view text);
  uint64_t LocationId(const void* return_address);
  std::string ValueType(std::string_view type, std::string_view unit);
  std::string Message() const;

  const std::vector<CodeMapping> mappings_;
  std::map<std::string, uint64_t, std::less<>> string_ids_;
  std::vector<std::string> strings_;
  std::map<uint64_t, uint64_t> location_ids_;  // by address
  std::string mapping_messages_, types_, samples_, locations_, period_;
  uint64_t default_type_ = 0;
  int64_t time_ns_ = 0;
};

}  // namespace numaheap
