// The kernel's lists of CPUs and nodes in sysfs: "0-3,8,10-11".
#pragma once

#include <string_view>

namespace numaheap {

// The highest number in the list, or -1 for what is no list. Pure.
int HighestId(std::string_view list);

// Whether `id` is in the list; false for what is no list. Pure.
bool HasId(std::string_view list, int id);

// A list as a file of sysfs holds it, or, behind a name, a line of one of procfs. Allocates
// nothing.
class IdListFile {
 public:
  // Keeps errno. A file that can't be read holds no list, nor does one without that line.
  // `line`: how it begins, with the colon; "" for the whole file.
  explicit IdListFile(const char* path, std::string_view line = "");

  int highest() const { return HighestId(list_); }
  bool Has(int id) const { return HasId(list_, id); }

 private:
  char text_[8192];  // sysfs shows at most a page, /proc/self/status a little more
  std::string_view list_;
};

}  // namespace numaheap
