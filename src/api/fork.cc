#include "src/api/fork.h"

#include <errno.h>
#include <pthread.h>

#include "src/api/allocator.h"
#include "src/base/message.h"

namespace numaheap {

void RegisterForkHandlers() {
  const int saved_errno = errno;
  const int error =
      pthread_atfork([] { allocator.LockForFork(); }, [] { allocator.UnlockAfterFork(); },
                     [] {
                       allocator.UnlockAfterFork();
                       allocator.ResetInChild();
                     });
  if (error != 0) {
    Message message;
    message << "numaheap: error " << error
            << " of pthread_atfork: a child of a busy parent may hang in malloc";
    message.WriteTo(2);
  }
  errno = saved_errno;
}

}  // namespace numaheap
