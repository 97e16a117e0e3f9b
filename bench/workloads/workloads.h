// The workloads: each does a fixed amount of work, checks what it got, and returns. main.cc has
// their parameters; each file says where its workload was described.
#pragma once

#include "bench/workloads/parameters.h"

namespace numaheap::workloads {

// One thread.
void Pair(const Parameters&);
void Batch(const Parameters&);
void Ring(const Parameters&);
void Calloc(const Parameters&);
void Realloc(const Parameters&);
void Large(const Parameters&);
void Aligned(const Parameters&);
void Bursts(const Parameters&);
void Spawn(const Parameters&);

// Several.
void Larson(const Parameters&);
void Xmalloc(const Parameters&);
void Threadtest(const Parameters&);
void CacheScratch(const Parameters&);
void CacheThrash(const Parameters&);
void ShortThreads(const Parameters&);
void Phases(const Parameters&);
void Requests(const Parameters&);

}  // namespace numaheap::workloads
