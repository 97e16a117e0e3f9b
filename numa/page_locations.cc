#include "numa/page_locations.h"

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

int AskMovePages(const PlacementCalls& calls, uintptr_t start, uintptr_t end, size_t page,
                 PageLocations* out) {
  constexpr size_t kBatch = 256;
  const void* addresses[kBatch];
  int status[kBatch];
  for (uintptr_t at = start; at < end;) {
    size_t count = 0;
    for (; count < kBatch && at < end; at += page) {
      addresses[count++] = reinterpret_cast<const void*>(at);
    }
    const int error = calls.page_nodes(addresses, count, status);
    if (error != 0) return error;
    for (size_t i = 0; i < count; ++i) {
      if (status[i] >= 0 && status[i] < kMaxNodes) {
        out->node_bytes[status[i]] += page;
      } else if (status[i] == -ENOENT || status[i] == -EFAULT) {
        out->absent_bytes += page;  // EFAULT: the shared zero page, or no mapping at all
      } else {
        out->unknown_bytes += page;
      }
    }
  }
  return 0;
}

int ReadNumaMaps(uintptr_t start, uintptr_t end, PageLocations* out) {
  const int file = open("/proc/self/numa_maps", O_RDONLY | O_CLOEXEC);
  if (file < 0) return errno;
  const int error = AddNumaMaps(file, start, end, out);
  close(file);
  return error;
}

}  // namespace

bool AddNumaMapsLine(std::string_view line, uintptr_t start, uintptr_t end, PageLocations* out) {
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
        !__builtin_add_overflow(out->node_bytes[node], bytes, &out->node_bytes[node]);
    if (!understood) return false;
  }
  return true;
}

int AddNumaMaps(int file, uintptr_t start, uintptr_t end, PageLocations* out) {
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

int LocatePages(const PlacementCalls& calls, const void* start, size_t bytes, PageLocations* out) {
  const int saved = errno;
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t first = reinterpret_cast<uintptr_t>(start) & ~(page - 1);
  uintptr_t end = 0;
  if (__builtin_add_overflow(reinterpret_cast<uintptr_t>(start), bytes, &end) ||
      __builtin_add_overflow(end, page - 1, &end)) {
    return EINVAL;
  }
  end &= ~(page - 1);

  *out = PageLocations{};
  int error = AskMovePages(calls, first, end, page, out);
  if (error == EPERM || error == ENOSYS) {
    *out = PageLocations{.source = PageLocations::Source::kNumaMaps};
    error = ReadNumaMaps(first, end, out);
  }
  errno = saved;
  return error;
}

}  // namespace numaheap
