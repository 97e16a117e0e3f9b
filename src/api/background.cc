#include "src/api/background.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <cstring>

#include "exporters/prometheus/prometheus_plugin.h"
#include "src/api/allocator.h"
#include "src/base/message.h"
#include "src/heap/scavenger.h"
#include "src/os/plugin.h"

namespace numaheap {
namespace {

constexpr uint64_t kServeRetryMs = 5000;
constexpr size_t kStackBytes = 256 << 10;  // the metrics library is loaded and started on it

std::atomic<numaheap_prometheus_forget_t> forget_server{nullptr};

void ReportLine(const char* line) {
  Message message;
  message << line;
  message.WriteTo(2);
}

void SleepMs(uint64_t ms) {
  timespec left = {static_cast<time_t>(ms / 1000), static_cast<long>(ms % 1000) * 1'000'000};
  while (nanosleep(&left, &left) == -1 && errno == EINTR) {
  }
}

}  // namespace

void Background::Enable(size_t start_at, const char* metrics_listen) {
  listen_ = metrics_listen;
  loader_ = LoadedObject::Loader();
  libc_ = LoadedObject::At(reinterpret_cast<const void*>(&pthread_create));
  // In a static program all is one object, and there are no such locks.
  if (libc_.Contains(reinterpret_cast<const void*>(&Run))) libc_ = {};
  start_at_.store(metrics_listen[0] != '\0' ? 0 : start_at, std::memory_order_release);
}

void Background::StartThread(NodeHeap& heap, int range) {
  // Around fork other threads wait for our locks, with the loader's lock perhaps, which
  // pthread_create needs.
  if (Lock::HoldsAllForFork()) return;
  // The bit comes first: pthread_create allocates, and that must not come back here.
  const uint64_t bit = uint64_t{1} << (range % 64);
  if (threads_[range / 64].fetch_or(bit, std::memory_order_relaxed) & bit) return;
  const int saved_errno = errno;
  // Signals are the program's business: its handlers never run on this thread.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  pthread_t thread;
  // Refused (a limit on processes): the bit stays, so that not every miss tries again. Idle memory
  // is then returned by numaheap_release_memory and malloc_trim only.
  int error = pthread_create(&thread, &attributes, &Run, &heap);
  if (error == EINVAL) {  // too small for the program's thread-local variables
    error = pthread_attr_destroy(&attributes) | pthread_attr_init(&attributes) |
            pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (error == 0) error = pthread_create(&thread, &attributes, &Run, &heap);
  }
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = saved_errno;
  if (error != 0) {
    Message message;
    message << "numaheap: no scavenger thread for node " << heap.node().value << ": error " << error
            << " of pthread_create; idle memory stays with the process";
    message.WriteTo(2);
  }
}

void* Background::Run(void* argument) {
  NodeHeap& heap = *static_cast<NodeHeap*>(argument);
  Background& self = allocator.background();
  Message name;
  name << "numaheap/" << heap.node().value;
  char text[16] = {};
  std::memcpy(text, name.view().data(), std::min(name.view().size(), sizeof text - 1));
  pthread_setname_np(pthread_self(), text);

  Scavenger scavenger(static_cast<uint64_t>(allocator.settings().scavenger_idle_after));
  const bool serves =
      self.listen_[0] != '\0' && !self.server_taken_.exchange(true, std::memory_order_relaxed);
  uint64_t next_try_ms = 0;
  for (;;) {
    const uint64_t now_ms = allocator.kernel().NowMs();
    if (serves && !self.serving_.load(std::memory_order_relaxed) && now_ms >= next_try_ms) {
      self.TryToServe();
      next_try_ms = now_ms + kServeRetryMs;
    }
    allocator.WatchCpuset(scavenger.period_ms());
    allocator.ScavengeNode(heap, scavenger.CutoffMs(now_ms), scavenger.TimeToDrain(now_ms));
    SleepMs(scavenger.period_ms());
  }
}

void Background::TryToServe() {
  static std::atomic<numaheap_prometheus_start_t> start{nullptr};
  if (start.load(std::memory_order_relaxed) == nullptr) {
    Message reason;
    reason << "numaheap: metrics.listen " << listen_ << ": ";
    void* entry = OpenPlugin("libnumaheap-prometheus.so", "numaheap_prometheus_start", &reason);
    void* forget = entry == nullptr ? nullptr
                                    : OpenPlugin("libnumaheap-prometheus.so",
                                                 "numaheap_prometheus_forget", &reason);
    if (forget == nullptr) {
      reason << "; no metrics are served";
      reason.WriteTo(2);
      listen_ = "";
      serving_.store(false, std::memory_order_relaxed);
      return;
    }
    forget_server.store(reinterpret_cast<numaheap_prometheus_forget_t>(forget));
    start.store(reinterpret_cast<numaheap_prometheus_start_t>(entry));
  }
  const numaheap_exporter_host host = {numaheap_snapshot, numaheap_version, ReportLine, Bound};
  start.load()(listen_, &host);
}

void Background::Bound(const char* address) {
  Background& self = allocator.background();
  std::strncpy(self.address_, address, sizeof self.address_ - 1);
  self.serving_.store(true, std::memory_order_release);
}

void Background::ResetInChild() {
  for (auto& word : threads_) word.store(0, std::memory_order_relaxed);
  if (const auto forget = forget_server.load()) forget();
  // The page belongs to the parent; the child serves none.
  listen_ = "";
  serving_.store(false, std::memory_order_relaxed);
  server_taken_.store(false, std::memory_order_relaxed);
}

}  // namespace numaheap
