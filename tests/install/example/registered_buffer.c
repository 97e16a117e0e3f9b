/* A buffer that is registered with a device, or with anything else that knows it by its address: it
 * is unregistered after whoever had it last has freed it, and before its memory is used again. */
#include <numaheap.h>
#include <stdio.h>
#include <stdlib.h>

struct device {
  const char* name;
  int registered;
};

static void unregister(void* buffer, void* arg) {
  struct device* device = arg;
  (void)buffer; /* the device would want to know which */
  --device->registered;
  printf("%s: unregistered, %d left\n", device->name, device->registered);
}

static void* new_buffer(struct device* device, size_t size) {
  void* buffer = malloc(size);
  if (buffer == NULL) return NULL;
  if (numaheap_add_finalizer(buffer, unregister, device) != 0) {
    free(buffer);
    return NULL;
  }
  ++device->registered;
  return buffer;
}

int main(void) {
  static struct device device = {"device", 0};
  void* small = new_buffer(&device, 100);
  void* large = new_buffer(&device, 10 << 20);
  if (small == NULL || large == NULL) return 1;
  free(small);
  free(large);
  /* Its node's scavenger thread would do this within a second. */
  while (device.registered > 0) numaheap_run_finalizers();
  return 0;
}
