// share_main: preloaded in front of an allocator, declares what the program shares across nodes for
// servers whose source can't say it: every block that the main thread allocates, because it sets up
// what the others use, every large one, because those hold the tables and the stored items, and the
// program's mutexes.
//
// Large is what has NUMASIM_SHARE_FROM bytes or more. What becomes of a block later is not
// followed.

#include <dlfcn.h>
#include <pthread.h>
#include <sys/auxv.h>

#include <cstdint>
#include <cstdlib>

#include "bench/numasim/workloads/process.h"
#include "bench/numasim/workloads/say.h"

namespace {

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
size_t share_from = 0;  // 0: not yet
pthread_t main_thread;

// Resolved at the first call, which may come before any constructor has run.
template <typename Function>
Function* Next(Function*& next, const char* name) {
  if (next == nullptr) next = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
  return next;
}

void* Shared(void* block, size_t bytes) {
  if (share_from == 0 || block == nullptr) return block;
  if (bytes < share_from && !pthread_equal(pthread_self(), main_thread)) return block;
  pthread_mutex_lock(&mutex);
  numasim::DeclareRegion("shared", block, static_cast<char*>(block) + bytes);
  pthread_mutex_unlock(&mutex);
  return block;
}

// Where the file is loaded that `address` belongs to.
void* BaseOf(const void* address) {
  Dl_info info;
  return dladdr(address, &info) != 0 ? info.dli_fbase : nullptr;
}

__attribute__((constructor)) void Start() {
  const char* from = std::getenv("NUMASIM_SHARE_FROM");
  if (from == nullptr) return;
  numasim::Say("forget");
  main_thread = pthread_self();
  share_from = static_cast<size_t>(std::atoll(from));
}

}  // namespace

extern "C" void* malloc(size_t bytes) {
  static void* (*next)(size_t);
  return Shared(Next(next, "malloc")(bytes), bytes);
}

extern "C" void* calloc(size_t count, size_t bytes) {
  static void* (*next)(size_t, size_t);
  return Shared(Next(next, "calloc")(count, bytes), count * bytes);
}

extern "C" void* realloc(void* block, size_t bytes) {
  static void* (*next)(void*, size_t);
  return Shared(Next(next, "realloc")(block, bytes), bytes);
}

extern "C" int pthread_mutex_init(pthread_mutex_t* made, const pthread_mutexattr_t* attributes) {
  static int (*next)(pthread_mutex_t*, const pthread_mutexattr_t*);
  // The program's, not its allocator's.
  const auto* entry = reinterpret_cast<const void*>(getauxval(AT_ENTRY));
  if (share_from != 0 && BaseOf(__builtin_return_address(0)) == BaseOf(entry)) {
    pthread_mutex_lock(&mutex);
    numasim::DeclareRegion("shared", made, made + 1);
    pthread_mutex_unlock(&mutex);
  }
  return Next(next, "pthread_mutex_init")(made, attributes);
}
