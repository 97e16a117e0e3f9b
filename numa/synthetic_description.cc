#include "numa/synthetic_description.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "numa/node_mask.h"

namespace numaheap {
namespace {

[[noreturn]] void Refuse(const std::string& reason) {
  throw std::invalid_argument(reason);
}

// The value of "indexes=" among the attributes "(memory=1GB indexes=0,2)"; "" if there is none or
// it is hwloc's interleaving notation, which hwloc checks.
std::string_view ExplicitIndexes(std::string_view attributes) {
  constexpr std::string_view kName = "indexes=";
  const size_t at = attributes.rfind(kName);
  if (at == attributes.npos) return "";
  std::string_view list = attributes.substr(at + kName.size());
  list = list.substr(0, list.find_first_of(" )]"));
  return list.find_first_not_of("0123456789,") == list.npos ? list : "";
}

void CheckIndexes(std::string_view list, unsigned long objects) {
  if (list.empty()) return;
  std::vector<unsigned> indexes;
  const char* const end = list.data() + list.size();
  for (const char* at = list.data(); at < end;) {
    unsigned index = 0;
    const auto [next, error] = std::from_chars(at, end, index);
    if (error != std::errc() || index >= kMaxSyntheticCpus) {
      Refuse("an index is missing or larger than " + std::to_string(kMaxSyntheticCpus - 1));
    }
    indexes.push_back(index);
    at = next + 1;
  }
  if (indexes.size() != objects) {
    Refuse(std::to_string(indexes.size()) + " indexes for " + std::to_string(objects) + " objects");
  }
  std::sort(indexes.begin(), indexes.end());
  const auto twice = std::adjacent_find(indexes.begin(), indexes.end());
  if (twice != indexes.end()) Refuse("index " + std::to_string(*twice) + " is given twice");
}

// Walks over the levels ("pack:2 [numa(memory=1GB)] pu:4"), widest last.
class Walk {
 public:
  explicit Walk(std::string_view description) : rest_(description) {}

  void Run() {
    TakeAttributes();
    for (SkipSpace(); !rest_.empty(); SkipSpace()) {
      if (!(rest_[0] == '[' ? TakeAttached() : TakeLevel())) return;
    }
    CheckIndexes(attached_indexes_, attached_nodes_);
  }

 private:
  bool TakeAttached() {
    const size_t close = rest_.find(']');
    if (close == rest_.npos) return false;
    attached_nodes_ += width_;
    if (attached_nodes_ > kMaxNodes) {
      Refuse("more than " + std::to_string(kMaxNodes) + " nodes");
    }
    const std::string_view list = ExplicitIndexes(rest_.substr(0, close));
    if (!list.empty()) attached_indexes_ = list;  // the last one counts, and is for all of them
    rest_.remove_prefix(close + 1);
    return true;
  }

  bool TakeLevel() {
    if (rest_[0] < '0' || rest_[0] > '9') {
      const size_t colon = rest_.find(':');
      if (colon == rest_.npos) return false;
      rest_.remove_prefix(colon + 1);
    }
    // Stricter than hwloc, which takes signs and hexadecimal: what isn't counted isn't bounded.
    unsigned long count = 0;
    const auto [next, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), count);
    if (error == std::errc::invalid_argument || count == 0) {
      Refuse("a level without a plain number of objects");
    }
    if (error != std::errc() || count > kMaxSyntheticCpus / width_) {
      Refuse("more than " + std::to_string(kMaxSyntheticCpus) + " CPUs");
    }
    width_ *= count;
    rest_.remove_prefix(static_cast<size_t>(next - rest_.data()));
    CheckIndexes(ExplicitIndexes(TakeAttributes()), width_);
    return true;
  }

  std::string_view TakeAttributes() {
    if (!rest_.starts_with('(')) return "";
    const size_t close = std::min(rest_.find(')'), rest_.size() - 1);
    const std::string_view attributes = rest_.substr(0, close + 1);
    rest_.remove_prefix(close + 1);
    return attributes;
  }

  void SkipSpace() { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \n"), rest_.size())); }

  std::string_view rest_;
  unsigned long width_ = 1;  // objects at the level reached, at most kMaxSyntheticCpus
  unsigned long attached_nodes_ = 0;
  std::string_view attached_indexes_;
};

}  // namespace

void CheckSyntheticDescription(std::string_view description) {
  Walk(description).Run();
}

}  // namespace numaheap
