#include "exporters/prometheus/prometheus_plugin.h"

#include <pthread.h>

#include <cerrno>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "exporters/prometheus/listen_address.h"
#include "exporters/prometheus/page_server.h"

namespace numaheap::exporters {
namespace {

// What the process serves. Never destroyed: the server runs until the process is gone.
struct Serving {
  std::string listen;  // as the option has it
  std::unique_ptr<PageServer> server;
};
constinit Serving* serving = nullptr;
constinit bool forgotten = false;  // the child of a fork

// The failure that was reported last. Compared, so that the same one is not reported again.
struct Failure {
  std::string listen;
  int error;
};
constinit Failure* reported = nullptr;

// Held while the server starts and while the process forks: a child must not inherit a listening
// socket that its forget() does not know of. A start does not wait for it, since the fork may wait
// for the thread that starts.
constinit pthread_mutex_t fork_guard = PTHREAD_MUTEX_INITIALIZER;

void HoldStarts() {
  pthread_mutex_lock(&fork_guard);
}
void AllowStarts() {
  pthread_mutex_unlock(&fork_guard);
}

class ForkGuard {
 public:
  ForkGuard() {
    static pthread_once_t registered = PTHREAD_ONCE_INIT;
    pthread_once(&registered, [] { pthread_atfork(HoldStarts, AllowStarts, AllowStarts); });
    held_ = pthread_mutex_trylock(&fork_guard) == 0;
  }
  ~ForkGuard() {
    if (held_) pthread_mutex_unlock(&fork_guard);
  }
  ForkGuard(const ForkGuard&) = delete;
  ForkGuard& operator=(const ForkGuard&) = delete;

  bool held() const { return held_; }

 private:
  bool held_;
};

int Fail(const numaheap_exporter_host& host, const std::string& listen, int error,
         const std::string& why) {
  if (reported != nullptr && reported->listen == listen && reported->error == error) return error;
  delete std::exchange(reported, nullptr);
  reported = new Failure{listen, error};
  host.report(("numaheap: metrics.listen " + listen + ": " + why).c_str());
  return error;
}

int Serve(const std::string& listen, const numaheap_exporter_host& host) {
  const std::optional<ListenAddress> address = ListenAddress::Parse(listen);
  if (!address) {
    return Fail(host, listen, EINVAL,
                "expected HOST:PORT with a numeric IPv4 host or localhost, such as 127.0.0.1:9464");
  }
  int error = 0;
  std::string why;
  std::unique_ptr<PageServer> server = PageServer::Start(*address, host, &error, &why);
  if (server == nullptr) return Fail(host, listen, error, why + "; will be tried again");

  // All that allocates comes before the server is made permanent.
  const std::string bound = server->address().ToString();
  const std::string line = "numaheap: metrics.listen " + listen + ": serving now";
  serving = new Serving{listen, std::move(server)};
  host.bound(bound.c_str());
  if (reported != nullptr) host.report(line.c_str());
  delete std::exchange(reported, nullptr);
  return 0;
}

}  // namespace
}  // namespace numaheap::exporters

int numaheap_prometheus_start(const char* listen, const numaheap_exporter_host* host) {
  using namespace numaheap::exporters;
  if (forgotten) return ECANCELED;
  if (serving != nullptr) return serving->listen == listen ? 0 : EBUSY;
  const ForkGuard guard;
  if (!guard.held()) return EAGAIN;
  try {
    return Serve(listen, *host);
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  } catch (const std::exception&) {
    return EAGAIN;
  }
}

void numaheap_prometheus_forget() {
  using namespace numaheap::exporters;
  if (serving != nullptr) serving->server->ForgetInChild();
  forgotten = true;  // and never destroyed: its destructor would wait for threads that are gone
}
