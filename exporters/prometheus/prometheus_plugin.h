/* The entries of libnumaheap-prometheus.so: a /metrics page served from the process itself.
 *
 * The core loads the library with dlopen (RTLD_LOCAL) only when `metrics.listen` is set, hands over
 * what the page needs, and keeps it loaded for good. Plain C types; nothing throws. */
#ifndef NUMAHEAP_PROMETHEUS_PLUGIN_H_
#define NUMAHEAP_PROMETHEUS_PLUGIN_H_

#include "src/api/numaheap.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the library needs of the process it serves. Copied by numaheap_prometheus_start. */
struct numaheap_exporter_host {
  /* numaheap_snapshot() and numaheap_version(). Called on the server's threads, concurrently. */
  int (*snapshot)(numaheap_snapshot_t* snapshot);
  const char* (*version)(void);
  /* A message for people: one complete line ("numaheap: ...") without its newline, valid during the
   * call. Called on the thread that called start. */
  void (*report)(const char* line);
  /* The address that now serves, "127.0.0.1:9464", with the real port where 0 was asked for. Called
   * once, before the successful start returns. The child of a fork has none: its core forgets the
   * address together with the server. */
  void (*bound)(const char* address);
};

/* Makes one try to serve http://LISTEN/metrics. `listen` is host:port; the host is a numeric IPv4
 * address or "localhost", port 0 takes any free one. Call it on a thread of the core's own, where
 * allocation is allowed; from one thread at a time.
 *
 * Returns 0 when the page is served (also when it already was, at the same `listen`), else an errno
 * value:
 *   EADDRINUSE and others of bind(2) and pthread_create(3): call again in a few seconds;
 *   EAGAIN: a fork is going on in another thread, nothing was tried: call again;
 *   EINVAL: `listen` can't be understood, EBUSY: another address is already served, ECANCELED:
 *   this is the child of a fork and serves nothing: don't call again.
 * A failure is reported once, however often it repeats, and so is the success after it.
 *
 * The server has three threads ("numaheap-listen", "numaheap-scrape" twice), all with every signal
 * blocked. The disposition of SIGPIPE is what it was before when this returns. */
NUMAHEAP_API int numaheap_prometheus_start(const char* listen,
                                           const struct numaheap_exporter_host* host);

/* For the child of a fork, whose server has no threads: closes the listening socket that the child
 * inherited and forgets the server without running any of its code. A connection that was being
 * served stays open in the child as a descriptor until exec or exit; the parent completes it.
 * Async-signal-safe. Never call it in the process that serves. */
NUMAHEAP_API void numaheap_prometheus_forget(void);

typedef int (*numaheap_prometheus_start_t)(const char*, const struct numaheap_exporter_host*);
typedef void (*numaheap_prometheus_forget_t)(void);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* NUMAHEAP_PROMETHEUS_PLUGIN_H_ */
