// A C program, linked with libnumaheap.so and no C++ run-time library, whose C++ plugin brings one
// that only the plugin can see (RTLD_LOCAL): new throws and catch catches there as anywhere.
//
//   plugin_host PLUGIN
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/api/numaheap.h"

int main(int argc, char** argv) {
  if (argc != 2 || dlsym(RTLD_DEFAULT, "__cxa_throw") != NULL) {
    fprintf(stderr, "a C++ run-time library is here already, or no plugin is named\n");
    return 1;
  }
  numaheap_owner_t owner;
  void* block = malloc(100);
  if (numaheap_owner(block, &owner) != 0) {
    fprintf(stderr, "malloc is not numaheap's\n");
    return 1;
  }
  free(block);
  void* plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (plugin == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  const char* (*first_failure)(void);
  *(void**)&first_failure = dlsym(plugin, "FirstFailure");
  const char* failure = first_failure();
  if (failure != NULL) fprintf(stderr, "FAILED: %s\n", failure);
  return failure != NULL;
}
