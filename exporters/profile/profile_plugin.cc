#include "exporters/profile/profile_plugin.h"

#include <errno.h>
#include <unistd.h>

#include <chrono>
#include <new>
#include <string>

#include "absl/debugging/stacktrace.h"
#include "exporters/profile/loaded_code.h"
#include "exporters/profile/pprof_file.h"

namespace numaheap {
namespace {

void AddSample(void* context, const numaheap_profile_sample* sample) {
  const std::string node =
      sample->node < 0 ? std::string("interleaved") : std::to_string(sample->node);
  static_cast<PprofFile*>(context)->AddSample(
      sample->stack, sample->depth,
      {sample->alloc_objects, sample->alloc_bytes, sample->inuse_objects, sample->inuse_bytes},
      "node", node);
}

std::string FileOf(const numaheap_profile_source& source) {
  PprofFile file(LoadedCode());
  file.AddType("alloc_objects", "count");
  file.AddType("alloc_space", "bytes");
  file.AddType("inuse_objects", "count");
  file.AddType("inuse_space", "bytes");
  file.SetDefaultType("inuse_space");
  file.SetPeriod("space", "bytes", source.sample_interval);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  file.SetTime(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
  source.for_each(AddSample, &file);
  return file.Gzipped();
}

int WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes.remove_prefix(static_cast<size_t>(written));
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

}  // namespace
}  // namespace numaheap

int numaheap_profile_trace(void** stack, int most) {
  return absl::GetStackTrace(stack, most, 0);
}

int numaheap_profile_write(int fd, const struct numaheap_profile_source* source) {
  const int saved_errno = errno;
  int error = ENOMEM;
  try {
    const std::string file = numaheap::FileOf(*source);
    if (!file.empty()) error = numaheap::WriteAll(fd, file);
  } catch (const std::bad_alloc&) {
  }
  errno = saved_errno;
  return error;
}
