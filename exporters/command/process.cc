#include "exporters/command/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace numaheap::command {
namespace {

constexpr std::string_view kDeleted = " (deleted)";

std::string PathOf(pid_t pid, std::string_view entry) {
  return absl::StrFormat("/proc/%d/%s", pid, entry);
}

// The first line of a file, "" if there is none.
std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string LinkTarget(const std::string& path) {
  char target[PATH_MAX];
  const ssize_t length = readlink(path.c_str(), target, sizeof target);
  return length < 0 ? "" : std::string(target, static_cast<size_t>(length));
}

// What keeps a reader out, beyond the user, and what would let it in.
std::string Remedy() {
  const std::string scope = FirstLine("/proc/sys/kernel/yama/ptrace_scope");
  std::string text = "it takes what a debugger needs: run this as the same user or as root";
  if (!scope.empty() && scope != "0") {
    absl::StrAppend(&text, "; kernel.yama.ptrace_scope is ", scope,
                    ", which keeps out all but root (sudo sysctl kernel.yama.ptrace_scope=0)");
  }
  return text + "; a container needs the capability SYS_PTRACE";
}

}  // namespace

File::~File() {
  if (descriptor_ >= 0) close(descriptor_);
}

std::optional<Mapping> ParseMapping(std::string_view line) {
  // 7f0c2a000000-7f0c2a021000 r-xp 00001000 08:01 1234    /usr/lib/libnumaheap.so.0
  std::istringstream fields{std::string(line)};
  std::string range, permissions, offset, inode, path;
  Mapping mapping;
  fields >> range >> permissions >> offset >> mapping.device >> inode >> std::ws;
  std::getline(fields, path);
  const size_t dash = range.find('-');
  if (dash == std::string::npos || permissions.size() < 3 || path.empty() || path[0] != '/' ||
      !absl::SimpleHexAtoi(range.substr(0, dash), &mapping.start) ||
      !absl::SimpleHexAtoi(range.substr(dash + 1), &mapping.end) ||
      !absl::SimpleHexAtoi(offset, &mapping.offset) || !absl::SimpleAtoi(inode, &mapping.inode) ||
      mapping.start >= mapping.end) {
    return std::nullopt;
  }
  mapping.readable = permissions[0] == 'r';
  mapping.executable = permissions[2] == 'x';
  mapping.path =
      std::string(absl::StripSuffix(path, absl::string_view(kDeleted.data(), kDeleted.size())));
  return mapping;
}

absl::Status Process::Explain(int error) const {
  if (error == ESRCH) {
    return absl::NotFoundError(absl::StrCat("there is no process ", pid_, " (any more)"));
  }
  if (error == EPERM || error == EACCES) {
    return absl::PermissionDeniedError(
        absl::StrCat(Title(), " may not be read: ", strerror(error), "; ", Remedy()));
  }
  return absl::UnavailableError(absl::StrCat("can't read ", Title(), ": ", strerror(error)));
}

std::string Process::Title() const {
  return name_.empty() ? absl::StrCat("process ", pid_)
                       : absl::StrCat("process ", pid_, " (", name_, ")");
}

absl::StatusOr<Process> Process::Open(pid_t pid) {
  Process process(pid);
  struct stat ignored;
  if (stat(PathOf(pid, "").c_str(), &ignored) != 0) return process.Explain(ESRCH);
  process.name_ = FirstLine(PathOf(pid, "comm"));
  // A process calls itself what it likes; terminals and SVG files are to show it.
  std::replace_if(
      process.name_.begin(), process.name_.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  process.executable_ = LinkTarget(PathOf(pid, "exe"));
  errno = 0;
  std::ifstream maps(PathOf(pid, "maps"));
  if (!maps) return process.Explain(errno == ENOENT ? ESRCH : errno);
  bool any = false;
  for (std::string line; std::getline(maps, line);) {
    any = true;
    if (auto mapping = ParseMapping(line)) process.mappings_.push_back(*std::move(mapping));
  }
  if (!any) {
    if (errno != 0) return process.Explain(errno);
    return absl::NotFoundError(absl::StrCat(
        process.Title(), " has no memory: it has ended, or is a thread of the kernel"));
  }
  return process;
}

File Process::OpenFile(const Mapping& mapping) const {
  const std::string by_name = absl::StrCat("/proc/", pid_, "/root", mapping.path);
  // Works for what is deleted or replaced too, but only for root.
  const std::string by_range =
      absl::StrFormat("/proc/%d/map_files/%x-%x", pid_, mapping.start, mapping.end);
  for (const std::string& path : {by_name, by_range}) {
    struct stat found;
    // Never a device or a pipe, which could keep us waiting.
    if (stat(path.c_str(), &found) != 0 || !S_ISREG(found.st_mode)) continue;
    if (found.st_ino != mapping.inode) continue;
    File file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (file.is_open()) return file;
  }
  return File();
}

bool Process::IsExecutable(const Mapping& mapping) const {
  const absl::string_view suffix(kDeleted.data(), kDeleted.size());
  return mapping.path == absl::StripSuffix(executable_, suffix);
}

absl::Status Process::Read(uint64_t address, void* to, size_t bytes) const {
  Piece piece{address, to, bytes};
  const absl::Status status = ReadPieces(absl::MakeSpan(&piece, 1));
  if (!status.ok()) return status;
  if (piece.read) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrFormat("%s has no %d bytes of memory at %#x", Title(), bytes, address));
}

absl::Status Process::ReadPieces(absl::Span<Piece> pieces) const {
  while (!pieces.empty()) {
    iovec to[IOV_MAX], from[IOV_MAX];
    const size_t count = std::min<size_t>(pieces.size(), IOV_MAX);
    for (size_t i = 0; i < count; ++i) {
      to[i] = {pieces[i].to, pieces[i].bytes};
      from[i] = {reinterpret_cast<void*>(pieces[i].address), pieces[i].bytes};
      pieces[i].read = false;
    }
    const ssize_t got = process_vm_readv(pid_, to, count, from, count, 0);
    if (got < 0 && errno != EFAULT) return Explain(errno);
    // What comes behind a piece that can't be read is tried again.
    size_t left = got < 0 ? 0 : static_cast<size_t>(got), done = 0;
    while (done < count && left >= pieces[done].bytes) {
      left -= pieces[done].bytes;
      pieces[done++].read = true;
    }
    pieces.remove_prefix(std::min(count, done + 1));
  }
  return absl::OkStatus();
}

}  // namespace numaheap::command
