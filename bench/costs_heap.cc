// costs_heap: what heaps of chosen blocks need besides the blocks, as numaheap's own structures
// tell. Linked with the static library, so that it can look at them. Each line it prints is a name
// and a number, bytes unless the name says otherwise. bench/costs makes tables of them.
//
//   costs_heap fill KIND BYTES THREADS   fills the heap and looks at it before and afterwards
//   costs_heap load KIND BYTES           fills it and looks at nothing, for counting system calls
//   costs_heap churn KIND LIVE BYTES     with LIVE bytes in use, allocates and frees BYTES more
//   costs_heap cpus CPUS NODES           the caches of as many made-up CPUs
//   costs_heap classes                   the records of a span of each class, computed
//   costs_heap reserved CPUS             how the range of a node is divided up, computed
//
// KIND: bytes of a block, or "mixed", as many from 16 to 32 bytes as from 512 to 1,024.
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "bench/block.h"
#include "src/api/allocator.h"
#include "src/cache/cpu_cache.h"
#include "src/heap/node_heap.h"
#include "tests/cache/made_heaps.h"
#include "tests/stress/mappings.h"

namespace numaheap {
namespace {

[[noreturn]] void Die(const char* what) {
  std::fprintf(stderr, "costs_heap: %s\n", what);
  std::exit(2);
}

void Print(const char* moment, const char* name, size_t number) {
  std::printf("%s%s %zu\n", moment, name, number);
}

// ---- What heaps are made of ---------------------------------------------------------------------

size_t ResidentBytes(const void* start, size_t bytes) {
  constexpr size_t kAtATime = size_t{64} << 20;
  static unsigned char resident[kAtATime / kSmallestPage];
  size_t pages = 0;
  for (size_t at = 0; at < bytes; at += kAtATime) {
    const size_t here = std::min(kAtATime, bytes - at);
    char* from = const_cast<char*>(static_cast<const char*>(start)) + at;
    if (mincore(from, here, resident) != 0) Die("mincore is refused");
    for (size_t i = 0; i < (here + kSmallestPage - 1) / kSmallestPage; ++i) {
      pages += resident[i] & 1;
    }
  }
  return pages * kSmallestPage;
}

// A kind of metadata: address space kept for it, the part that is in use, and the memory behind.
struct Part {
  size_t reserved = 0, used = 0, resident = 0;

  void Add(const void* start, size_t reserved_bytes, size_t used_bytes) {
    reserved += reserved_bytes;
    used += used_bytes;
    resident += ResidentBytes(start, reserved_bytes);
  }
  void PrintAs(const char* moment, const char* name) const {
    std::printf("%s%s.reserved %zu\n%s%s.used %zu\n%s%s.resident %zu\n", moment, name, reserved,
                moment, name, used, moment, name, resident);
  }
};

// All heaps together.
struct Census {
  size_t heaps = 0;
  Part header, page_maps, arena, pages;
  size_t spans = 0, span_records = 0, bitmaps = 0;  // these in the arena

  void Add(NodeHeap& heap) {
    ++heaps;
    const NodeRange& range = heap.range();
    // In front of the first area a huge page is kept for the header.
    const size_t header_bytes = (sizeof(NodeHeap) + kSmallestPage - 1) & ~(kSmallestPage - 1);
    header.Add(&heap, static_cast<size_t>(range.page_classes.start() - Start(heap)), header_bytes);
    const size_t heap_pages = heap.map().committed_pages();
    for (const Area* area : {&range.page_classes, &range.released_bits, &range.span_indices}) {
      page_maps.Add(area->start(), area->reserved_bytes(), 0);
    }
    page_maps.used += heap.map().used_bytes();
    arena.Add(range.arena.start(), range.arena.committed_bytes(), heap.arena().used_bytes());
    arena.reserved += range.arena.reserved_bytes() - range.arena.committed_bytes();
    pages.Add(range.heap.start(), range.heap.committed_bytes(), heap.page_stats().in_use.bytes());
    pages.reserved += range.heap.reserved_bytes() - range.heap.committed_bytes();
    for (PageId page{0}; page.index < heap_pages;) {
      const Span* span = heap.map().SpanAt(page);
      if (span == nullptr) Die("a page without a span");
      ++spans;
      span_records += sizeof(Span);
      const size_t objects =
          span->state == SpanState::kSmall ? kSizeMap[span->size_class].span_objects : 0;
      if (objects > 64) bitmaps += ((objects + 63) / 64 * 8 + 15) / 16 * 16;
      page = page + span->length();
    }
  }

  void PrintAs(const char* moment) const {
    Print(moment, "heaps", heaps);
    header.PrintAs(moment, "header");
    page_maps.PrintAs(moment, "page_maps");
    arena.PrintAs(moment, "arena");
    pages.PrintAs(moment, "pages");
    Print(moment, "spans", spans);
    Print(moment, "span_records", span_records);
    Print(moment, "bitmaps", bitmaps);
  }

 private:
  static char* Start(NodeHeap& heap) { return reinterpret_cast<char*>(&heap); }
};

// What the process itself has.
void Look(const char* moment) {
  Census census;
  for (int node = 0; node < 64; ++node) {
    if (NodeHeap* heap = allocator.HeapOnNode({node})) census.Add(*heap);
  }
  census.PrintAs(moment);
  void* block = malloc(16);
  const Mappings mappings(block);
  free(block);
  Print(moment, "address_space", mappings.heap_bytes);
  Print(moment, "mappings", mappings.of_heaps);
}

// ---- Loads --------------------------------------------------------------------------------------

struct Sizes {
  explicit Sizes(const char* kind)
      : fixed(std::strcmp(kind, "mixed") == 0 ? 0 : std::strtoul(kind, nullptr, 10)) {
    if (fixed == 0 && std::strcmp(kind, "mixed") != 0) Die("no such kind of blocks");
  }
  size_t Next() { return fixed != 0 ? fixed : mixed[random.Bits(bench::MixedSizes::kBits)]; }

  const size_t fixed;
  const bench::MixedSizes mixed;
  bench::Random random{1};
};

// Live blocks hang together, so that nothing but them is allocated. Without `head` they are lost,
// and nobody writes into them.
struct Link {
  Link* next;
};

size_t Fill(Sizes& sizes, size_t bytes, Link** head) {
  size_t filled = 0;
  while (filled < bytes) {
    const size_t size = sizes.Next();
    auto* link = static_cast<Link*>(malloc(size));
    if (link == nullptr) Die("out of memory");
    if (head != nullptr) {
      link->next = *head;
      *head = link;
    }
    filled += size;
  }
  return filled;
}

// Puts the caller on one of the CPUs that the process may use, the number-th and around again.
void PinToOne(int number) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) Die("sched_getaffinity is refused");
  int nth = number % CPU_COUNT(&set);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set) || nth-- > 0) continue;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) Die("sched_setaffinity is refused");
    return;
  }
}

void FillAndLook(const char* kind, size_t bytes, int threads) {
  std::barrier<> filled(threads + 1), looked(threads + 1);
  std::vector<std::thread> others;
  others.reserve(static_cast<size_t>(threads));
  Look("before.");
  std::atomic<size_t> sum{0};
  for (int i = 0; i < threads; ++i) {
    others.emplace_back([&, i] {
      PinToOne(i);  // so that all CPUs have caches
      Sizes sizes(kind);
      Link* head = nullptr;
      sum += Fill(sizes, bytes / static_cast<size_t>(threads), &head);
      filled.arrive_and_wait();
      looked.arrive_and_wait();
    });
  }
  filled.arrive_and_wait();
  Look("after.");
  looked.arrive_and_wait();
  for (std::thread& thread : others) thread.join();
  Print("after.", "blocks", sum);
}

void Churn(const char* kind, size_t live, size_t bytes) {
  Sizes sizes(kind);
  struct Slot {
    void* block = nullptr;
    size_t size = 0;
  };
  size_t filled = 0;
  std::vector<Slot> slots;
  while (filled < live) {
    const size_t size = sizes.Next();
    slots.push_back({malloc(size), size});
    filled += size;
  }
  bench::Random random(2);
  for (size_t done = 0; done < bytes;) {
    Slot& slot = slots[random.Bits(32) % slots.size()];
    free(slot.block);
    slot.size = sizes.Next();
    slot.block = bench::Opaque(malloc(slot.size));
    if (slot.block == nullptr) Die("out of memory");
    done += slot.size;
  }
}

// ---- Made-up machines ---------------------------------------------------------------------------

// The first node's caches, in the locked mode; the memory is the same in both.
void Cpus(int cpus, int nodes) {
  std::vector<int> node_of_cpu(static_cast<size_t>(cpus));
  for (int i = 0; i < cpus; ++i) node_of_cpu[static_cast<size_t>(i)] = i % nodes;
  MadeHeaps made(node_of_cpu, size_t{16} << 30);
  if (!made.OpenAll()) Die("no memory for made-up heaps");
  FastPath fast{0, nullptr};
  CpuCache cache(made.kernel, made.heaps, fast);
  const auto used = [&] {
    size_t sum = 0;
    for (int i = 0; i < nodes; ++i) sum += made[i].arena().used_bytes();
    return sum;
  };
  const size_t closed = used();
  if (!cache.Open(made.topology, 0, size_t{2} << 20)) Die("no memory for caches");
  Print("", "tables", used() - closed);
  // What an arena gives out while each CPU allocates for the first time is its cache.
  std::vector<size_t> begins, ends;
  for (int i = 0; i < nodes; ++i) begins.push_back(made[i].arena().used_bytes());
  const auto on_each_cpu = [&](auto visit) {
    for (int cpu = 0; cpu < cpus; ++cpu) {
      made.kernel.SetCpu(cpu);
      visit(made[cpu % nodes]);
    }
  };
  on_each_cpu([&](NodeHeap& heap) {
    const SizeClass c = kSizeMap.ClassOf(64);
    cache.Free(heap, c, cache.Allocate(c), "free");
  });
  for (int i = 0; i < nodes; ++i) ends.push_back(made[i].arena().used_bytes());
  const auto look = [&](const char* moment) {
    Part caches;
    for (int i = 0; i < nodes; ++i) {
      const auto index = static_cast<size_t>(i);
      const size_t begin = begins[index] & ~(kSmallestPage - 1);
      caches.Add(made[i].arena().start() + begin, ends[index] - begin, 0);
    }
    caches.PrintAs(moment, "caches");
  };
  look("one_class.");
  on_each_cpu([&](NodeHeap& heap) {
    for (int i = 1; i < kSizeClasses; ++i) {
      const SizeClass c{static_cast<uint8_t>(i)};
      void* blocks[2 * kMaxBatch];
      const int count = 2 * kSizeMap[c].batch;
      for (int n = 0; n < count; ++n) blocks[n] = cache.Allocate(c);
      for (int n = 0; n < count; ++n) cache.Free(heap, c, blocks[n], "free");
    }
  });
  look("all_classes.");
  Print("", "empty_slab", (sizeof(CpuSlab) + 15) & ~size_t{15});  // one for all
  Print("", "cpu_info", sizeof(CpuInfo));
}

void Classes() {
  for (int i = 1; i < kSizeClasses; ++i) {
    const SizeClassInfo& info = kSizeMap[{static_cast<uint8_t>(i)}];
    const size_t bitmap =
        info.span_objects > 64 ? (info.span_objects + 127u) / 128 * 16 : size_t{0};
    const std::string of = "class." + std::to_string(info.size) + ".";
    Print(of.c_str(), "span", Length{info.span_pages}.bytes());
    Print(of.c_str(), "objects", info.span_objects);
    Print(of.c_str(), "record", sizeof(Span));
    Print(of.c_str(), "bitmap", bitmap);
  }
  Print("", "page_size", kPageSize);
}

// As src/api/opening.cc asks for it.
void Reserved(int cpus) {
  constexpr size_t kOwnRecords = 16 << 20;
  const size_t bytes = (size_t{1} << AddressSpace::kMaxShift) - kHugePageSize;
  const NodeRange range(reinterpret_cast<char*>(kHugePageSize), bytes,
                        CpuCache::RecordBytes(cpus) + kOwnRecords);
  Print("", "header", kHugePageSize);
  Print("", "page_maps",
        range.page_classes.reserved_bytes() + range.released_bits.reserved_bytes() +
            range.span_indices.reserved_bytes());
  Print("", "arena", range.arena.reserved_bytes());
  Print("", "caches", CpuCache::RecordBytes(cpus));
  Print("", "heap", range.heap.reserved_bytes());
}

int Run(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  const auto bytes = [argv](int i) { return std::strtoul(argv[i], nullptr, 10); };
  const auto number = [argv](int i) { return std::max(1, std::atoi(argv[i])); };
  if (what == "fill" && argc == 5) {
    FillAndLook(argv[2], bytes(3), number(4));
  } else if (what == "load" && argc == 4) {
    Sizes sizes(argv[2]);
    Fill(sizes, bytes(3), nullptr);
  } else if (what == "churn" && argc == 5) {
    Churn(argv[2], bytes(3), bytes(4));
  } else if (what == "cpus" && argc == 4) {
    Cpus(number(2), number(3));
  } else if (what == "classes" && argc == 2) {
    Classes();
  } else if (what == "reserved" && argc == 3) {
    Reserved(number(2));
  } else {
    Die("fill KIND BYTES THREADS, load KIND BYTES, churn KIND LIVE BYTES, cpus CPUS NODES, "
        "classes, "
        "or reserved CPUS");
  }
  return 0;
}

}  // namespace
}  // namespace numaheap

int main(int argc, char** argv) {
  return numaheap::Run(argc, argv);
}
