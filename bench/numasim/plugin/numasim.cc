// numasim: a plugin of QEMU that counts what NUMA would cost.
//
// It follows every data access of every virtual CPU to its physical address, lets it pass through a
// model of private caches, and counts the misses by the node of the CPU and the node of the memory.
// The guest says what is to be counted. It can't pass registers or memory to a plugin of this
// interface, so it speaks with addresses: see workloads/say.h.
//
//   forget                     what was declared; the model of the caches goes on
//   region NAME BEGIN END      addresses in hexadecimal; the names are those of Region
//   code BEGIN END OFFSET FILE where a file's code is mapped, to name places by
//   start WORDS…               counting begins, under this name
//   stop OPERATIONS            and ends: one line of JSON is written
//
// Arguments: out=FILE, bytes=N, ways=N (of each CPU's cache), hot=1 (write where remote misses come
// from; 2: where all do) and, for each node, in order, node=FIRST_BYTE:BYTES:CPUS (physical memory;
// CPUS may be 0, else these are the next CPUs).
//
// QEMU runs all virtual CPUs in one thread here (thread=single), so nothing is synchronised.

#include <algorithm>
#include <bit>
#include <cinttypes>
#include <compare>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bench/numasim/plugin/private_caches.h"
#include "bench/numasim/plugin/qemu_plugin.h"
#include "bench/numasim/plugin/regions.h"
#include "bench/numasim/workloads/say.h"

extern "C" int qemu_plugin_version;
int qemu_plugin_version = 1;

namespace numasim {
namespace {

constexpr uint64_t kKernelBase = uint64_t{1} << 63;

// What an access is counted as.
enum class Kind : uint8_t {
  kBlocks,       // heap, by the program and other libraries
  kMetadata,     // heap, by the allocator's code
  kLibraryData,  // the allocator's own data, by anybody
  kStack,
  kProgram,
  kShared,  // what the program says it shares across nodes
  kClient,
  kKernel,
  kCount,
};
constexpr const char* kKindNames[] = {"blocks",  "metadata", "library", "stack",
                                      "program", "shared",   "client",  "kernel"};
constexpr Kind kLastOwnKind = Kind::kLibraryData;  // that the allocator is answerable for
constexpr size_t kKinds = static_cast<size_t>(Kind::kCount);
static_assert(std::size(kKindNames) == kKinds);

struct Node {
  uint64_t first;  // physical
  uint64_t bytes;
};

struct Count {
  uint64_t accesses = 0;
  std::vector<uint64_t> misses;  // [node of the CPU * nodes + node of the memory]
};

// Where remote misses come from: an instruction and a page.
struct Place {
  uint64_t pc;
  uint64_t page;
  int kind;
  auto operator<=>(const Place&) const = default;
};

[[noreturn]] void Fail(const std::string& message) {
  std::fprintf(stderr, "numasim: %s\n", message.c_str());
  std::exit(1);
}

class Simulator {
 public:
  Simulator(std::vector<Node> nodes, std::vector<int> node_of_cpu, uint64_t cache_bytes, int ways,
            unsigned hot, const std::string& out)
      : nodes_(std::move(nodes)),
        node_of_cpu_(std::move(node_of_cpu)),
        hot_(hot),
        out_(std::fopen(out.c_str(), "a")) {
    if (out_ == nullptr) Fail("cannot write " + out);
    uint64_t memory = 0;
    for (const Node& node : nodes_) memory = std::max(memory, node.first + node.bytes);
    caches_ = std::make_unique<PrivateCaches>(static_cast<int>(node_of_cpu_.size()), cache_bytes,
                                              ways, memory);
  }

  void Access(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t vaddr, uint64_t pc) {
    if (!modelling_ || cpu >= node_of_cpu_.size()) return;
    const qemu_plugin_hwaddr* address = qemu_plugin_get_hwaddr(info, vaddr);
    if (address == nullptr || qemu_plugin_hwaddr_is_io(address)) return;
    const uint64_t physical = qemu_plugin_hwaddr_phys_addr(address);
    const bool is_store = qemu_plugin_mem_is_store(info);
    const uint64_t last = physical + (uint64_t{1} << qemu_plugin_mem_size_shift(info)) - 1;
    AccessLine(cpu, physical, is_store, vaddr, pc);
    // Where the rest of an access over two pages lies is not known.
    if (last >> kLineShift != physical >> kLineShift && last >> 12 == physical >> 12) {
      AccessLine(cpu, last, is_store, vaddr, pc);
    }
  }

  // One character of what the guest says.
  void Hear(char c) {
    if (c != '\n') {
      heard_ += c;
      return;
    }
    Obey(heard_);
    heard_.clear();
  }

 private:
  void AccessLine(unsigned cpu, uint64_t physical, bool is_store, uint64_t vaddr, uint64_t pc) {
    const int to = NodeOf(physical);
    if (to < 0) return;  // a ROM or a device's memory
    const bool missed = caches_->Access(cpu, physical >> kLineShift, is_store);
    if (!counting_) return;
    const Kind kind = KindOf(vaddr, pc);
    Count& count = counts_[static_cast<size_t>(kind)];
    ++count.accesses;
    if (!missed) return;
    const int from = node_of_cpu_[cpu];
    ++count.misses[static_cast<size_t>(from) * nodes_.size() + static_cast<size_t>(to)];
    if ((hot_ == 2 || (hot_ == 1 && from != to)) && kind <= kLastOwnKind) {
      ++places_[{pc, vaddr >> 12 << 12, static_cast<int>(kind)}];
    }
  }

  int NodeOf(uint64_t physical) const {
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (physical - nodes_[i].first < nodes_[i].bytes) return static_cast<int>(i);
    }
    return -1;
  }

  Kind KindOf(uint64_t vaddr, uint64_t pc) {
    if (pc >= kKernelBase || vaddr >= kKernelBase) return Kind::kKernel;
    const Region code = regions_.At(pc);
    if (code == Region::kClientCode) return Kind::kClient;
    if (code == Region::kSharedCode) return Kind::kShared;
    switch (regions_.At(vaddr)) {
      case Region::kHeap:
        return code == Region::kAllocatorCode ? Kind::kMetadata : Kind::kBlocks;
      case Region::kLibraryData:
      case Region::kAllocatorCode:  // constants between the functions
        return Kind::kLibraryData;
      case Region::kStack:
        return Kind::kStack;
      case Region::kShared:
        return Kind::kShared;
      default:
        return Kind::kProgram;
    }
  }

  void Obey(const std::string& command) {
    modelling_ = true;
    char name[32];
    uint64_t begin, end;
    if (command == "forget") {
      regions_.Forget();
      code_.clear();
    } else if (command.starts_with("code ")) {
      code_.push_back(command.substr(5));
    } else if (std::sscanf(command.c_str(), "region %31s %" SCNx64 " %" SCNx64, name, &begin,
                           &end) == 3) {
      for (size_t i = 0; i < std::size(kRegionNames); ++i) {
        if (std::string_view(name) == kRegionNames[i]) {
          regions_.Declare(static_cast<Region>(i), begin, end);
          return;
        }
      }
      Fail("there is no region " + command);
    } else if (command.starts_with("start ")) {
      run_ = command.substr(6);
      places_.clear();
      for (Count& count : counts_) {
        count = {0, std::vector<uint64_t>(nodes_.size() * nodes_.size())};
      }
      counting_ = true;
    } else if (std::sscanf(command.c_str(), "stop %" SCNu64, &operations_) == 1) {
      counting_ = false;
      Write();
    } else {
      Fail("the guest says \"" + command + "\"");
    }
  }

  // {"run": "ALLOCATOR WORKLOAD", "operations": 1,
  //  "kinds": {"blocks": {"accesses": 1, "misses": [[1, 2], [3, 4]]}, … for each kind},
  //  "code": ["BEGIN END OFFSET FILE", …],
  //  "hot": [{"pc": 1, "page": 2, "kind": "blocks", "misses": 3}, …]}
  void Write() {
    std::fprintf(out_, "{\"run\": \"%s\", \"operations\": %" PRIu64 ", \"kinds\": {", run_.c_str(),
                 operations_);
    for (size_t i = 0; i < kKinds; ++i) {
      std::fprintf(out_, "%s\"%s\": {\"accesses\": %" PRIu64 ", \"misses\": [", i ? ", " : "",
                   kKindNames[i], counts_[i].accesses);
      for (size_t from = 0; from < nodes_.size(); ++from) {
        for (size_t to = 0; to < nodes_.size(); ++to) {
          std::fprintf(out_, "%s%" PRIu64,
                       to     ? ", "
                       : from ? ", ["
                              : "[",
                       counts_[i].misses[from * nodes_.size() + to]);
        }
        std::fputs("]", out_);
      }
      std::fputs("]}", out_);
    }
    std::fputs("}, \"code\": [", out_);
    for (size_t i = 0; i < code_.size(); ++i) {
      std::fprintf(out_, "%s\"%s\"", i ? ", " : "", code_[i].c_str());
    }
    std::fputs("], \"hot\": [", out_);
    const char* separator = "";
    for (const auto& [place, misses] : places_) {
      std::fprintf(out_,
                   "%s{\"pc\": %" PRIu64 ", \"page\": %" PRIu64
                   ", \"kind\": \"%s\", \"misses\": %" PRIu64 "}",
                   separator, place.pc, place.page, kKindNames[place.kind], misses);
      separator = ", ";
    }
    std::fputs("]}\n", out_);
    std::fflush(out_);
  }

  const std::vector<Node> nodes_;
  const std::vector<int> node_of_cpu_;
  const unsigned hot_;  // 1: remote misses, 2: all
  FILE* const out_;
  std::unique_ptr<PrivateCaches> caches_;
  Regions regions_;
  std::vector<std::string> code_;
  std::string heard_;
  std::string run_;
  uint64_t operations_ = 0;
  bool modelling_ = false;  // from the first command on: booting needs no model
  bool counting_ = false;
  Count counts_[kKinds];
  std::map<Place, uint64_t> places_;
};

Simulator* simulator;

void OnAccess(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void* pc) {
  simulator->Access(cpu, info, vaddr, reinterpret_cast<uint64_t>(pc));
}

void OnSay(unsigned, qemu_plugin_meminfo_t, uint64_t vaddr, void*) {
  simulator->Hear(static_cast<char>(vaddr & 0xff));
}

void OnTranslation(qemu_plugin_id_t, qemu_plugin_tb* tb) {
  for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); ++i) {
    qemu_plugin_insn* insn = qemu_plugin_tb_get_insn(tb, i);
    if (qemu_plugin_insn_size(insn) == sizeof(kSayInstruction) &&
        std::memcmp(qemu_plugin_insn_data(insn), kSayInstruction, sizeof(kSayInstruction)) == 0) {
      // It only reads, but QEMU 7.2 calls nobody who asks for reads alone.
      qemu_plugin_register_vcpu_mem_cb(insn, OnSay, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW,
                                       nullptr);
      continue;
    }
    qemu_plugin_register_vcpu_mem_cb(insn, OnAccess, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW,
                                     reinterpret_cast<void*>(qemu_plugin_insn_vaddr(insn)));
  }
}

}  // namespace
}  // namespace numasim

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t* info, int argc, char** argv) {
  using namespace numasim;
  std::vector<Node> nodes;
  std::vector<int> node_of_cpu;
  uint64_t bytes = 512 << 10;
  unsigned ways = 8;
  unsigned hot = 0;
  std::string out;
  for (int i = 0; i < argc; ++i) {
    const std::string_view argument = argv[i];
    Node node;
    int cpus;
    if (std::sscanf(argv[i], "node=%" SCNu64 ":%" SCNu64 ":%d", &node.first, &node.bytes, &cpus) ==
        3) {
      node_of_cpu.insert(node_of_cpu.end(), static_cast<size_t>(cpus),
                         static_cast<int>(nodes.size()));
      nodes.push_back(node);
    } else if (argument.starts_with("out=")) {
      out = argument.substr(4);
    } else if (std::sscanf(argv[i], "bytes=%" SCNu64, &bytes) != 1 &&
               std::sscanf(argv[i], "ways=%u", &ways) != 1 &&
               std::sscanf(argv[i], "hot=%u", &hot) != 1) {
      Fail(std::string("unknown argument ") + argv[i]);
    }
  }
  const uint64_t set_bytes = uint64_t{ways} << kLineShift;
  if (ways == 0 || bytes % set_bytes != 0 || !std::has_single_bit(bytes / set_bytes)) {
    Fail("the cache's sets are no power of two");
  }
  if (!info->system_emulation ||
      node_of_cpu.size() != static_cast<size_t>(info->system.max_vcpus) ||
      node_of_cpu.size() > kMaxCpus) {
    Fail("the nodes' CPUs are not the machine's");
  }
  simulator = new Simulator(std::move(nodes), std::move(node_of_cpu), bytes, static_cast<int>(ways),
                            hot, out);
  qemu_plugin_register_vcpu_tb_trans_cb(id, OnTranslation);
  return 0;
}
