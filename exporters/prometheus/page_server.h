// PageServer: the HTTP server with one page, /metrics.
//
// It is civetweb, the server inside prometheus-cpp's Exposer, without the Exposer: that one
// serialises the page where nobody catches, so that a scrape which finds no memory would end the
// program, and its threads leave SIGPIPE ignored in a program that did not ask for it.
//
// Owned by one thread, which starts it; the pages are made on its own threads. Its fate after a
// fork: ForgetInChild, and never the destructor, which would wait for threads that are not there.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "exporters/prometheus/listen_address.h"
#include "exporters/prometheus/snapshot_page.h"

struct mg_connection;
struct mg_context;

namespace numaheap::exporters {

class PageServer {
 public:
  // A server with its threads running. Null when there can't be one now, with an errno value in
  // *error and a reason for people in *why. Throws std::bad_alloc and std::system_error.
  static std::unique_ptr<PageServer> Start(const ListenAddress& address,
                                           const numaheap_exporter_host& host, int* error,
                                           std::string* why);
  // Waits for the threads, up to 2 s.
  ~PageServer();

  PageServer(const PageServer&) = delete;
  PageServer& operator=(const PageServer&) = delete;

  // Where it serves, with the real port.
  const ListenAddress& address() const { return *address_; }

  // Closes the listening socket that the child of a fork inherited. Async-signal-safe.
  void ForgetInChild() { CloseListener(); }

 private:
  // The listening socket by number and inode: the number alone may mean another file by the time
  // of the fork, if the program closes descriptors that it did not open.
  struct Listener {
    int fd = -1;
    dev_t device = 0;
    ino_t inode = 0;
  };

  explicit PageServer(const numaheap_exporter_host& host) : page_(host) {}

  static int OnRequest(mg_connection* connection);
  static int OnLogMessage(const mg_connection* connection, const char* message);
  static void* OnThreadStart(const mg_context* context, int type);

  void StartCivetweb(const ListenAddress& address, std::string* why);
  bool WaitForThreads();
  bool listening();
  void RestoreSigpipe() const;
  bool FindListener(const ListenAddress& address);
  void CloseListener();

  // Constant while threads run.
  const SnapshotPage page_;
  struct sigaction sigpipe_ = {};  // the program's disposition

  // The starting thread's.
  mg_context* context_ = nullptr;
  std::optional<ListenAddress> address_;
  Listener listener_;

  std::mutex mutex_;
  std::condition_variable thread_started_;
  int threads_ = 0;         // guarded by mutex_
  bool listening_ = false;  // guarded by mutex_: the listening thread is one of them
};

}  // namespace numaheap::exporters
