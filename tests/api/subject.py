"""Runs the program of subject.c, and looks at it from outside."""

import os
import subprocess
import sys
import tempfile

from preload import expect, expect_equal

PATH = os.environ["NUMAHEAP_SUBJECT"]
STATIC_PATH = os.environ["NUMAHEAP_SUBJECT_STATIC"]
VARIANT = os.environ.get("NUMAHEAP_OPTIONS", "")
TWO_NODES = "numa:2" in VARIANT
CPUS = sorted(os.sched_getaffinity(0))
MIB = 1 << 20
SKIPPED = 77  # exit status


def skip(why):
    print(f"SKIPPED: {why}")
    sys.exit(SKIPPED)


def status_kib(pid, field):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field + ":"))


def thread_names(pid):
    """Names of all threads but the first, sorted."""
    names = []
    for task in os.listdir(f"/proc/{pid}/task"):
        if task != str(pid):
            with open(f"/proc/{pid}/task/{task}/comm") as comm:
                names.append(comm.read().strip())
    return sorted(names)


class Subject:
    """The running program; a context manager, at whose end it must end with status 0."""

    def __init__(self, options="", command=(PATH,), **environment):
        """`options` are added to those of the variant."""
        both = ",".join(text for text in (VARIANT, options) if text)
        self._errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command, env=os.environ | {"NUMAHEAP_OPTIONS": both} | environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors)
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        if kind is None:
            self.process.communicate(timeout=60)
            expect_equal(self.process.returncode, 0, f"status of the subject ({self.stderr()!r})")
        else:
            self.process.kill()
            self.process.communicate()

    def stderr(self):
        """What it has written there so far."""
        return os.pread(self._errors.fileno(), 1 << 20, 0).decode()

    def tell(self, line):
        """Has it do a line; returns the answer."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer.endswith("\n"):
            expect(False, f"the subject died of {line!r}: {self.stderr()!r}")
        expect(not answer.startswith("refused"), f"{answer.strip()} ({line!r})")
        return answer[:-1]

    def snapshot(self):
        """A dict: "node_count", "0.idle_bytes"…; numbers, except "metrics_address"."""
        pairs = (pair.split("=") for pair in self.tell("snapshot").split())
        return {key: int(value) if value.lstrip("-").isdigit() else value for key, value in pairs}

    def total(self, field):
        return sum(n for key, n in self.snapshot().items() if key.endswith("." + field))

    def nodes_with_memory(self):
        return {key.split(".")[0] for key, n in self.snapshot().items()
                if key.endswith(".committed_bytes") and n >= 32 * MIB}
