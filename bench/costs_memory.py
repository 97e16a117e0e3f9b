"""What a heap takes besides its blocks: records, page maps, caches, address space, mappings."""

import costs_table
from costs_table import GIB, KIB, MIB, Table, size_name

KINDS = ("16", "64", "1024", "mixed", str(64 * KIB), str(1 * MIB), str(16 * MIB))
TARGET = 0.5  # percent of a heap
NODES = (1, 2, 4, 8, 16)
CPUS = (2, 8, 32, 128, 512)
THREADS = (1, 8, 64, 512)
HEAPS = (MIB, 16 * MIB, 256 * MIB, GIB, 4 * GIB)
LARGER_HEAPS = (64 * GIB, 512 * GIB)
CLASSES = (16, 32, 48, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 32 * KIB, 256 * KIB)

# No background: what is counted is what allocation alone does.
OPTIONS = "scavenger.start_at=1024TiB"


def numbers(build, *arguments, options=OPTIONS, one_cpu=False):
    """{name: number} as costs_heap printed them."""
    printed = costs_table.run([build / "bench" / "costs_heap", *arguments],
                              costs_table.environment(build, options), one_cpu)
    return {name: int(number) for name, number in map(str.split, printed.splitlines())}


class Heap:
    """All heaps of a process at one moment."""

    def __init__(self, found, moment):
        def get(name):
            return found[f"{moment}.{name}"]
        self.pages, self.pages_resident = get("pages.used"), get("pages.resident")
        self.page_maps, self.header = get("page_maps.used"), get("header.used")
        self.span_records, self.bitmaps, self.spans = (
            get("span_records"), get("bitmaps"), get("spans"))
        # Transfer caches, tables, and the records of CPU caches, most of which nobody touches.
        self.rest = get("arena.used") - self.span_records - self.bitmaps
        self.resident = sum(get(f"{part}.resident") for part in ("page_maps", "header", "arena"))
        self.reserved = sum(get(f"{part}.reserved") for part in ("page_maps", "header", "arena"))
        self.address_space, self.mappings = get("address_space"), get("mappings")

    @property
    def growing(self):
        return self.page_maps + self.span_records + self.bitmaps

    def percent(self, what):
        return 100 * what / self.pages


def filled(build, kind, size, threads=1, options=OPTIONS):
    """The heaps before and after. One thread stays on one CPU, many are dealt out over all."""
    found = numbers(build, "fill", kind, str(size), str(threads), options=options,
                    one_cpu=threads == 1)
    return Heap(found, "before"), Heap(found, "after")


def kind_name(kind):
    return "mixed, 16 B to 1 KiB" if kind == "mixed" else size_name(int(kind))


def kib(size):
    return f"{size / KIB:,.0f}"


def metadata_table(build, quick, figures):
    size = 64 * MIB if quick else GIB
    rows = []
    for kind in KINDS:
        _, heap = filled(build, kind, size)
        per_gib = GIB / heap.pages
        share = heap.percent(heap.growing)
        rows.append([kind_name(kind),
                     *(kib(part * per_gib) for part in (heap.page_maps, heap.span_records,
                                                        heap.bitmaps)),
                     f"{share:.2f}%", "yes" if share <= TARGET else "no", kib(heap.header),
                     kib(heap.rest), kib(heap.resident), f"{heap.percent(heap.resident):.2f}%"])
        figures[f"metadata of {kind_name(kind).split(',')[0]} blocks, %"] = share
    return Table("metadata", f"Metadata of heaps of {size_name(size)}, KiB; the first three, and "
                 "their share, per GiB of pages in use (measured)",
                 ["blocks", "page maps", "span records", "bitmaps", "share",
                  f"within {TARGET}%", "header", "arena, the rest", "resident, all",
                  "resident share"], rows)


def class_shares(build):
    """{block size: (span bytes, percent)} of pages and blocks in use, computed for each class."""
    found = numbers(build, "classes")
    page = found["page_size"]
    maps_per_page = 1 + 1 / 8 + 4  # bytes: class, released bit, span index
    result = {}
    for name, span in found.items():
        if name.endswith(".span"):
            of = name.removesuffix("span")
            record, bitmap = found[of + "record"], found[of + "bitmap"]
            result[int(of.split(".")[1])] = span, [
                100 * part / span for part in (maps_per_page * span / page, record, bitmap)]
    return result


def class_table(build):
    shares = class_shares(build)
    over = [size for size, (_, parts) in shares.items() if sum(parts) > TARGET]
    rows = [[size_name(size), size_name(span), *(f"{part:.3f}%" for part in parts),
             f"{sum(parts):.2f}%"]
            for size, (span, parts) in shares.items() if size in CLASSES]
    return Table("classes", "Metadata by size class, of a heap full of one (computed; "
                 f"{len(over)} of {len(shares)} classes are over {TARGET}%, the largest of them of "
                 f"{size_name(max(over)) if over else 'none'})",
                 ["block", "span", "page maps", "span record", "bitmap", "together"], rows)


def cpu_table(build, quick, figures):
    rows = []
    for cpus, nodes in [(n, 1) for n in CPUS] + [(max(CPUS), max(NODES))]:
        if quick and cpus > 8:
            continue
        found = numbers(build, "cpus", str(cpus), str(nodes))
        reserved = numbers(build, "reserved", str(cpus))

        idle = (found["tables"] - found["empty_slab"]) / cpus + found["cpu_info"]
        address_space, one, all_classes = (
            found[name] / cpus for name in ("one_class.caches.reserved",
                                            "one_class.caches.resident",
                                            "all_classes.caches.resident"))
        rows.append([cpus, nodes, f"{idle:,.0f}", kib(address_space), kib(one), kib(all_classes),
                     f"{reserved['caches'] * nodes / MIB:,.1f}"])
        figures |= {"memory of an idle CPU, B": idle,
                    "memory of a CPU's cache, one class used, KiB": one / KIB,
                    "memory of a CPU's cache, all classes used, KiB": all_classes / KIB,
                    "address space of a CPU's cache, KiB": address_space / KIB}
    return Table("cpus", "A CPU's cache, per CPU (measured with made-up CPUs; the last column is "
                 "computed)",
                 ["CPUs", "nodes", "idle CPU, B", "address space, KiB",
                  "one class used: resident, KiB", "all classes used: resident, KiB",
                  "reserved for all caches on all nodes, MiB"], rows)


def node_table(build, quick, figures):
    rows = []
    first = None
    for nodes in NODES[:2] if quick else NODES:
        options = f"{OPTIONS},topology.synthetic=numa:{nodes} pu:1"
        start, _ = filled(build, "64", 64, options=options)
        first = first or start
        rows.append([nodes, start.mappings, size_name(start.address_space),
                     f"{start.reserved / nodes / GIB:.1f}", kib(start.header + start.rest),
                     kib(start.resident),
                     kib((start.resident - first.resident) / (nodes - 1)) if nodes > 1 else "—"])
    figures |= {
        "mappings of one node": first.mappings,
        "mappings of each further node": (start.mappings - first.mappings) / (nodes - 1),
        "memory of a node's empty heap, KiB": (start.resident - first.resident) / (nodes - 1) / KIB}
    return Table("nodes", "A process that has allocated next to nothing (measured, synthetic "
                 "nodes)",
                 ["nodes", "mappings", "address space", "for metadata, GiB a node",
                  "header and arena, KiB", "metadata resident, KiB", "each further node, KiB"],
                 rows)


def thread_table(build, quick, figures):
    rows = []
    size = 64 * MIB
    resident = {}
    for threads in THREADS[:2] if quick else THREADS:
        _, heap = filled(build, "mixed", size, threads)
        resident[threads] = heap.resident
        rows.append([threads, heap.mappings, kib(heap.growing), kib(heap.header + heap.rest),
                     kib(heap.resident)])
    if not quick:
        few, many = THREADS[1], THREADS[-1]  # on all CPUs both
        figures["memory that a further thread takes, B"] = (
            (resident[many] - resident[few]) / (many - few))
    return Table("threads", f"A heap of {size_name(size)} of mixed blocks, filled by many threads "
                 "that all still run (measured)",
                 ["threads", "mappings", "metadata of pages, KiB", "header and arena's rest, KiB",
                  "metadata resident, KiB"], rows)


def heap_table(build, quick, figures):
    rows, heaps = [], []
    for size in HEAPS[:3] if quick else HEAPS:
        start, heap = filled(build, "mixed", size)
        heaps.append(heap)
        rows.append([size_name(size), "measured", start.mappings, heap.mappings,
                     f"{heap.spans:,}", kib(heap.growing), kib(heap.header + heap.rest),
                     kib(heap.resident), f"{heap.percent(heap.resident):.2f}%"])
    figures["mappings that a growing heap adds"] = heaps[-1].mappings - start.mappings
    small, large = heaps[-2:]
    slope = (large.growing - small.growing) / (large.pages - small.pages)
    for size in LARGER_HEAPS:
        growing = large.growing + slope * (size - large.pages)
        resident = large.resident + slope * (size - large.pages)
        spans = large.spans * size / large.pages
        rows.append([size_name(size), "computed", rows[-1][2], rows[-1][3], f"{spans:,.0f}",
                     kib(growing), kib(large.header + large.rest), kib(resident),
                     f"{100 * resident / size:.2f}%"])
    return Table("heaps", "Heaps of mixed blocks by size",
                 ["heap", "", "mappings at start", "mappings", "spans", "metadata of pages, KiB",
                  "header and arena's rest, KiB", "metadata resident, KiB", "resident share"], rows)


def tables(build, quick):
    """The tables, and the figures of the budget."""
    figures = {}
    return [metadata_table(build, quick, figures), class_table(build),
            heap_table(build, quick, figures), cpu_table(build, quick, figures),
            node_table(build, quick, figures), thread_table(build, quick, figures)], figures
