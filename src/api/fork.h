// Fork: before it, every lock of the library is taken in rank order, so that the child's copy of
// the heap is whole; after it both sides release them. The child has no scavenger and serves no
// metrics until it needs to.
#pragma once

namespace numaheap {

// Called once, at the first allocation: handlers that are registered later, by constructors of
// other libraries, run before ours take the locks and may still allocate.
void RegisterForkHandlers();

}  // namespace numaheap
