// Process: the memory of another process, read from outside. The process is neither stopped nor
// told; what is read may change meanwhile, and the process may end at any moment.
//
// Reading takes what a debugger needs: the same user and, by Yama's ptrace_scope, more.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace numaheap::command {

// A line of /proc/PID/maps that names a file.
struct Mapping {
  uint64_t start = 0, end = 0;
  uint64_t offset = 0;  // of `start` in the file
  uint64_t inode = 0;
  std::string device;  // "08:01"
  std::string path;    // as the process sees it, without the mark of a deleted file
  bool readable = false, executable = false;

  bool IsOfSameFile(const Mapping& other) const {
    return inode == other.inode && device == other.device;
  }
};

// The file of that line, or none. Public for its test.
std::optional<Mapping> ParseMapping(std::string_view line);

// Where a stretch of the process's memory goes.
struct Piece {
  uint64_t address = 0;
  void* to = nullptr;
  size_t bytes = 0;
  bool read = false;  // out
};

// A file descriptor that is closed at the end; -1: none.
class File {
 public:
  explicit File(int descriptor = -1) : descriptor_(descriptor) {}
  File(File&& other) : descriptor_(other.descriptor_) { other.descriptor_ = -1; }
  File& operator=(File&&) = delete;
  ~File();
  int descriptor() const { return descriptor_; }
  bool is_open() const { return descriptor_ >= 0; }

 private:
  int descriptor_;
};

class Process {
 public:
  // The error says what is in the way and what helps.
  static absl::StatusOr<Process> Open(pid_t pid);

  pid_t pid() const { return pid_; }
  const std::string& name() const { return name_; }                   // "redis-server"
  const std::vector<Mapping>& mappings() const { return mappings_; }  // by address
  std::string Title() const;  // "process 123 (redis-server)"

  // The file behind a mapping, even if it is deleted or in another mount namespace; not open where
  // that can't be had.
  File OpenFile(const Mapping& mapping) const;
  bool IsExecutable(const Mapping& mapping) const;

  // All of it, or an error.
  absl::Status Read(uint64_t address, void* to, size_t bytes) const;

  // As many of the pieces as can be read, marking them, with few system calls. An error only when
  // the process can't be read at all.
  absl::Status ReadPieces(absl::Span<Piece> pieces) const;

  template <typename T>
  absl::StatusOr<T> Get(uint64_t address) const {
    T value;
    const absl::Status status = Read(address, &value, sizeof value);
    if (!status.ok()) return status;
    return value;
  }

 private:
  explicit Process(pid_t pid) : pid_(pid) {}
  absl::Status Explain(int error) const;

  pid_t pid_;
  std::string name_;
  std::string executable_;  // what /proc/PID/exe points to
  std::vector<Mapping> mappings_;
};

}  // namespace numaheap::command
