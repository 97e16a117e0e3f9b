#include "numa/numa_maps.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace numaheap {
namespace {

// Reads all of `text` as a number.
template <typename Number>
bool ReadNumber(std::string_view text, int base, Number* number) {
  const char* const end = text.data() + text.size();
  const auto [next, error] = std::from_chars(text.data(), end, *number, base);
  return error == std::errc() && next == end;
}

// Removes and returns the next word. Paths have their spaces escaped, so words are what they seem.
std::string_view TakeWord(std::string_view* line) {
  line->remove_prefix(std::min(line->find_first_not_of(' '), line->size()));
  const std::string_view word(line->data(), std::min(line->find(' '), line->size()));
  line->remove_prefix(word.size());
  return word;
}

// The kernel counts the pages of a line in units of this; huge pages of hugetlbfs have larger ones,
// transparent ones are counted in small pages.
uint64_t BytesPerPage(std::string_view line) {
  constexpr std::string_view kName = "kernelpagesize_kB=";
  uint64_t kib = 4;
  while (!line.empty()) {
    std::string_view word = TakeWord(&line);
    if (!word.starts_with(kName)) continue;
    word.remove_prefix(kName.size());
    if (!ReadNumber(word, 10, &kib)) kib = 4;
  }
  return kib * 1024;
}

}  // namespace

bool AddNumaMapsLine(std::string_view line, uintptr_t start, uintptr_t end, NodeBytes* out) {
  uintptr_t address = 0;
  if (!ReadNumber(TakeWord(&line), 16, &address)) return false;
  if (address < start || address >= end) return true;
  const uint64_t page = BytesPerPage(line);
  while (!line.empty()) {
    const std::string_view word = TakeWord(&line);  // "N3=17": 17 pages on node 3
    const size_t equals = word.find('=');
    if (!word.starts_with('N') || equals == word.npos) continue;
    int node = 0;
    uint64_t pages = 0;
    uint64_t bytes = 0;
    const bool understood =
        ReadNumber(std::string_view(word.data() + 1, equals - 1), 10, &node) && node >= 0 &&
        node < kMaxNodes &&
        ReadNumber(std::string_view(word.data() + equals + 1, word.size() - equals - 1), 10,
                   &pages) &&
        !__builtin_mul_overflow(pages, page, &bytes) &&
        !__builtin_add_overflow(out->on[node], bytes, &out->on[node]);
    if (!understood) return false;
  }
  return true;
}

int AddNumaMaps(int file, uintptr_t start, uintptr_t end, NodeBytes* out) {
  char buffer[32 * 1024];
  size_t used = 0;
  int result = 0;
  for (;;) {
    const ssize_t got = read(file, buffer + used, sizeof buffer - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) return result;
    used += static_cast<size_t>(got);
    size_t done = 0;
    while (const void* newline = memchr(buffer + done, '\n', used - done)) {
      const size_t line_end = static_cast<size_t>(static_cast<const char*>(newline) - buffer);
      const std::string_view line(buffer + done, line_end - done);
      if (!AddNumaMapsLine(line, start, end, out)) result = EBADMSG;
      done = line_end + 1;
    }
    used -= done;
    memmove(buffer, buffer + done, used);
    if (used == sizeof buffer) return E2BIG;
  }
}

int ReadNumaMaps(const void* start, size_t bytes, NodeBytes* out) {
  const int saved = errno;
  const auto first = reinterpret_cast<uintptr_t>(start);
  const int file = open("/proc/self/numa_maps", O_RDONLY | O_CLOEXEC);
  const int error = file < 0 ? errno : AddNumaMaps(file, first, first + bytes, out);
  if (file >= 0) close(file);
  errno = saved;
  return error;
}

}  // namespace numaheap
