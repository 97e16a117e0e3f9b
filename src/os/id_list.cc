#include "src/os/id_list.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

namespace numaheap {
namespace {

constexpr int kLimit = 1 << 20;  // far beyond any machine

// Calls visit(first, last) for each range. False at the first thing that is no list.
template <typename Visit>
bool ForEachRange(std::string_view list, Visit visit) {
  int first = -1, number = -1;
  size_t end = list.find('\n');
  if (end > list.size()) end = list.size();
  for (size_t i = 0; i <= end; ++i) {
    const char c = i < end ? list[i] : ',';
    if (c >= '0' && c <= '9') {
      number = (number < 0 ? 0 : number * 10) + (c - '0');
      if (number > kLimit) return false;
    } else if (c == '-' && number >= 0 && first < 0) {
      first = number;
      number = -1;
    } else if (c == ',' && number >= first && number >= 0) {
      visit(first < 0 ? number : first, number);
      first = number = -1;
    } else {
      return false;
    }
  }
  return true;
}

// What stands behind `name` at the start of a line, up to the end of the text.
std::string_view ListAfter(std::string_view text, std::string_view name) {
  if (name.empty()) return text;
  for (size_t at = text.find(name); at < text.size(); at = text.find(name, at + 1)) {
    if (at > 0 && text[at - 1] != '\n') continue;
    text.remove_prefix(at + name.size());
    while (!text.empty() && (text[0] == ' ' || text[0] == '\t')) text.remove_prefix(1);
    return text;
  }
  return {};
}

}  // namespace

int HighestId(std::string_view list) {
  int highest = -1;
  const bool ok = ForEachRange(list, [&](int, int last) {
    if (last > highest) highest = last;
  });
  return ok ? highest : -1;
}

bool HasId(std::string_view list, int id) {
  bool found = false;
  const bool ok =
      ForEachRange(list, [&](int first, int last) { found |= first <= id && id <= last; });
  return ok && found;
}

IdListFile::IdListFile(const char* path, std::string_view line) {
  const int saved_errno = errno;
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    const ssize_t size = read(fd, text_, sizeof text_);
    close(fd);
    if (size > 0) list_ = ListAfter({text_, static_cast<size_t>(size)}, line);
  }
  errno = saved_errno;
}

}  // namespace numaheap
