"""Instructions of malloc's and free's paths: of all by callgrind, of hits by disassembly, too."""

import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile

import costs_table
from costs_table import Table, size_name

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "rules"))
import fast_path  # noqa: E402

MODES = ("rseq", "locked")
SIZES = (16, 64, 1024, 64 << 10)
LARGEST_TRANSFERRED = 1024  # of 64 KiB a transfer cache has four blocks, fewer than a CPU's cache
LARGE = 1 << 20
MANY_NODES = 16
BUDGETED = "rseq", 64  # what the budget speaks of

# Times, see costs_paths.cc. The remote stack goes home when the 65th block comes, so all but one of
# REMOTE blocks do.
PAIRS, GROWN, SPREAD, REMOTE, LARGES = 1000, 16384, 32768, 64 * 64 + 1, 256

# What a miss, an overflow and so on call once. They are in other files than their callers, so the
# compiler doesn't inline them; callgrind sees the names.
REFILL = "numaheap::NodeHeap::AllocateBatch("
SPILL = "numaheap::NodeHeap::FreeBatch("
SEND = "numaheap::CpuCache::SendHome("
SWEEP = "numaheap::NodeHeap::SweepRemote("
SPAN, SPAN_FREE = "numaheap::PageHeap::Allocate(", "numaheap::PageHeap::Free("


@dataclasses.dataclass
class Cost:
    calls: int = 0
    instructions: int = 0  # those of what it called among them

    def mean(self):
        return self.instructions / self.calls


class Phase:
    """What callgrind counted between a function Measured… and EndOfMeasure.

    `moved`: blocks that came into the CPU's cache or went out of it in batches."""

    def __init__(self, dump, moved):
        self.moved = moved
        self._costs = {}
        lines = iter(dump.splitlines())
        for line in lines:
            if line.startswith("cfn="):
                callee = line[4:]
            elif line.startswith("calls="):
                cost = self._costs.setdefault(callee, Cost())
                cost.calls += int(line[6:].split()[0])
                cost.instructions += int(next(lines).split()[1])

    def __getitem__(self, name):
        """Of the function with that name, or whose name begins so."""
        found = Cost()
        for callee, cost in self._costs.items():
            if callee == name or (name.endswith("(") and callee.startswith(name)):
                found.calls += cost.calls
                found.instructions += cost.instructions
        return found

    def need(self, name):
        cost = self[name]
        if not cost.calls:
            raise costs_table.Broken(f"{name} was not called: has it another name by now?")
        return cost


def phases(build, mode, path, size, count, nodes=1):
    """Runs costs_paths under callgrind."""
    program = build / "bench" / "costs_paths"
    options = (f"cache.mode={'auto' if mode == 'rseq' else mode},scavenger.start_at=1024TiB"
               + (f",topology.synthetic=numa:{nodes} pu:1" if nodes > 1 else ""))
    with tempfile.TemporaryDirectory() as scratch:
        moved = costs_table.run(
            ["valgrind", "-q", "--tool=callgrind", "--compress-strings=no", "--compress-pos=no",
             "--zero-before=*Measured*", "--dump-before=*EndOfMeasure*",
             f"--callgrind-out-file={scratch}/out", program, path, str(size), str(count)],
            costs_table.environment(build, options))
        dumps = sorted(pathlib.Path(scratch).glob("out.*"), key=lambda p: int(p.suffix[1:]))
        return [Phase(dump.read_text(), int(blocks))
                for dump, blocks in zip(dumps, moved.split(), strict=True)]


@dataclasses.dataclass
class Batches:
    """Calls of malloc or free that some blocks were fetched or passed on for."""
    batches: int
    blocks: int
    per_batch: float  # instructions of such a call, from the caller's view
    per_call: float   # mean over all calls, hits among them

    @property
    def per_block(self):
        return self.per_batch * self.batches / self.blocks

    def row(self):
        return [f"{self.blocks / self.batches:.1f}", f"{self.per_batch:,.0f}",
                f"{self.per_block:.1f}", f"{self.per_call:.1f}"]


def batches(phase, function, hit, event):
    """`hit`: instructions of a call of `function` that hits; `event`: what all others call once."""
    calls, events = phase.need(function), phase.need(event).calls
    misses = calls.instructions - hit * (calls.calls - events)
    return Batches(events, phase.moved, misses / events, calls.mean())


def disassembled(library):
    """{function: instructions of its fast path}."""
    exported = fast_path.functions(library)
    return {name: len(fast_path.fast_path(
        fast_path.parse(fast_path.disassemble(library, *exported[name])), exported[name][0]))
        for name in ("malloc", "free")}


def hits(build, sizes):
    """{(mode, size): (malloc, free)}, mean instructions of a hit."""
    result = {}
    for mode in MODES:
        for size in sizes:
            [pair] = phases(build, mode, "pair", size, PAIRS)
            result[mode, size] = pair.need("malloc").mean(), pair.need("free").mean()
    return result


def fast_table(build, hit, sizes, figures):
    figures["malloc that hits, instructions"], figures["free that hits, instructions"] = hit[
        BUDGETED]
    by_disassembly = disassembled(build / "libnumaheap.so")
    rows = [["disassembly, entry to ret", by_disassembly["malloc"], by_disassembly["free"]]]
    for mode in MODES:
        for size in sizes:
            rows.append([f"callgrind, {mode}, {size_name(size)}",
                         *(f"{n:.1f}" for n in hit[mode, size])])
    [pair] = phases(build, MODES[0], "pair", sizes[0], PAIRS, MANY_NODES)
    rows.append([f"callgrind, {MODES[0]}, {size_name(sizes[0])}, {MANY_NODES} nodes",
                 *(f"{pair.need(name).mean():.1f}" for name in ("malloc", "free"))])
    return Table("hit", "Instructions of a hit", ["counted by, mode, block", "malloc", "free"],
                 rows)


def batch_tables(build, hit, sizes, figures):
    header = ["call", "mode", "size", "blocks a batch", "per batch", "per block", "mean call"]
    refills, overflows, spans = [], [], []
    for size in sizes:
        for mode in MODES:
            malloc, free = hit[mode, size]
            new, emptied = phases(build, mode, "grow", size, GROWN)
            part, spread = phases(build, mode, "spans", size, SPREAD)
            _, shuffled = phases(build, mode, "shuffled", size, SPREAD)
            out_of = [("spans half in use", part), ("new spans", new)]
            into = [("spans, neighbours together", emptied), ("spans, every other block", spread),
                    ("spans, at random", shuffled)]
            if size <= LARGEST_TRANSFERRED:
                away, back = phases(build, mode, "transfer", size, PAIRS)
                out_of.insert(0, ("the transfer cache", back))
                into.insert(0, ("the transfer cache", away))
            for rows, function, event, own, places in (
                    (refills, "malloc out of", REFILL, malloc, out_of),
                    (overflows, "free into", SPILL, free, into)):
                for place, phase in places:
                    found = batches(phase, function.split()[0], own, event)
                    rows.append([f"{function} {place}", mode, size_name(size), *found.row()])
                    if (mode, size) == BUDGETED:
                        figures[f"{function} {place}, per block"] = found.per_block
            allocated, freed = new.need(SPAN).mean(), emptied.need(SPAN_FREE).mean()
            if mode == MODES[0]:
                spans.append([f"span of {size_name(size)} blocks", f"{allocated:,.0f}",
                              f"{freed:,.0f}", "—", "—"])
            if (mode, size) == BUDGETED:
                figures["span allocated, instructions"] = allocated
                figures["span freed, instructions"] = freed
    return (Table("refill", "Instructions of a malloc that finds the CPU's cache empty", header,
                  refills),
            Table("overflow", "Instructions of a free that finds the CPU's cache full", header,
                  overflows),
            spans)


def remote_table(build, sizes, figures):
    rows = []
    for mode in MODES:
        for size in (s for s in sizes if s <= 1024):  # larger ones take several slots
            gathered, sent, swept = phases(build, mode, "remote", size, REMOTE, 2)
            free, send = sent.need("free"), sent.need(SEND)
            sweep = swept.need(SWEEP).instructions / (REMOTE - 1)
            rows.append([mode, size_name(size), f"{gathered.need('free').mean():.1f}",
                         f"{send.instructions / free.calls:.1f}", f"{free.mean():.1f}",
                         f"{sweep:.1f}", f"{free.mean() + sweep:.1f}"])
            if (mode, size) == BUDGETED:
                figures["free of another node's block, until it is swept"] = free.mean() + sweep
    return Table("remote", "Instructions of freeing a block of another node, per block",
                 ["mode", "size", "free that gathers", "sent home", "free, all told", "swept",
                  "together"], rows)


def span_table(build, small, figures):
    [pair] = phases(build, MODES[0], "pair", LARGE, PAIRS)
    for name in ("malloc", "free"):
        figures[f"{name} of {size_name(LARGE)}, instructions"] = pair.need(name).mean()
    new, emptied = phases(build, MODES[0], "grow", LARGE, LARGES)
    rows = small + [
        [f"object of {size_name(LARGE)}, {how}",
         f"{allocate.need(SPAN).mean():,.0f}", f"{free.need(SPAN_FREE).mean():,.0f}",
         f"{allocate.need('malloc').mean():,.0f}", f"{free.need('free').mean():,.0f}"]
        for how, allocate, free in (("again and again", pair, pair),
                                    ("the heap grows", new, emptied))]
    return Table("span", "Instructions of a span, and of the malloc and free that need one each",
                 ["span", "allocated", "freed", "malloc", "free"], rows)


def tables(build, quick):
    """The tables, and the figures of the budget."""
    sizes = (64,) if quick else SIZES
    figures = {}
    hit = hits(build, sizes)
    refill, overflow, spans = batch_tables(build, hit, sizes, figures)
    result = [fast_table(build, hit, sizes, figures), refill, overflow]
    if len(os.sched_getaffinity(0)) > 1:
        result.append(remote_table(build, sizes, figures))
    else:
        print("remote frees are left out: they take two CPUs", file=sys.stderr)
    return result + [span_table(build, spans, figures)], figures
