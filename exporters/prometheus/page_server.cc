#include "exporters/prometheus/page_server.h"

#include <civetweb.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <string_view>

namespace numaheap::exporters {
namespace {

// Two, so that a client that hangs does not keep the others out.
constexpr char kScrapeThreads[] = "2";
constexpr int kThreads = 2 + 1;  // and the one that listens

// How long a client may take for its request, in ms.
constexpr char kRequestTimeout[] = "5000";

// Threads are expected within microseconds; whoever has none by then can't have them.
constexpr std::chrono::seconds kThreadStartTimeout{10};

// Replies without a body, complete so that sending them allocates nothing.
constexpr std::string_view kNotFound =
    "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
constexpr std::string_view kMethodNotAllowed =
    "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\nContent-Length: 0\r\n"
    "Connection: close\r\n\r\n";
constexpr std::string_view kUnavailable =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

int Reply(mg_connection* connection, int status, std::string_view reply) {
  mg_write(connection, reply.data(), reply.size());
  return status;
}

int ReplyPage(mg_connection* connection, std::string_view page, bool with_body) {
  mg_printf(connection,
            "HTTP/1.1 200 OK\r\n"
            "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
            "Content-Length: %zu\r\n"
            "Connection: close\r\n\r\n",
            page.size());
  if (with_body) mg_write(connection, page.data(), page.size());
  return 200;
}

// Blocks all signals of this thread, and of those it starts, while it lives: the program's handlers
// must run on the program's threads.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

PageServer::~PageServer() {
  if (context_ != nullptr) mg_stop(context_);
}

std::unique_ptr<PageServer> PageServer::Start(const ListenAddress& address,
                                              const numaheap_exporter_host& host, int* error,
                                              std::string* why) {
  const SignalsBlocked blocked;
  std::unique_ptr<PageServer> server(new PageServer(host));
  server->StartCivetweb(address, why);
  if (server->context_ == nullptr) {
    *error = address.Probe();
    if (*error == 0) {
      *error = EAGAIN;  // not the address: memory, or who had the port has just left
    } else {
      *why = strerror(*error);
    }
    return nullptr;
  }

  mg_server_port port{};
  mg_get_server_ports(server->context_, 1, &port);
  const bool found = server->FindListener(address.WithPort(static_cast<uint16_t>(port.port)));
  if (server->WaitForThreads() && found) return server;

  *error = EAGAIN;
  *why = "its threads can't be started";
  if (!server->listening()) {
    // mg_stop would wait for this very thread. Free the port and leave the rest: some memory and
    // the threads that did start, which wait for ever.
    server->CloseListener();
    static_cast<void>(server.release());
  }
  return nullptr;
}

void PageServer::StartCivetweb(const ListenAddress& address, std::string* why) {
  sigaction(SIGPIPE, nullptr, &sigpipe_);
  const std::string ports = address.ToString();
  const char* options[] = {"listening_ports",    ports.c_str(),   "num_threads", kScrapeThreads,
                           "request_timeout_ms", kRequestTimeout, nullptr};
  mg_callbacks callbacks{};
  callbacks.begin_request = &OnRequest;
  callbacks.log_message = &OnLogMessage;
  callbacks.init_thread = &OnThreadStart;
  mg_init_data init{};
  init.callbacks = &callbacks;
  init.user_data = this;
  init.configuration_options = options;
  char text[256] = "";
  mg_error_data error{};
  error.text = text;
  error.text_buffer_size = sizeof(text);
  context_ = mg_start2(&init, &error);
  *why = text;
}

// Every request comes here before civetweb looks at it, so there is no other page and no file.
int PageServer::OnRequest(mg_connection* connection) {
  const mg_request_info* const request = mg_get_request_info(connection);
  if (request->local_uri == nullptr || std::string_view(request->local_uri) != "/metrics") {
    return Reply(connection, 404, kNotFound);
  }
  const std::string_view method = request->request_method;
  if (method != "GET" && method != "HEAD") {
    return Reply(connection, 405, kMethodNotAllowed);
  }
  const auto* const server =
      static_cast<const PageServer*>(mg_get_user_data(mg_get_context(connection)));
  const std::string page = server->page_.Text();
  // Prometheus sees a target that is down, which is what its owner should be told.
  if (page.empty()) return Reply(connection, 503, kUnavailable);
  return ReplyPage(connection, page, method == "GET");
}

// Keeps civetweb's own messages off the program's output.
int PageServer::OnLogMessage(const mg_connection*, const char*) {
  return 1;
}

void* PageServer::OnThreadStart(const mg_context* context, int type) {
  prctl(PR_SET_NAME, type == 0 ? "numaheap-listen" : "numaheap-scrape");
  auto* const server = static_cast<PageServer*>(mg_get_user_data(context));
  server->RestoreSigpipe();
  const std::lock_guard lock(server->mutex_);
  ++server->threads_;
  server->listening_ |= type == 0;
  server->thread_started_.notify_one();
  return nullptr;
}

// Each of civetweb's threads makes the whole process ignore SIGPIPE before it comes here. They have
// it blocked and need no such thing; the program may rely on it.
void PageServer::RestoreSigpipe() const {
  struct sigaction now;
  if (sigaction(SIGPIPE, nullptr, &now) == 0 && now.sa_handler == SIG_IGN) {
    sigaction(SIGPIPE, &sigpipe_, nullptr);
  }
}

bool PageServer::WaitForThreads() {
  std::unique_lock lock(mutex_);
  return thread_started_.wait_for(lock, kThreadStartTimeout,
                                  [this] { return threads_ == kThreads; });
}

bool PageServer::listening() {
  const std::lock_guard lock(mutex_);
  return listening_;
}

// civetweb does not tell the number of its socket. The kernel gave it the lowest free one, so the
// search ends after as many steps as the program has files open.
bool PageServer::FindListener(const ListenAddress& address) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  for (int fd = 0; static_cast<rlim_t>(fd) < limit.rlim_cur; ++fd) {
    if (ListenAddress::OfListener(fd) != address) continue;
    struct stat status;
    if (fstat(fd, &status) != 0) continue;
    listener_ = {fd, status.st_dev, status.st_ino};
    address_ = address;
    return true;
  }
  return false;
}

void PageServer::CloseListener() {
  struct stat status;
  if (listener_.fd < 0 || fstat(listener_.fd, &status) != 0) return;
  if (status.st_dev == listener_.device && status.st_ino == listener_.inode) close(listener_.fd);
  listener_.fd = -1;
}

}  // namespace numaheap::exporters
