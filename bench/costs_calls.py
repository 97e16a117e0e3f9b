"""System calls of allocation, counted with strace, and the mappings that a preload adds."""

import tempfile

import allocators
import costs_memory
import costs_table
from costs_table import GIB, MIB, Table, size_name

KINDS = ("16", "mixed", str(64 << 10), str(MIB))
LIVE = 64 * MIB


def calls(build, *arguments, options=costs_memory.OPTIONS):
    """{system call: how often} of a whole run of costs_heap, all threads together."""
    traced = costs_table.environment(build, options)
    with tempfile.NamedTemporaryFile("r") as summary:
        costs_table.run(
            ["strace", "-f", "-c", "-o", summary.name,
             *(argument for name in ("LD_LIBRARY_PATH", "NUMAHEAP_OPTIONS")
               for argument in ("-E", f"{name}={traced[name]}")),
             build / "bench" / "costs_heap", *arguments],
            allocators.GLIBC.environment(), one_cpu=True)
        # "  0.00    0.000123           3        41         2 mprotect"; no errors, no such column
        rows = [line.split() for line in summary.read().splitlines()]
    return {row[-1]: int(row[3]) for row in rows
            if len(row) in (5, 6) and row[3].isdigit() and row[-1] != "total"}


def more(after, before):
    """What `after` has more, without what it has not."""
    difference = {name: after.get(name, 0) - before.get(name, 0) for name in after | before}
    return {name: count for name, count in difference.items() if count}


def words(counts):
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"


def call_table(build, quick):
    unit = 64 * MIB if quick else GIB
    rows, growing, steadily = [], [], []
    for kind in KINDS:
        def load(size, kind=kind):
            return calls(build, "load", kind, str(size))

        def churn(size, kind=kind):
            return calls(build, "churn", kind, str(LIVE), str(size))
        first = more(load(unit), load(0))
        # The fourth of four: by then the steps have their full size.
        fourth = more(load(4 * unit), load(3 * unit))
        steady = more(churn(4 * unit), churn(3 * unit))
        growing.append(sum(first.values()))
        steadily.append(sum(steady.values()))
        for what, counts in ((f"the first {size_name(unit)}", first),
                             (f"the fourth {size_name(unit)}", fourth),
                             (f"{size_name(unit)} more, {size_name(LIVE)} of them live", steady)):
            rows.append([costs_memory.kind_name(kind), what, sum(counts.values()), words(counts)])
    figures = {"system calls of a steady load, per GiB": max(steadily)}
    if not quick:
        figures["system calls of a growing heap, per GiB"] = max(growing)
    return Table("calls", "System calls of allocating (measured)",
                 ["blocks", "allocated", "calls", "which"], rows), figures


def start_table(build):
    """What opening heaps calls, by nodes; one synthetic node is the base."""
    def start(nodes):
        return calls(build, "load", "64", "0",
                     options=f"{costs_memory.OPTIONS},topology.synthetic=numa:{nodes} pu:1")
    base = start(1)
    rows = [[nodes, sum(counts.values()), words(counts)]
            for nodes in costs_memory.NODES[1:] for counts in [more(start(nodes), base)]]
    library = allocators.Allocator("numaheap", "", build / "libnumaheap.so")
    lines = [len(costs_table.run(["cat", "/proc/self/maps"], environment).splitlines())
             for environment in (library.environment(), allocators.GLIBC.environment())]
    return Table("start", "What opening the heaps calls, beyond that of one node (measured). A "
                 f"preload adds {lines[0] - lines[1]} mappings to `cat`, those of the library's "
                 "file among them", ["nodes", "calls", "which"], rows)


def tables(build, quick):
    """The tables, and the figures of the budget."""
    calls_made, figures = call_table(build, quick)
    return [calls_made, start_table(build)], figures
