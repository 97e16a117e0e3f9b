"""Metrics of a whole process: the page that docs/metrics.md describes, with the numbers of a known
load; a port that is taken is told once and served when it is free; the child of a fork serves
nothing."""

import os
import re
import signal
import socket
import subprocess
import time
import urllib.request

from preload import accepts, expect, expect_equal, free_port, wait_until
from subject import MIB, TWO_NODES, Subject, thread_names

DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "metrics.md")
RETRY_SECONDS = 5


def page(port):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=30) as reply:
        return reply.read().decode()


def samples(text):
    """{(name, (label, value)…): number}"""
    result = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, labels, number = re.fullmatch(r'(\w+)(?:\{(.*)\})? (\S+)', line).groups()
            pairs = sorted(re.findall(r'(\w+)="([^"]*)"', labels or ""))
            result[(name, *pairs)] = float(number)
    return result


def documented():
    with open(DOCS) as docs:
        return dict(re.findall(r"^\| `(numaheap_\w+)` \| (\w+) \|", docs.read(), re.M))


def total(values, name, **labels):
    return sum(n for key, n in values.items()
               if key[0] == name and set(labels.items()) <= set(key[1:]))


def check_page_and_numbers():
    port = free_port()
    with Subject(f"metrics.listen=127.0.0.1:{port}") as subject:
        subject.tell("count 1 1000")
        wait_until(lambda: accepts(port), "the page is served", 30)
        text = page(port)
        lint = subprocess.run(["promtool", "check", "metrics"], input=text.encode(),
                              capture_output=True)
        expect_equal((lint.returncode, lint.stdout + lint.stderr), (0, b""), "promtool")
        types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.M))
        expect_equal(types, documented(), "metrics and their types")

        before = samples(text)
        subject.tell("count 100000 100")  # 112 bytes each
        subject.tell("count 10 1048576")
        full = samples(page(port))
        subject.tell("free")
        after = samples(page(port))
        snapshot = subject.snapshot()

    # The page is made on the same heap, so that it allocates a little too, but nothing large.
    def rise(name, first, second, **labels):
        return total(second, name, **labels) - total(first, name, **labels)

    made = rise("numaheap_allocations_total", before, full)
    expect(100010 <= made < 105000, f"{made} allocations")
    made_bytes = rise("numaheap_allocated_bytes_total", before, full)
    least = 100000 * 112 + 10 * MIB
    expect(least <= made_bytes < least + 2 * MIB, f"{made_bytes} bytes allocated")
    expect_equal(rise("numaheap_large_bytes", before, full), 10 * MIB, "large bytes")
    expect(rise("numaheap_heap_bytes", before, full, state="in_use") >= 100000 * 112 + 9 * MIB,
           "in_use does not show the load")
    freed = rise("numaheap_frees_total", full, after)
    # Frees of other nodes' objects are counted when they come home, in batches of up to 64.
    expect(100011 - 64 * os.cpu_count() <= freed < 105000, f"{freed} frees")
    expect_equal(total(after, "numaheap_large_bytes"), 0, "large bytes at the end")
    expect_equal(total(after, "numaheap_cpus"), os.cpu_count(), "CPUs")
    expect_equal(total(after, "numaheap_build_info"), 1, "build_info")
    nodes = {value for key in after for label, value in key[1:] if label == "numa_node"}
    expect_equal(len(nodes), 2 if TWO_NODES else 1, "number of nodes")
    for values in (before, full, after):
        for node in nodes:
            expect_equal(total(values, "numaheap_heap_bytes", numa_node=node),
                         total(values, "numaheap_committed_bytes", numa_node=node),
                         f"sum of the states of node {node}")
    for key, value in full.items():
        if key[0].endswith("_total"):
            expect(value >= before[key], f"{key} went back")
    modes = {"cache": {1: "rseq", 2: "locked"}[snapshot["cache_mode"]],
             "placement": "synthetic" if TWO_NODES else None}
    for label, name in modes.items():
        if name:
            expect_equal(total(after, "numaheap_mode_info", **{label: name}), 1, f"mode {name}")
    expect_equal(snapshot["metrics_address"], f"127.0.0.1:{port}", "metrics_address")
    expect_equal(subject.stderr(), "", "stderr")


def check_taken_port():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with Subject(f"metrics.listen=127.0.0.1:{port}") as subject:
            subject.tell("count 1 1000")
            wait_until(lambda: subject.stderr().count("\n") >= 1, "the taken port is told", 30)
            # Time for at least one more try, which says nothing.
            time.sleep(RETRY_SECONDS + 1)
            first = subject.stderr()
            expect_equal(first.count("\n"), 1, f"lines on stderr ({first!r})")
            expect(f"metrics.listen 127.0.0.1:{port}: Address already in use" in first, first)
            expect_equal(subject.snapshot()["metrics_address"], "", "metrics_address")
            subject.tell("small 1")  # the program goes on

            holder.close()
            wait_until(lambda: accepts(port), "the page is served once the port is free", 30)
            expect("numaheap_build_info" in page(port), "no page")
            wait_until(lambda: subject.stderr().count("\n") >= 2, "serving is told", 30)
            expect("serving now" in subject.stderr()[len(first):], subject.stderr())
            expect_equal(subject.stderr().count("\n"), 2, f"lines on stderr ({subject.stderr()!r})")


def listens(pid):
    """Whether the process has a socket that accepts connections."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue
        inodes |= set(re.findall(r"socket:\[(\d+)\]", target))
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return any(row[3] == "0A" and row[9] in inodes for row in rows)


def check_child():
    port = free_port()
    child = None
    try:
        with Subject(f"metrics.listen=127.0.0.1:{port}") as subject:
            subject.tell("count 1 1000")
            wait_until(lambda: accepts(port), "the page is served", 30)
            expect(listens(subject.pid), "the parent does not listen")
            child = int(subject.tell("fork"))
            # Its heap has grown by then.
            wait_until(lambda: thread_names(child), "the child has a thread", 30)
            expect(not listens(child), "the child listens")
            expect("numaheap_build_info" in page(port), "the parent serves no more")
        expect(not accepts(port), "somebody serves when the parent is gone")
        expect(not listens(child), "the child listens when the parent is gone")
    finally:
        if child is not None:
            os.kill(child, signal.SIGKILL)


check_page_and_numbers()
check_taken_port()
check_child()
