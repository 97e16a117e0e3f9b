#include "exporters/profile/pprof_file.h"

#include <zlib.h>

#include <utility>

namespace numaheap {
namespace {

// Field numbers of profile.proto.
enum Profile {
  kSampleType = 1,
  kSample = 2,
  kMapping = 3,
  kLocation = 4,
  kStringTable = 6,
  kTimeNanos = 9,
  kPeriodType = 11,
  kPeriod = 12,
  kDefaultSampleType = 14
};
enum TypeAndUnit { kType = 1, kUnit = 2 };
enum Sample { kLocationId = 1, kValue = 2, kLabel = 3 };
enum Label { kKey = 1, kStr = 2 };
enum Mapping {
  kId = 1,
  kMemoryStart = 2,
  kMemoryLimit = 3,
  kFileOffset = 4,
  kFilename = 5,
  kBuildId = 6
};
enum Location { kLocationOwnId = 1, kMappingId = 2, kAddress = 3 };

void AppendVarint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

// Wire type 0.
void AppendNumber(std::string& out, int field, uint64_t value) {
  AppendVarint(out, static_cast<uint64_t>(field) << 3);
  AppendVarint(out, value);
}

// Wire type 2: strings, messages, packed numbers.
void AppendBytes(std::string& out, int field, std::string_view bytes) {
  AppendVarint(out, static_cast<uint64_t>(field) << 3 | 2);
  AppendVarint(out, bytes.size());
  out += bytes;
}

}  // namespace

PprofFile::PprofFile(std::vector<CodeMapping> mappings) : mappings_(std::move(mappings)) {
  StringId("");  // as the format wants it
  for (size_t i = 0; i < mappings_.size(); ++i) {
    const CodeMapping& mapping = mappings_[i];
    std::string message;
    AppendNumber(message, kId, i + 1);
    AppendNumber(message, kMemoryStart, mapping.start);
    AppendNumber(message, kMemoryLimit, mapping.end);
    AppendNumber(message, kFileOffset, mapping.file_offset);
    AppendNumber(message, kFilename, StringId(mapping.file));
    AppendNumber(message, kBuildId, StringId(mapping.build_id));
    AppendBytes(mapping_messages_, kMapping, message);
  }
}

uint64_t PprofFile::StringId(std::string_view text) {
  const auto found = string_ids_.find(text);
  if (found != string_ids_.end()) return found->second;
  const uint64_t id = strings_.size();
  strings_.emplace_back(text);
  string_ids_.emplace(text, id);
  return id;
}

uint64_t PprofFile::LocationId(const void* return_address) {
  // The call is the instruction before.
  const uint64_t address = reinterpret_cast<uintptr_t>(return_address) - 1;
  const auto [entry, is_new] = location_ids_.emplace(address, location_ids_.size() + 1);
  if (!is_new) return entry->second;
  std::string message;
  AppendNumber(message, kLocationOwnId, entry->second);
  for (size_t i = 0; i < mappings_.size(); ++i) {
    if (address >= mappings_[i].start && address < mappings_[i].end) {
      AppendNumber(message, kMappingId, i + 1);
    }
  }
  AppendNumber(message, kAddress, address);
  AppendBytes(locations_, kLocation, message);
  return entry->second;
}

std::string PprofFile::ValueType(std::string_view type, std::string_view unit) {
  std::string message;
  AppendNumber(message, kType, StringId(type));
  AppendNumber(message, kUnit, StringId(unit));
  return message;
}

void PprofFile::AddType(std::string_view type, std::string_view unit) {
  AppendBytes(types_, kSampleType, ValueType(type, unit));
}

void PprofFile::AddSample(void* const* stack, int depth, const std::vector<int64_t>& values,
                          std::string_view label, std::string_view label_value) {
  std::string locations, numbers, labels, message;
  for (int i = 0; i < depth; ++i) AppendVarint(locations, LocationId(stack[i]));
  for (const int64_t value : values) AppendVarint(numbers, static_cast<uint64_t>(value));
  AppendNumber(labels, kKey, StringId(label));
  AppendNumber(labels, kStr, StringId(label_value));
  AppendBytes(message, kLocationId, locations);
  AppendBytes(message, kValue, numbers);
  AppendBytes(message, kLabel, labels);
  AppendBytes(samples_, kSample, message);
}

void PprofFile::SetPeriod(std::string_view type, std::string_view unit, int64_t period) {
  period_.clear();
  AppendBytes(period_, kPeriodType, ValueType(type, unit));
  AppendNumber(period_, kPeriod, static_cast<uint64_t>(period));
}

std::string PprofFile::Message() const {
  std::string strings, rest;
  for (const std::string& text : strings_) AppendBytes(strings, kStringTable, text);
  AppendNumber(rest, kTimeNanos, static_cast<uint64_t>(time_ns_));
  AppendNumber(rest, kDefaultSampleType, default_type_);
  return types_ + samples_ + mapping_messages_ + locations_ + strings + rest + period_;
}

std::string PprofFile::Gzipped() const {
  const std::string message = Message();
  z_stream stream = {};
  constexpr int kGzip = 15 + 16;  // the largest window, and gzip's header
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzip, 8, Z_DEFAULT_STRATEGY) !=
      Z_OK) {
    return "";
  }
  std::string out(deflateBound(&stream, message.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(message.data()));
  stream.avail_in = static_cast<uInt>(message.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int result = deflate(&stream, Z_FINISH);
  out.resize(result == Z_STREAM_END ? stream.total_out : 0);
  deflateEnd(&stream);
  return out;
}

}  // namespace numaheap
