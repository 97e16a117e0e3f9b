#include "src/os/rseq.h"

#include <cstring>

extern "C" {
// Weak: glibc has them from 2.35 on.
[[gnu::weak]] extern const ptrdiff_t __rseq_offset;
[[gnu::weak]] extern const unsigned int __rseq_size;
}

namespace numaheap {

extern "C" {
[[gnu::visibility("hidden"), gnu::tls_model("initial-exec")]] extern constinit thread_local RseqArea
    numaheap_fake_rseq_area;
constinit thread_local RseqArea numaheap_fake_rseq_area = {0, -1, 0};
}

namespace {

#if defined(__x86_64__)
constexpr bool kHaveSequences = true;
char* ThreadPointer() {
  char* pointer;
  asm("movq %%fs:0, %0" : "=r"(pointer));
  return pointer;
}
#else
constexpr bool kHaveSequences = false;
char* ThreadPointer() {
  return static_cast<char*>(__builtin_thread_pointer());
}
#endif

}  // namespace

ptrdiff_t FakeRseqOffset() {
#if defined(__x86_64__)
  // Without the thread pointer: a static program resolves its indirect functions before it has one.
  ptrdiff_t offset;
  asm("movq numaheap_fake_rseq_area@gottpoff(%%rip), %0" : "=r"(offset));
  return offset;
#else
  return reinterpret_cast<char*>(&numaheap_fake_rseq_area) - ThreadPointer();
#endif
}

ptrdiff_t RegisteredRseqOffset() {
  if (!kHaveSequences || &__rseq_offset == nullptr || &__rseq_size == nullptr) return 0;
  if (__rseq_size == 0) return 0;
  int32_t cpu_id;
  std::memcpy(&cpu_id, ThreadPointer() + __rseq_offset + offsetof(RseqArea, cpu_id), sizeof cpu_id);
  return cpu_id >= 0 ? __rseq_offset : 0;
}

}  // namespace numaheap
