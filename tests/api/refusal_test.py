"""The kernel refuses a system call, the Nth since the heap was opened or all from the Nth on: the
program runs on with what it has, and never dies or hangs."""

import re
import shutil
import subprocess
import tempfile

from preload import expect
from subject import PATH, skip

INPUT = """count 1000 100
small 8
large 8
free
large 40
count 100 1000
free
snapshot
"""
# What is refused, and why.
CALLS = {
    "mprotect": "ENOMEM",
    "mmap": "ENOMEM",
    "madvise": "EINVAL",
    "membarrier": "EPERM",
    "openat": "EMFILE",
    "clone3": "EAGAIN",
}
RESERVATION = re.compile(r"mmap\((0x|NULL).*PROT_NONE, .*MAP_NORESERVE")


def traced(*arguments):
    """Runs the subject under strace; returns its status, stdout and stderr, and the trace's lines."""
    with tempfile.NamedTemporaryFile("r") as trace:
        done = subprocess.run(
            ["strace", "-f", "--seccomp-bpf", "-qq", "-o", trace.name, *arguments, PATH],
            input=INPUT, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr, trace.read().splitlines()


def calls_of_heap():
    """For each call, the numbers of the first and the last one since the heap was opened: those
    before are the loader's, who has no use for a refusal."""
    status, out, err, lines = traced("-e", "trace=" + ",".join(CALLS))
    expect(status == 0 and "refused" not in out, f"unharmed: status {status}, {out!r}, {err!r}")
    opened = next(i for i, line in enumerate(lines) if RESERVATION.search(line))

    def count(call, among):
        return sum(re.search(rf"\b{call}\(", line) is not None for line in among)

    return {call: (count(call, lines[:opened]) + 1, count(call, lines)) for call in CALLS}


def check(call, first, last):
    harmed = 0
    for number in range(first, last + 1):
        for when in (str(number), f"{number}+"):
            status, out, err, _ = traced("-e", f"trace={call}", "-e",
                                         f"inject={call}:error={CALLS[call]}:when={when}")
            what = f"{call} fails {when}: status {status}, {out!r:.300}, {err!r:.300}"
            expect(status == 0, what)
            lines = out.splitlines()
            expect(len(lines) == INPUT.count("\n"), what)
            for line in lines:
                expect(line == "" or line.startswith(("refused: ", "node_count=")), what)
            harmed += "refused: " in out
    print(f"{call}: refused {first} to {last}, {harmed} runs did not get all memory")


def main():
    if shutil.which("strace") is None:
        skip("needs strace")
    for call, (first, last) in calls_of_heap().items():
        check(call, first, last)


main()
