#include "src/base/message.h"

#include <errno.h>
#include <sys/uio.h>

namespace numaheap {

void Message::WriteTo(int fd) const {
  WriteLine(fd, view());
}

void WriteLine(int fd, std::string_view line) {
  const int saved_errno = errno;
  char newline = '\n';
  size_t done = 0;
  while (done <= line.size()) {
    // The newline counts as the byte after the line, so a short write needs no special case.
    iovec parts[2] = {{const_cast<char*>(line.data()) + done, line.size() - done}, {&newline, 1}};
    const ssize_t written = writev(fd, parts, 2);
    if (written > 0) {
      done += static_cast<size_t>(written);
    } else if (written == 0 || errno != EINTR) {
      break;
    }
  }
  errno = saved_errno;
}

}  // namespace numaheap
