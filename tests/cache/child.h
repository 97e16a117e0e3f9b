// Child: a forked process that must end well, and within a deadline: a hang is a failure of its
// own.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

namespace numaheap {

class Child {
 public:
  // `body` runs in the child, whose exit status is what it returns.
  template <typename Body>
  explicit Child(Body body) : pid_(fork()) {
    if (pid_ == 0) _exit(body());
  }

  // How it ended: "exit 0", "signal 6", …
  std::string Wait() {
    constexpr int kDeadlineMs = 60'000;
    if (pid_ < 0) return "no fork";
    const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
    pollfd ended = {fd, POLLIN, 0};
    // Without such descriptors (Linux before 5.3) the wait has no deadline.
    const bool hangs = fd >= 0 && poll(&ended, 1, kDeadlineMs) == 0;
    if (fd >= 0) close(fd);
    if (hangs) kill(pid_, SIGKILL);
    int status = 0;
    if (waitpid(pid_, &status, 0) != pid_) return "lost";
    if (hangs) return "hang";
    return WIFEXITED(status) ? "exit " + std::to_string(WEXITSTATUS(status))
                             : "signal " + std::to_string(WTERMSIG(status));
  }

 private:
  const pid_t pid_;
};

}  // namespace numaheap
