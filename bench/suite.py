"""The workloads of bench/run, as data: name, what is run, and how much of it a full run does.

The counts make a run take 0.3 to 2 s under the fast allocators where README's tables were made;
--scale multiplies them.
"""

import dataclasses

import measure
import real


@dataclasses.dataclass(frozen=True)
class Synthetic:
    """One of the workloads of the program `workload` (bench/workloads)."""

    name: str
    arguments: str  # of the program, but for how often
    repeated: str  # the parameter that says how often
    count: int
    pinned: bool = False

    needs = ()

    def prepare(self, place):
        pass

    def samples(self, place):
        """Commands that end at once, of every program that must get the right malloc."""
        return [([place.launcher.parent / "workload", "allocator"], None)]

    def environment(self, allocator, options):
        return allocator.environment(options)

    def run(self, place, environment):
        command = [place.launcher.parent / "workload", *self.arguments.split(),
                   f"{self.repeated}={place.times(self.count)}"]
        usage, _ = measure.run(place, command, environment, pinned=self.pinned)
        return usage


def _one_thread(name, arguments, repeated, count):
    return Synthetic(name, arguments, repeated, count, pinned=True)


ONE_THREAD = (
    _one_thread("pair/16", "pair size=16", "pairs", 80_000_000),
    _one_thread("pair/64", "pair size=64", "pairs", 80_000_000),
    _one_thread("pair/256", "pair size=256", "pairs", 80_000_000),
    _one_thread("pair/1024", "pair size=1024", "pairs", 80_000_000),
    _one_thread("batch/lifo", "batch order=lifo", "batches", 150_000),
    _one_thread("batch/fifo", "batch order=fifo", "batches", 150_000),
    _one_thread("batch/random", "batch order=random", "batches", 150_000),
    _one_thread("ring/4096", "ring live=4096", "operations", 30_000_000),
    _one_thread("ring/200000", "ring live=200000", "operations", 6_000_000),
    _one_thread("calloc/64", "calloc size=64", "operations", 25_000_000),
    _one_thread("calloc/64K", "calloc size=65536", "operations", 150_000),
    _one_thread("calloc/1M", "calloc size=1048576", "operations", 7_000),
    _one_thread("realloc/double", "realloc growth=double", "repeats", 40),
    _one_thread("realloc/step", "realloc growth=step largest=2097152", "repeats", 50),
    _one_thread("large", "large", "operations", 700),
    _one_thread("aligned", "aligned", "operations", 10_000_000),
    _one_thread("bursts", "bursts", "bursts", 60),
    _one_thread("spawn", "spawn", "processes", 300),
)

THREADS = (
    Synthetic("larson/2", "larson threads=2", "generations", 200),
    Synthetic("larson/8", "larson threads=8", "generations", 40),
    Synthetic("larson/64", "larson threads=64", "generations", 5),
    Synthetic("xmalloc/1:1", "xmalloc producers=1 consumers=1", "batches", 80_000),
    Synthetic("xmalloc/3:1", "xmalloc producers=3 consumers=1", "batches", 80_000),
    Synthetic("xmalloc/1:3", "xmalloc producers=1 consumers=3", "batches", 80_000),
    Synthetic("threadtest/2", "threadtest threads=2", "iterations", 700),
    Synthetic("threadtest/8", "threadtest threads=8", "iterations", 700),
    Synthetic("cache-scratch", "cache-scratch", "iterations", 1_500_000),
    Synthetic("cache-thrash", "cache-thrash", "iterations", 1_500_000),
    Synthetic("short-threads", "short-threads", "threads", 20_000),
    Synthetic("phases/2", "phases threads=2 operations=100000", "phases", 60),
    Synthetic("phases/8", "phases threads=8 operations=25000", "phases", 60),
    Synthetic("phases/64", "phases threads=64 operations=3000", "phases", 40),
    Synthetic("requests/2", "requests threads=2 items=100000", "requests", 3_000_000),
    Synthetic("requests/8", "requests threads=8 items=100000", "requests", 3_000_000),
    Synthetic("requests/64", "requests threads=64 items=100000", "requests", 3_000_000),
)

GROUPS = {"one thread": ONE_THREAD, "threads": THREADS, "programs": real.PROGRAMS}
WORKLOADS = tuple(workload for group in GROUPS.values() for workload in group)


def select(patterns):
    """The workloads whose name is one of `patterns` or starts with one up to a slash, or all."""
    if not patterns:
        return WORKLOADS
    chosen = {pattern: [w for w in WORKLOADS if f"{w.name}/".startswith(f"{pattern}/")]
              for pattern in patterns}
    unknown = [pattern for pattern, found in chosen.items() if not found]
    if unknown:
        raise SystemExit(f"no such workload: {', '.join(unknown)}; there are "
                         + ", ".join(w.name for w in WORKLOADS))
    return tuple(w for w in WORKLOADS if any(w in found for found in chosen.values()))
