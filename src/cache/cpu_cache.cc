#include "src/cache/cpu_cache.h"

#include <algorithm>

#include "src/heap/report.h"
#include "src/os/rseq.h"

namespace numaheap {
namespace {

// Slots that a class has in every slab, whatever its present capacity: address space, touched only
// where it is used. 2,135 blocks or 512 KiB, at least 8 blocks. With the slot that stays null that
// is an odd number of cache lines, so the stacks of small classes don't all fall into the same few
// sets of the processor's cache, as they would with a power of two.
constexpr int MaxCapacity(SizeClass c) {
  return static_cast<int>(std::clamp<size_t>((512 << 10) / kSizeMap[c].size, 8, 2135));
}

constexpr size_t SlabSlots() {
  size_t slots = sizeof(CpuSlab) / sizeof(void*);
  for (int c = 1; c < kSizeClasses; ++c) {
    slots += 1 + static_cast<size_t>(MaxCapacity({static_cast<uint8_t>(c)}));
  }
  return slots + 1 + kRemoteSlots;
}
static_assert(SlabSlots() <= 65536, "slots are numbered with 16 bits");

constexpr size_t kSlabBytes = SlabSlots() * sizeof(void*);

// Where a slab begins in its pages. Processors compare the low 12 bits of addresses to see whether
// a load has to wait for a store, and every operation loads and stores in the thread's rseq area,
// which glibc puts at the end or the beginning of a page for most threads. There the slab's words
// must not lie: one that looks alike makes a pair cost 8 ns instead of 6.
constexpr size_t kSlabOffset = 512;

// Bytes of the block of a size class at `block`; 0 where none lies any more.
size_t SizeAt(const NodeHeap& home, const void* block) {
  return kSizeMap[home.ClassOfBlock(block)].size;
}

// What all caches of a heap may hold, as a part of it, and what each may in any case (bytes).
constexpr int64_t kHeapPerCaches = 8;
constexpr int64_t kSmallCache = 512 << 10;

// Classes that the hand looks at for one miss: bounds what a miss costs.
constexpr int kLooksPerMiss = 16;

void InitSlab(CpuSlab* slab, const NodeHeap& heap, int64_t cpu) {
  size_t slot = sizeof(CpuSlab) / sizeof(void*);
  for (int c = 1; c < kSizeClasses; ++c) {
    const SizeClass size_class{static_cast<uint8_t>(c)};
    SlabLimits& limits = slab->limits[c];
    ++slot;  // the one that stays null
    limits.begin = static_cast<uint16_t>(slot);
    limits.end.store(limits.begin, std::memory_order_relaxed);
    limits.alignment_mask = kSizeMap[size_class].alignment_mask;
    limits.max_capacity = static_cast<uint16_t>(MaxCapacity(size_class));
    slab->words[c].store(slot, std::memory_order_relaxed);
    slot += limits.max_capacity;
  }
  SlabLimits& remote = slab->limits[kRemoteStack.value];
  remote.begin = static_cast<uint16_t>(slot + 1);
  remote.end.store(remote.begin, std::memory_order_relaxed);
  remote.max_capacity = kRemoteSlots;
  slab->words[kRemoteStack.value].store(slot + 1, std::memory_order_relaxed);
  slab->heap_start = reinterpret_cast<uintptr_t>(heap.range().heap.start());
  slab->heap_bytes = heap.range().heap.reserved_bytes();
  slab->page_classes = heap.map().classes();
  slab->map = &heap.map();
  slab->cpu = cpu;
}

}  // namespace

size_t CpuCache::RecordBytes(int cpus) {
  return static_cast<size_t>(cpus) *
         (kSlabOffset + kSlabBytes + sizeof(PerCpu) + 2 * kSmallestPage);
}

bool CpuCache::Open(const Topology& topology, ptrdiff_t rseq_offset, size_t bytes_per_cpu) {
  topology_ = &topology;
  cpu_limit_ = topology.cpu_limit;
  bytes_per_cpu_ = static_cast<int64_t>(bytes_per_cpu);
  uses_rseq_ = rseq_offset != 0;
  NodeHeap& heap = heaps_.Serving(NodeOf(kernel_.CurrentCpu()));
  const size_t limit = static_cast<size_t>(cpu_limit_);
  auto* cpus = heap.arena().Allocate(limit * sizeof(*cpus_));
  auto* slabs = heap.arena().Allocate((limit + 2) * sizeof(*slabs_));
  no_slab_ = heap.arena().New<CpuSlab>();
  if (cpus == nullptr || slabs == nullptr || no_slab_ == nullptr) return false;
  cpus_ = static_cast<std::atomic<PerCpu*>*>(cpus);
  slabs_ = static_cast<std::atomic<CpuSlab*>*>(slabs) + 2;
  for (int i = 0; i < cpu_limit_; ++i) new (&cpus_[i]) std::atomic<PerCpu*>(nullptr);
  for (int i = -2; i < cpu_limit_; ++i) new (&slabs_[i]) std::atomic<CpuSlab*>(no_slab_);
  if (uses_rseq_) {
    static_assert(sizeof(std::atomic<CpuSlab*>) == sizeof(CpuSlab*));
    own_.slabs.store(reinterpret_cast<CpuSlab* const*>(slabs_), std::memory_order_relaxed);
    own_.rseq_offset.store(rseq_offset, std::memory_order_release);
    fast_.slabs.store(own_.slabs.load(std::memory_order_relaxed), std::memory_order_relaxed);
    OpenFastPath();
  }
  return true;
}

void CpuCache::OpenFastPath() {
  if (!uses_rseq_) return;
  fast_.rseq_offset.store(own_.rseq_offset.load(std::memory_order_relaxed),
                          std::memory_order_release);
}

void CpuCache::CloseFastPath() {
  if (uses_rseq_) fast_.rseq_offset.store(FakeRseqOffset(), std::memory_order_release);
}

NodeId CpuCache::NodeOf(CpuId cpu) const {
  if (cpu.value >= topology_->cpu_limit) return {0};
  const CpuInfo& info = topology_->cpus[cpu.value];
  if (info.online || topology_->synthetic) return info.node;
  // One that was off when the topology was read, or not there at all.
  const NodeId node = kernel_.CurrentNode();
  const bool is_here = kernel_.CurrentCpu() == cpu;
  return is_here && heaps_.heap(node) != nullptr ? node : info.node;
}

NodeHeap& CpuCache::HeapOf(CpuId cpu) const {
  const PerCpu* present = At(cpu.value);
  return present != nullptr ? present->heap : heaps_.Serving(NodeOf(cpu));
}

template <typename Visit>
void CpuCache::ForEachRecord(Visit visit) const {
  for (int i = 0; i < cpu_limit_; ++i) {
    PerCpu* const first = At(i);
    PerCpu* record = first;
    while (record != nullptr) {
      visit(*record);
      record = record->other.load(std::memory_order_acquire);
      if (record == first) break;
    }
  }
}

CpuCache::PerCpu& CpuCache::RecordOf(const BatchResult& moved, const void* block) const {
  PerCpu* const first = At(moved.cpu);
  CHECK(first != nullptr);
  const NodeHeap* home = heaps_.HomeOf(block);
  PerCpu* record = first;
  while (&record->heap != home) {
    record = record->other.load(std::memory_order_acquire);
    CHECK(record != first);
  }
  return *record;
}

CpuCache::PerCpu* CpuCache::Get(CpuId cpu) {
  if (PerCpu* present = At(cpu.value)) return present;
  if (cpu.value >= cpu_limit_) return nullptr;
  LockHolder holder(create_lock_);
  if (PerCpu* present = At(cpu.value)) return present;
  const NodeId node = NodeOf(cpu);
  PerCpu* made = Make(cpu, node, heaps_.Serving(node));
  if (made == nullptr) return nullptr;
  cpus_[cpu.value].store(made, std::memory_order_release);
  Install(cpu.value, *made);
  OpenBudget(*made);
  return made;
}

CpuCache::PerCpu* CpuCache::Make(CpuId cpu, NodeId node, NodeHeap& heap) {
  const int domain = topology_->cpus[cpu.value].cache_domain;
  void* memory = heap.arena().Allocate(kSlabOffset + kSlabBytes);
  if (memory == nullptr) return nullptr;
  auto* slab = new (static_cast<char*>(memory) + kSlabOffset) CpuSlab();
  InitSlab(slab, heap, cpu.value);
  // Null: the slab's memory was never touched; it stays reserved.
  return heap.arena().New<PerCpu>(heap, node, domain, slab);
}

CpuCache::PerCpu* CpuCache::FindOrMake(CpuId cpu, PerCpu& any, NodeHeap& heap) {
  PerCpu* record = &any;
  do {
    if (&record->heap == &heap) return record;
    record = record->other.load(std::memory_order_relaxed);
  } while (record != &any);
  PerCpu* made = Make(cpu, any.node, heap);
  if (made == nullptr) return nullptr;
  made->other.store(any.other.load(std::memory_order_relaxed), std::memory_order_relaxed);
  any.other.store(made, std::memory_order_release);
  return made;
}

void CpuCache::Rehome() {
  LockHolder holder(create_lock_);
  for (int i = 0; i < cpu_limit_; ++i) {
    PerCpu* cpu = At(i);
    if (cpu == nullptr) continue;
    NodeHeap& heap = heaps_.Serving(cpu->node);
    PerCpu* next = FindOrMake({i}, *cpu, heap);
    if (next != nullptr && next != cpu) Replace({i}, *cpu, *next);
  }
}

void CpuCache::Replace(CpuId cpu, PerCpu& from, PerCpu& to) {
  {
    LockHolder holder(from.lock);
    if (!Withdraw(cpu.value, from)) return;
    Empty(from, [](SizeClass) { return true; });
    void* blocks[kRemoteSlots];
    SendHome(from.heap, blocks, EmptyRemote(from, blocks));
    // Whoever still holds these records gets no capacity from them and puts nothing in.
    from.limit = from.budget = 0;
    from.heap.AddCpuCaches(-1);
    cpus_[cpu.value].store(&to, std::memory_order_release);
    Install(cpu.value, to);
  }
  OpenBudget(to);
}

void CpuCache::OpenBudget(PerCpu& cpu) {
  cpu.heap.AddCpuCaches(1);
  LockHolder holder(cpu.lock);
  cpu.limit = cpu.budget = LimitOf(cpu.heap);
}

int64_t CpuCache::LimitOf(const NodeHeap& heap) const {
  const auto heap_bytes = static_cast<int64_t>(heap.range().heap.committed_bytes());
  const int64_t share = heap_bytes / kHeapPerCaches / std::max(1, heap.cpu_caches());
  return std::min(bytes_per_cpu_, std::max(kSmallCache, share));
}

void CpuCache::RaiseLimit(PerCpu& cpu) {
  const int64_t more = LimitOf(cpu.heap) - cpu.limit;
  if (more <= 0 || cpu.limit == 0) return;  // 0: put away
  cpu.limit += more;
  cpu.budget += more;
}

void CpuCache::CountOut(PerCpu& cpu, SizeClass c, int blocks) {
  cpu.moved_out.Add(static_cast<uint64_t>(blocks));
  cpu.moved_out_bytes.Add(static_cast<uint64_t>(blocks) * kSizeMap[c].size);
}

BatchResult CpuCache::PushBatch(PerCpu& cpu, SizeClass c, void* const* blocks, int n) {
  // Counted before it is there, see Totals(); on another CPU of the node it counts as well as here.
  const auto count = [&](int blocks) {
    cpu.moved_in.Add(static_cast<uint64_t>(blocks));
    cpu.moved_in_bytes.Add(static_cast<uint64_t>(int64_t{blocks} * kSizeMap[c].size));
  };
  count(n);
  BatchResult result;
  if (uses_rseq_) {
    result = SlabPushBatch(own_, c, blocks, n);
  } else {
    LockHolder holder(cpu.lock);
    result = {cpu.slab->PushBatchExclusive(c, blocks, n), cpu.slab->cpu};
  }
  if (result.count < n) count(result.count - n);
  return result;
}

BatchResult CpuCache::Take(PerCpu& cpu, SizeClass c, void** out, int n) {
  if (uses_rseq_) return SlabPopBatch(own_, c, out, n);
  LockHolder holder(cpu.lock);
  return {cpu.slab->PopBatchExclusive(c, out, n), cpu.slab->cpu};
}

BatchResult CpuCache::PopBatch(PerCpu& cpu, SizeClass c, void** out, int n) {
  const BatchResult result = Take(cpu, c, out, n);
  if (result.count > 0) CountOut(RecordOf(result, out[0]), c, result.count);
  return result;
}

void* CpuCache::Pop(PerCpu& cpu, SizeClass c) {
  if (uses_rseq_) return SlabPop(own_, c);
  LockHolder holder(cpu.lock);
  return cpu.slab->PopExclusive(c);
}

PushResult CpuCache::Push(PerCpu& cpu, SizeClass c, void* block) {
  if (uses_rseq_) return SlabPush(own_, block);
  const SlabLimits& limits = cpu.slab->limits[c.value];
  if ((reinterpret_cast<uintptr_t>(block) & limits.alignment_mask) != 0) {
    return PushResult::kMisaligned;
  }
  LockHolder holder(cpu.lock);
  if (*cpu.slab->slot(CpuSlab::Top(cpu.slab->word(c)) - 1u) == block) {
    return PushResult::kDuplicate;
  }
  return cpu.slab->PushBatchExclusive(c, &block, 1) == 1 ? PushResult::kDone : PushResult::kFull;
}

PushResult CpuCache::PushRemote(PerCpu& cpu, SizeClass c, void* block) {
  if (uses_rseq_) return SlabPushRemote(own_, c, block);
  LockHolder holder(cpu.lock);
  return cpu.slab->PushRemoteExclusive(block) ? PushResult::kDone : PushResult::kFull;
}

void* CpuCache::Allocate(SizeClass c) {
  PerCpu* cpu = Get(kernel_.CurrentCpu());
  if (cpu == nullptr) return AllocatePast(LocalHeap(), c);
  if (void* block = Pop(*cpu, c)) return block;

  // Half the capacity, so that blocks freed next still find room; one more goes to the caller.
  const Room room = MakeRoom(*cpu, c, Lack::kBlocks);
  const int want =
      std::min<int>(room.one_way ? room.capacity : room.capacity / 2, kSizeMap[c].batch - 1);
  void* blocks[kMaxBatch];
  const int got = cpu->heap.AllocateBatch(c, cpu->cache_domain, blocks, want + 1);
  if (got == 0) return AllocatePast(cpu->heap, c);
  const int rest = got - 1;
  if (rest > 0) {
    const BatchResult pushed = PushBatch(*cpu, c, blocks, rest);
    if (pushed.count < rest) {
      cpu->heap.FreeBatch(c, cpu->cache_domain, blocks + pushed.count, rest - pushed.count);
    }
  }
  cpu->allocations.Add(1);
  cpu->allocated_bytes.Add(kSizeMap[c].size);
  return blocks[rest];
}

void* CpuCache::AllocatePast(NodeHeap& heap, SizeClass c) {
  void* block = nullptr;
  NodeHeap* from = &heap;
  for (int n = 0; from != nullptr; from = heaps_.Spill(heap.node(), n++)) {
    if (from->AllocateBatch(c, 0, &block, 1) == 0) continue;
    if (from != &heap) heaps_.spilled().Add(heaps_.RangeOf(heap), heaps_.RangeOf(*from), 1);
    from->counters().allocations.Add(1);
    from->counters().allocated_bytes.Add(kSizeMap[c].size);
    return block;
  }
  return nullptr;
}

void CpuCache::Free(NodeHeap& home, SizeClass c, void* block, const char* operation) {
  const size_t size = kSizeMap[c].size;
  if ((reinterpret_cast<uintptr_t>(block) & kSizeMap[c].alignment_mask) != 0) {
    ReportInteriorPointer(operation, block, home.node(), c, size, home.Find(block).start);
  }
  PerCpu* cpu = Get(kernel_.CurrentCpu());
  if (cpu == nullptr) {
    home.counters().frees_local.Add(1);
    home.FreeBatch(c, 0, &block, 1);
    return;
  }
  if (&cpu->heap != &home) return FreeRemote(*cpu, c, block);
  bool one_way = false;
  for (int attempt = 0; attempt < 3; ++attempt) {
    switch (Push(*cpu, c, block)) {
      case PushResult::kDone:
        return;
      case PushResult::kDuplicate:
        ReportAlreadyFree(operation, block, home.node(), c, size);
      case PushResult::kFull:
        // First more room, then half of what is there goes on to others.
        if (attempt == 0) {
          one_way = MakeRoom(*cpu, c, Lack::kRoom).one_way;
        } else {
          const int used = cpu->slab->used(c);
          Evict(*cpu, c, std::max(1, one_way ? used : used / 2));
        }
        break;
      default:  // moved to another node meanwhile, or being drained
        attempt = 3;
        break;
    }
  }
  cpu->frees.Add(1);
  cpu->freed_bytes.Add(size);
  home.FreeBatch(c, cpu->cache_domain, &block, 1);
}

CpuCache::Room CpuCache::MakeRoom(PerCpu& cpu, SizeClass c, Lack lack) {
  constexpr int kSwing = 8;        // times its capacity, by which blocks go to and fro
  constexpr int kOneWay = 3;       // times in a row that it lacked the same
  constexpr uint32_t kOften = 64;  // operations from one time to the next
  const SizeClassInfo& info = kSizeMap[c];
  // Somebody else on this CPU is at it: what there is will do.
  if (!cpu.lock.TryAcquire()) return {cpu.slab->capacity(c), false};
  const int capacity = cpu.slab->capacity(c);
  Streak& streak = cpu.streaks[c.value];
  const auto pops = static_cast<uint32_t>(CpuSlab::Pops(cpu.slab->word(c)));
  // A trip that comes after many operations costs each of them little: not worth memory.
  const bool often = pops - streak.pops < std::max(kOften, 4u * info.batch);
  // More than a batch only where blocks go to and fro, and not too far: where they pass through one
  // way, more room would keep more of them and spare no trip.
  const bool swings = streak.lack != lack && streak.times * info.batch <= kSwing * capacity;
  const bool grows = often && (capacity < info.batch || swings);
  const int times = streak.lack == lack ? std::min(streak.times + 1, UINT8_MAX) : 1;
  streak = {lack, static_cast<uint8_t>(times), pops};
  SlabLimits& limits = cpu.slab->limits[c.value];
  // Slow at first: many classes are used for little.
  const int step = std::clamp<int>(capacity, std::max(1, info.batch / 4), info.batch);
  const int more = grows ? std::min<int>(step, limits.max_capacity - capacity) : 0;
  if (more > 0) {
    const int64_t need = int64_t{more} * info.size;
    if (cpu.budget < need) RaiseLimit(cpu);
    if (cpu.budget < need) TakeCapacity(cpu, c, need);
    const int got = static_cast<int>(std::min<int64_t>(more, cpu.budget / info.size));
    cpu.budget -= int64_t{got} * info.size;
    limits.end.store(static_cast<uint16_t>(limits.end.load(std::memory_order_relaxed) + got),
                     std::memory_order_relaxed);
  }
  const Room room = {cpu.slab->capacity(c), streak.times >= kOneWay};
  cpu.lock.Release();
  return room;
}

void CpuCache::TakeCapacity(PerCpu& cpu, SizeClass for_class, int64_t need) {
  CpuSlab& slab = *cpu.slab;
  for (int look = 0; look < kLooksPerMiss && cpu.budget < need; ++look) {
    const SizeClass c{static_cast<uint8_t>(cpu.hand)};
    cpu.hand = cpu.hand % (kSizeClasses - 1) + 1;
    const int capacity = slab.capacity(c);
    if (c == for_class || capacity == 0) continue;
    const auto pops = static_cast<uint32_t>(CpuSlab::Pops(slab.word(c)));
    const bool active = pops != cpu.seen_pops[c.value];
    cpu.seen_pops[c.value] = pops;
    if (!active) EvictLocked(cpu, c, capacity);
    const int unused = capacity - slab.used(c);
    const int taken = active ? unused / 2 : unused;
    if (taken <= 0) continue;
    SlabLimits& limits = slab.limits[c.value];
    const auto end = static_cast<uint16_t>(limits.end.load(std::memory_order_relaxed) - taken);
    if (uses_rseq_) {
      if (!SlabLowerEnd(own_, slab.cpu, c, end)) continue;
    } else {
      limits.end.store(end, std::memory_order_relaxed);
    }
    cpu.budget += int64_t{taken} * kSizeMap[c].size;
  }
}

void CpuCache::Evict(PerCpu& cpu, SizeClass c, int n) {
  void* blocks[kMaxBatch];
  const BatchResult taken = PopBatch(cpu, c, blocks, std::min(n, kMaxBatch));
  GiveBack(taken, c, blocks);
}

void CpuCache::EvictLocked(PerCpu& cpu, SizeClass c, int n) {
  void* blocks[kMaxBatch];
  while (n > 0) {
    const int here = std::min(n, kMaxBatch);
    BatchResult taken;
    if (uses_rseq_) {
      taken = SlabPopBatch(own_, c, blocks, here);
    } else {
      taken = {cpu.slab->PopBatchExclusive(c, blocks, here), cpu.slab->cpu};
    }
    if (taken.count == 0) return;
    CountOut(RecordOf(taken, blocks[0]), c, taken.count);
    GiveBack(taken, c, blocks);
    n -= here;
  }
}

void CpuCache::GiveBack(const BatchResult& taken, SizeClass c, void* const* blocks) {
  if (taken.count == 0) return;
  PerCpu& from = RecordOf(taken, blocks[0]);
  from.heap.FreeBatch(c, from.cache_domain, blocks, taken.count);
}

void CpuCache::FreeRemote(PerCpu& cpu, SizeClass c, void* block) {
  if (cpu.slab->capacity(kRemoteStack) == 0) StartGathering(cpu);
  const int slots = RemoteSlots(kSizeMap[c].size);
  if (slots > kMostRemoteSlots || !Gather(cpu, c, block)) return SendHome(cpu.heap, &block, 1);
  for (int n = 1; n < slots; ++n) Gather(cpu, c, nullptr);
}

bool CpuCache::Gather(PerCpu& cpu, SizeClass c, void* block) {
  PushResult pushed = PushRemote(cpu, c, block);
  if (pushed == PushResult::kFull) {
    void* blocks[kRemoteSlots];
    const BatchResult taken = Take(cpu, kRemoteStack, blocks, kRemoteSlots);
    if (taken.count > 0) SendHome(At(taken.cpu)->heap, blocks, taken.count);
    pushed = PushRemote(cpu, c, block);
  }
  return pushed == PushResult::kDone;
}

void CpuCache::StartGathering(PerCpu& cpu) {
  LockHolder holder(cpu.lock);
  if (cpu.asked_to_gather) return;
  cpu.asked_to_gather = true;
  CpuSlab& slab = *cpu.slab;
  if (uses_rseq_ && kernel_.InterruptSequences({static_cast<int>(slab.cpu)}) != 0) return;
  SlabLimits& limits = slab.limits[kRemoteStack.value];
  limits.end.store(static_cast<uint16_t>(limits.begin + limits.max_capacity),
                   std::memory_order_relaxed);
}

void CpuCache::SendHome(NodeHeap& from, void** blocks, int n) {
  void** const end = std::remove(blocks, blocks + n, nullptr);
  while (blocks != end) {
    NodeHeap& home = *heaps_.HomeOf(*blocks);
    void** const others = std::partition(
        blocks, end, [&area = home.range().heap](void* block) { return area.Reserves(block); });
    uint64_t bytes = 0;
    for (void** block = blocks; block != others; ++block) bytes += SizeAt(home, *block);
    heaps_.freed().Add(heaps_.RangeOf(from), heaps_.RangeOf(home), bytes);
    home.ReceiveRemote(blocks, static_cast<int>(others - blocks));
    blocks = others;
  }
}

void CpuCache::DeliverRemoteFrees(NodeHeap& home) {
  ForEachRecord([&](PerCpu& cpu) {
    LockHolder holder(cpu.lock);
    if (GatheredFor(home, cpu).blocks == 0) return;
    const int64_t index = cpu.slab->cpu;
    if (uses_rseq_ && At(index) != &cpu) return;  // just put away, and emptied then
    if (!Withdraw(index, cpu)) return;
    void* blocks[kRemoteSlots];
    const int n = EmptyRemote(cpu, blocks);
    Install(index, cpu);
    SendHome(cpu.heap, blocks, n);
  });
}

bool CpuCache::Withdraw(int64_t index, PerCpu& cpu) {
  if (!uses_rseq_) return true;  // the lock is enough
  slabs_[index].store(no_slab_, std::memory_order_seq_cst);
  // Sequences that saw it before must not run on.
  if (kernel_.InterruptSequences({static_cast<int>(index)}) == 0) return true;
  Install(index, cpu);
  return false;
}

void CpuCache::Install(int64_t index, PerCpu& cpu) {
  if (uses_rseq_) slabs_[index].store(cpu.slab, std::memory_order_release);
}

template <typename Selected>
void CpuCache::Empty(PerCpu& cpu, Selected selected) {
  CpuSlab& slab = *cpu.slab;
  for (int i = 1; i < kSizeClasses; ++i) {
    const SizeClass c{static_cast<uint8_t>(i)};
    if (!selected(c)) continue;
    void* blocks[kMaxBatch];
    while (const int n = slab.PopBatchExclusive(c, blocks, kMaxBatch)) {
      CountOut(cpu, c, n);
      cpu.heap.FreeBatch(c, cpu.cache_domain, blocks, n);
    }
    cpu.budget += int64_t{slab.capacity(c)} * kSizeMap[c].size;
    slab.limits[i].end.store(slab.limits[i].begin, std::memory_order_relaxed);
  }
}

void CpuCache::DrainAll() {
  for (int i = 0; i < cpu_limit_; ++i) {
    if (PerCpu* cpu = At(i)) {
      LockHolder holder(cpu->lock);
      if (At(i) != cpu || !Withdraw(i, *cpu)) continue;
      Empty(*cpu, [](SizeClass) { return true; });
      Install(i, *cpu);
    }
  }
}

void CpuCache::DrainUnused(NodeId node) {
  for (int i = 0; i < cpu_limit_; ++i) {
    PerCpu* cpu = At(i);
    if (cpu == nullptr || cpu->heap.node() != node) continue;
    LockHolder holder(cpu->lock);
    const auto unused = [cpu](SizeClass c) ABSL_NO_THREAD_SAFETY_ANALYSIS {
      return cpu->slab->capacity(c) > 0 && cpu->slab->word(c) == cpu->seen_words[c.value];
    };
    bool any = false;
    for (int c = 1; c < kSizeClasses; ++c) any |= unused({static_cast<uint8_t>(c)});
    if (any && At(i) == cpu && Withdraw(i, *cpu)) {
      Empty(*cpu, unused);
      Install(i, *cpu);
    }
    for (int c = 1; c < kSizeClasses; ++c) {
      cpu->seen_words[c] = cpu->slab->word({static_cast<uint8_t>(c)});
    }
  }
}

CacheTotals CpuCache::Totals(NodeId node) const {
  CacheTotals totals;
  int64_t pushed = 0, pushed_bytes = 0;  // blocks, singly
  ForEachRecord([&](const PerCpu& cpu) {
    if (cpu.heap.node() != node) return;
    // A batch on its way must not count twice, or wrap the sum around: what left slabs is read
    // before their words and what came in after them, so that at most it is missed for a moment.
    const uint64_t moved_out = cpu.moved_out.Get();
    const uint64_t moved_out_bytes = cpu.moved_out_bytes.Get();
    uint64_t used = 0, pops = 0, bytes = 0;
    for (int k = 1; k < kSizeClasses; ++k) {
      const SizeClass c{static_cast<uint8_t>(k)};
      const uint64_t word = cpu.slab->words[k].load(std::memory_order_acquire);
      const uint64_t here = CpuSlab::Top(word) - uint64_t{cpu.slab->limits[k].begin};
      used += here;
      pops += CpuSlab::Pops(word);
      totals.cached_bytes += here * kSizeMap[c].size;
      totals.allocated_bytes += CpuSlab::Pops(word) * kSizeMap[c].size;
      bytes += (here + CpuSlab::Pops(word)) * kSizeMap[c].size;
    }
    totals.allocations += pops + cpu.allocations.Get();
    totals.allocated_bytes += cpu.allocated_bytes.Get();
    pushed += static_cast<int64_t>(used + pops + moved_out - cpu.moved_in.Get());
    pushed_bytes += static_cast<int64_t>(bytes + moved_out_bytes - cpu.moved_in_bytes.Get());
    totals.frees_local += cpu.frees.Get();
    totals.freed_local_bytes += cpu.freed_bytes.Get();
  });
  if (pushed > 0) totals.frees_local += static_cast<uint64_t>(pushed);
  if (pushed_bytes > 0) totals.freed_local_bytes += static_cast<uint64_t>(pushed_bytes);
  return totals;
}

CpuCache::Gathered CpuCache::GatheredFor(const NodeHeap& home, PerCpu& cpu) const {
  CpuSlab& slab = *cpu.slab;
  const std::atomic<uint64_t>& word = slab.words[kRemoteStack.value];
  const uint64_t before = word.load(std::memory_order_acquire);
  Gathered found;
  for (size_t i = slab.limits[kRemoteStack.value].begin; i < CpuSlab::Top(before); ++i) {
    void* block = std::atomic_ref(*slab.slot(i)).load(std::memory_order_acquire);
    if (block == nullptr || heaps_.HomeOf(block) != &home) continue;
    ++found.blocks;
    found.bytes += SizeAt(home, block);
  }
  // A block that has gone home may have become one of another size.
  if (word.load(std::memory_order_relaxed) != before) found.bytes = 0;
  return found;
}

uint64_t CpuCache::RemotePending(const NodeHeap& home) const {
  uint64_t pending = 0;
  ForEachRecord([&](PerCpu& cpu) {
    LockHolder holder(cpu.lock);
    pending += GatheredFor(home, cpu).blocks;
  });
  return pending;
}

uint64_t CpuCache::RemotePendingBytes(NodeId from, const NodeHeap& home) const {
  uint64_t bytes = 0;
  ForEachRecord([&](PerCpu& cpu) {
    if (cpu.heap.node() != from) return;
    LockHolder holder(cpu.lock);
    bytes += GatheredFor(home, cpu).bytes;
  });
  return bytes;
}

void CpuCache::LockForFork() {
  create_lock_.Acquire();
  ForEachRecord([](PerCpu& cpu) ABSL_NO_THREAD_SAFETY_ANALYSIS { cpu.lock.Acquire(); });
}

void CpuCache::UnlockAfterFork() {
  ForEachRecord([](PerCpu& cpu) ABSL_NO_THREAD_SAFETY_ANALYSIS { cpu.lock.Release(); });
  create_lock_.Release();
}

void CpuCache::CheckInvariants() {
  ForEachRecord([&](PerCpu& cpu) {
    LockHolder holder(cpu.lock);
    int64_t dealt = 0;
    for (int k = 1; k < kSizeClasses; ++k) {
      const SizeClass c{static_cast<uint8_t>(k)};
      CpuSlab& slab = *cpu.slab;
      const SlabLimits& limits = slab.limits[k];
      CHECK(slab.used(c) >= 0 && slab.used(c) <= slab.capacity(c));
      CHECK(slab.capacity(c) <= limits.max_capacity && *slab.slot(limits.begin - 1u) == nullptr);
      dealt += int64_t{slab.capacity(c)} * kSizeMap[c].size;
      for (int n = 0; n < slab.used(c); ++n) {
        void* cached = *slab.slot(static_cast<size_t>(limits.begin + n));
        const Block block = cpu.heap.Find(cached);
        CHECK(block.start == cached && block.size_class == c);
      }
    }
    CHECK(dealt + cpu.budget == cpu.limit && cpu.limit <= bytes_per_cpu_);
    CHECK((At(cpu.slab->cpu) == &cpu) == (cpu.limit > 0));
    const SlabLimits& remote = cpu.slab->limits[kRemoteStack.value];
    CHECK(*cpu.slab->slot(remote.begin - 1u) == nullptr);
    CHECK(cpu.slab->used(kRemoteStack) >= 0);
    CHECK(cpu.slab->used(kRemoteStack) <= cpu.slab->capacity(kRemoteStack));
    for (int n = 0; n < cpu.slab->used(kRemoteStack); ++n) {
      void* block = *cpu.slab->slot(static_cast<size_t>(remote.begin + n));
      CHECK(block == nullptr || heaps_.HomeOf(block)->Find(block).start == block);
    }
  });
}

}  // namespace numaheap
