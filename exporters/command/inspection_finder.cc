#include "exporters/command/inspection_finder.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "exporters/command/elf_symbols.h"

namespace numaheap::command {
namespace {

constexpr char kMagic[16] = NUMAHEAP_INSPECTION_MAGIC;

// Where it is said to be, it is only if it says so itself.
bool ReadAt(const Process& process, uint64_t address, numaheap_inspection_t* out) {
  std::memset(static_cast<void*>(out), 0, sizeof *out);
  // An older library's struct may be shorter, and end where nothing is mapped.
  constexpr size_t kHead = offsetof(numaheap_inspection_t, library_version);
  if (!process.Read(address, out, kHead).ok()) return false;
  if (std::memcmp(out->magic, kMagic, sizeof kMagic) != 0 ||
      reinterpret_cast<uint64_t>(out->self) != address) {
    return false;
  }
  const size_t bytes = std::min<size_t>(out->bytes, sizeof *out);
  return process.Read(address, out, std::max(bytes, kHead)).ok();
}

// By the symbol of the file whose mappings these are.
bool FindBySymbol(const Process& process, absl::Span<const Mapping> mappings,
                  numaheap_inspection_t* out) {
  const File file = process.OpenFile(mappings[0]);
  if (!file.is_open()) return false;
  const ElfFile elf = ReadElf(file.descriptor(), NUMAHEAP_INSPECTION_SYMBOL);
  if (!elf.symbol) return false;
  for (const Mapping& mapping : mappings) {
    const auto bias = elf.LoadBias(mapping.offset, mapping.start);
    if (bias && ReadAt(process, *bias + elf.symbol->value, out)) return true;
  }
  return false;
}

// By the magic number. It lies on a multiple of eight bytes.
bool FindByMagic(const Process& process, absl::Span<const Mapping> mappings,
                 numaheap_inspection_t* out) {
  constexpr size_t kStep = 1 << 20;  // bytes read at a time
  std::vector<char> buffer(kStep + sizeof kMagic);
  for (const Mapping& mapping : mappings) {
    if (!mapping.readable || mapping.executable) continue;
    for (uint64_t at = mapping.start; at < mapping.end; at += kStep) {
      const size_t bytes = std::min<uint64_t>(buffer.size(), mapping.end - at);
      if (!process.Read(at, buffer.data(), bytes).ok()) break;
      for (size_t i = 0; i + sizeof kMagic <= bytes; i += 8) {
        if (std::memcmp(buffer.data() + i, kMagic, sizeof kMagic) == 0 &&
            ReadAt(process, at + i, out)) {
          return true;
        }
      }
    }
  }
  return false;
}

// Whether the process has allocated with it.
bool HasHeaps(const Process& process, const numaheap_inspection_t& found) {
  const auto table = process.Get<uint64_t>(reinterpret_cast<uint64_t>(found.heap_table));
  return table.ok() && *table != 0;
}

// The mappings by file: the program's, then those that are called like numaheap, then the rest.
std::vector<std::vector<Mapping>> Files(const Process& process) {
  std::vector<std::vector<Mapping>> files;
  for (const Mapping& mapping : process.mappings()) {
    const auto known = std::find_if(files.begin(), files.end(), [&](const auto& file) {
      return file[0].IsOfSameFile(mapping);
    });
    if (known == files.end()) {
      files.push_back({mapping});
    } else {
      known->push_back(mapping);
    }
  }
  const auto rank = [&process](const std::vector<Mapping>& file) {
    if (process.IsExecutable(file[0])) return 0;
    return file[0].path.find("numaheap") != std::string::npos ? 1 : 2;
  };
  std::stable_sort(files.begin(), files.end(),
                   [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
  return files;
}

}  // namespace

absl::Status CheckInspection(const numaheap_inspection_t& inspection) {
  const auto bad = [](std::string_view what) {
    return absl::FailedPreconditionError(
        absl::StrCat("the numaheap in it describes itself in an odd way (", std::string(what),
                     "): use the `numaheap` command of its own version"));
  };
  const auto inside = [](uint32_t offset, uint32_t bytes, uint32_t all) {
    return offset <= all && bytes <= all - offset;
  };
  constexpr uint32_t kMostHeader = 1 << 20;  // bytes of a heap's record
  const uint32_t span = inspection.span_bytes, entry = inspection.class_bytes;
  if (!std::has_single_bit(inspection.page_bytes) || inspection.page_bytes < 4096) {
    return bad("page_bytes");
  }
  for (const uint32_t area : {inspection.heap_span_indices, inspection.heap_arena,
                              inspection.heap_released, inspection.heap_pages}) {
    for (const uint32_t field :
         {inspection.area_start, inspection.area_reserved, inspection.area_committed}) {
      if (area > kMostHeader || field > kMostHeader) return bad("areas");
    }
  }
  if (inspection.heap_node > kMostHeader) return bad("heap_node");
  if (inspection.span_index_unit == 0 || !std::has_single_bit(inspection.span_stride) ||
      inspection.span_stride > 4096) {
    return bad("span indices");
  }
  if (span > 4096 || !inside(inspection.span_start, 4, span) ||
      !inside(inspection.span_pages, 4, span) || !inside(inspection.span_released_pages, 4, span) ||
      !inside(inspection.span_state, 1, span) || !inside(inspection.span_size_class, 1, span) ||
      !inside(inspection.span_free_objects, 2, span)) {
    return bad("spans");
  }
  if (inspection.class_count > 256 || entry > 4096 ||
      !inside(inspection.class_object_size, 4, entry) ||
      !inside(inspection.class_span_objects, 2, entry)) {
    return bad("size classes");
  }
  return absl::OkStatus();
}

absl::StatusOr<numaheap_inspection_t> FindInspection(const Process& process) {
  numaheap_inspection_t found = {}, candidate = {};
  bool any = false;
  for (const std::vector<Mapping>& file : Files(process)) {
    const bool likely =
        process.IsExecutable(file[0]) || file[0].path.find("numaheap") != std::string::npos;
    if (!FindBySymbol(process, file, &candidate) &&
        !(likely && FindByMagic(process, file, &candidate))) {
      continue;
    }
    // A program that has it linked in may have another one preloaded; one of them is in use.
    if (!any || HasHeaps(process, candidate)) found = candidate;
    any = true;
    if (HasHeaps(process, found)) break;
  }
  if (!any) {
    // The reason may be that nothing of it can be read.
    const auto probe = process.mappings().empty() ? absl::StatusOr<char>('\0')
                                                  : process.Get<char>(process.mappings()[0].start);
    if (absl::IsPermissionDenied(probe.status()) || absl::IsNotFound(probe.status())) {
      return probe.status();
    }
    return absl::NotFoundError(absl::StrCat(
        process.Title(), " does not use numaheap, or one without the symbol ",
        NUMAHEAP_INSPECTION_SYMBOL, ": start it with LD_PRELOAD=libnumaheap.so, or link it"));
  }
  found.library_version[sizeof found.library_version - 1] = '\0';
  if (found.version != NUMAHEAP_INSPECTION_VERSION || found.bytes < sizeof found) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "the numaheap in %s is read with version %d of %s, this command knows version %d: use the "
        "`numaheap` command that came with that library",
        process.Title(), found.version, NUMAHEAP_INSPECTION_SYMBOL, NUMAHEAP_INSPECTION_VERSION));
  }
  const absl::Status status = CheckInspection(found);
  if (!status.ok()) {
    return absl::FailedPreconditionError(absl::StrCat(process.Title(), ": ", status.message()));
  }
  return found;
}

}  // namespace numaheap::command
