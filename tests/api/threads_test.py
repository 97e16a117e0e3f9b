"""Background threads start late: not in a small program, one per heap that has grown, and never so
that the loader's lock is in the way."""

import os

from preload import expect, expect_equal, wait_until
from subject import CPUS, TWO_NODES, Subject, thread_names

PLUGIN = os.environ["NUMAHEAP_GROWING_PLUGIN"]


def expect_threads(subject, names):
    """A thread gives itself its name, a moment after it has started."""
    wait_until(lambda: all(n.startswith("numaheap/") for n in thread_names(subject.pid)),
               "threads have names", 20)
    expect_equal(thread_names(subject.pid), names, "threads")


def check_small_program():
    with Subject() as subject:
        expect_threads(subject, [])
        for _ in range(20):
            subject.tell("small 4")
            subject.tell("large 8")
            subject.tell("free")
        expect_threads(subject, [])


def check_grown_heaps():
    with Subject() as subject:
        expected = []
        for cpu in CPUS[:2]:
            subject.tell(f"small 48 {cpu}")
            grown = sorted(f"numaheap/{node}" for node in subject.nodes_with_memory())
            expect(len(grown) >= len(expected), f"{grown} after {expected}")
            expected = grown
            expect_threads(subject, expected)
        expect_equal(len(expected), min(2, len(CPUS)) if TWO_NODES else 1, "number of threads")
        subject.tell("free")
        subject.tell("large 200")
        expect_threads(subject, expected)


def check_threshold():
    with Subject("scavenger.start_at=200MiB") as subject:
        subject.tell(f"large 100 {CPUS[0]}")
        expect_threads(subject, [])
        subject.tell(f"large 150 {CPUS[0]}")
        expect_equal(len(thread_names(subject.pid)), 1, "number of threads")
    with Subject("scavenger.start_at=0") as subject:
        subject.tell(f"count 1 1000000 {CPUS[0]}")
        expect_equal(len(thread_names(subject.pid)), 1, "number of threads")


def check_constructor():
    """The heap grows, and its thread starts, while the loader's lock is held."""
    for options in ("", "scavenger.start_at=0", "metrics.listen=127.0.0.1:0"):
        with Subject(options) as subject:
            subject.tell(f"load {PLUGIN}")
            wait_until(lambda: thread_names(subject.pid), "a thread", 20)
            subject.tell("small 10")
            if "listen" in options:
                wait_until(lambda: subject.snapshot()["metrics_address"], "metrics are served", 20)
            subject.tell("free")


check_small_program()
check_grown_heaps()
check_threshold()
check_constructor()
