// What bench/run lets g++ compile: KINDS different classes, each put through containers and
// sorting, so that the compiler instantiates and optimises hundreds of templates for each.
#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#ifndef KINDS
#define KINDS 4
#endif

namespace {

template <size_t kKind>
struct Kind {
  std::string name;
  std::tuple<size_t, double, std::string> fields;
  bool operator<(const Kind& other) const { return fields < other.fields; }
};

template <size_t kKind>
size_t Exercise(size_t count) {
  std::map<std::string, std::vector<Kind<kKind>>> by_name;
  for (size_t i = 0; i < count; ++i) {
    Kind<kKind> one{std::to_string(i * kKind), {i, i * 0.5, std::to_string(i % 7)}};
    by_name[std::get<2>(one.fields)].push_back(std::move(one));
  }
  size_t found = 0;
  for (auto& [name, kinds] : by_name) {
    std::sort(kinds.begin(), kinds.end());
    found += static_cast<size_t>(std::count_if(kinds.begin(), kinds.end(), [=](const auto& one) {
      return std::get<0>(one.fields) < count / 2 && !one.name.empty();
    }));
  }
  return found;
}

template <size_t... kKinds>
size_t ExerciseAll(size_t count, std::index_sequence<kKinds...>) {
  return (Exercise<kKinds>(count) + ...);
}

}  // namespace

size_t ExerciseAll(size_t count) {
  return ExerciseAll(count, std::make_index_sequence<KINDS>());
}
