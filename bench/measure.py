"""Runs one program under one allocator, and says what it took and what disturbed it."""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import machine

SECONDS_UNTIL_READY = 30
SECONDS_TO_STOP = 10

# A run counts as disturbed when others had more of its CPUs than this. The kernel counts both in
# ticks of 10 ms.
LOST_SECONDS_ALWAYS, MOST_LOST_SHARE = 0.03, 0.05


class Broken(Exception):
    """A program that did not do its work under an allocator."""


@dataclasses.dataclass
class Usage:
    """What a run took. For a server: the seconds are its load's, all else is the server's."""

    seconds: float
    user_seconds: float
    system_seconds: float
    peak_kib: int
    minor_faults: int
    major_faults: int
    voluntary_switches: int
    involuntary_switches: int

    def cpu_seconds(self):
        return self.user_seconds + self.system_seconds


class Process:
    """A program that runs under bench/launch."""

    def __init__(self, place, command, environment, cpus, *, user=None, stdin=None, out=None,
                 cwd=None):
        self._seconds = place.seconds_until_hung
        self._err = tempfile.TemporaryFile("w+", errors="replace")
        report, write_end = os.pipe()
        options = ["--cpus", ",".join(map(str, sorted(cpus))), "--report", str(write_end),
                   "--seconds", str(self._seconds)]
        if user:
            options += ["--user", user]
        self.name = os.path.basename(str(command[0]))
        self._launch = subprocess.Popen(
            [place.launcher, *options, *command], env=environment, stdin=stdin or subprocess.DEVNULL,
            stdout=out or subprocess.DEVNULL, stderr=self._err, cwd=cwd, pass_fds=[write_end])
        os.close(write_end)
        self._report = open(report)
        first = self._report.readline()
        if not first.startswith("pid "):
            self._launch.wait()
            raise Broken(f"{self.name} can't be started: {self._complaint()}")
        self.pid = int(first.split()[1])

    def stop(self):
        """Ends a server as Ctrl-C would. Returns its usage."""
        os.kill(self.pid, signal.SIGINT)
        return self.finish()

    def running(self):
        # Not poll(): launch ends a moment after the program.
        return self._launch.poll() is None

    def status(self, field):
        """A size from /proc/PID/status, KiB."""
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1])
        raise Broken(f"{self.name} has no {field}: it has ended")

    def finish(self):
        """Waits for the program. Raises Broken unless it ended with status 0 and in time."""
        line = self._report.readline()
        self._report.close()
        self._launch.wait()
        if not line:
            raise Broken(f"{self.name}: launch ended with status {self._launch.returncode}")
        report = json.loads(line)
        status, hung = report.pop("status"), report.pop("hung")
        if hung:
            raise Broken(f"{self.name} was killed after {self._seconds} s")
        if status != 0:
            raise Broken(f"{self.name} ended with status {status}: {self._complaint()}")
        # The loader only warns about a library it can't preload, and goes on with glibc.
        if "cannot be preloaded" in self._errors():
            raise Broken(f"{self.name}: {self._complaint()}")
        return Usage(**report)

    def interrupt(self):
        """Lets a server that still runs put away what it shares with others."""
        if self.running():
            os.kill(self.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._launch.wait(SECONDS_TO_STOP)

    def kill(self):
        if self.running():
            self._launch.send_signal(signal.SIGTERM)  # it kills the program and what that started
            self._launch.wait()

    def _errors(self):
        self._err.seek(0)
        return self._err.read()

    def _complaint(self):
        return (self._errors().strip().splitlines() or ["no message"])[-1][:200]


@dataclasses.dataclass
class Place:
    """Where and how a run happens: the same for all allocators."""

    launcher: pathlib.Path
    cpus: set  # all that may be used
    prepared: pathlib.Path  # what all runs use
    scratch: pathlib.Path  # this run's own
    scale: float  # of the work, 1 is a full run
    seconds_until_hung: int = 120

    def one_cpu(self):
        return {max(self.cpus)}

    def other_cpus(self):
        """Those beside one_cpu(); the same if there is no other."""
        return self.cpus - self.one_cpu() or self.cpus

    def times(self, count):
        """The scaled count of whatever is repeated."""
        return max(1, round(count * self.scale))


def run(place, command, environment, *, pinned=False, stdin=None, **more):
    """Runs a program to its end. Returns its usage and what it printed."""
    with tempfile.TemporaryFile("w+", errors="replace") as out:
        process = Process(place, command, environment,
                          place.one_cpu() if pinned else place.cpus, stdin=stdin, out=out, **more)
        try:
            usage = process.finish()
        finally:
            process.kill()
        out.seek(0)
        return usage, out.read()


@contextlib.contextmanager
def server(place, command, environment, is_ready, cpus, **more):
    """A server that is ready. It is ended here unless stop() has done so."""
    process = Process(place, command, environment, cpus, **more)
    try:
        deadline = time.monotonic() + SECONDS_UNTIL_READY
        while not is_ready():
            if not process.running():
                process.finish()
                raise Broken(f"{process.name} ended at once")
            if time.monotonic() > deadline:
                raise Broken(f"{process.name} isn't ready after {SECONDS_UNTIL_READY} s")
            time.sleep(0.01)
        yield process
    finally:
        process.interrupt()
        process.kill()


class Surroundings:
    """What the CPUs did besides the run, from here until lost()."""

    def __init__(self, cpus):
        self._cpus = cpus
        self._start = time.monotonic()
        self._stolen = machine.stolen_seconds(cpus)
        self._busy = machine.busy_seconds(cpus)

    def lost(self, own_cpu_seconds):
        """Seconds the hypervisor took, seconds other programs took, and whether that is much."""
        seconds = time.monotonic() - self._start
        stolen = machine.stolen_seconds(self._cpus) - self._stolen
        others = max(0.0, machine.busy_seconds(self._cpus) - self._busy - own_cpu_seconds)
        most = LOST_SECONDS_ALWAYS + MOST_LOST_SHARE * seconds * len(self._cpus)
        return stolen, others, stolen > most or others > most


_BINDING = re.compile(r"binding file (\S+) .* to (\S+) .*: normal symbol `(?:malloc|free)'")


def check_malloc(place, command, environment, path, user=None):
    """Raises Broken unless every malloc and free of a program would be those of the library `path`
    (None: glibc's), as the loader says that it resolved them. The command must end by itself."""
    with tempfile.TemporaryDirectory(dir=place.scratch) as directory:
        os.chmod(directory, 0o777)
        traced = environment | {"LD_DEBUG": "bindings", "LD_BIND_NOW": "1",
                                "LD_DEBUG_OUTPUT": f"{directory}/bindings"}
        process = Process(place, command, traced, place.cpus, user=user)
        process.finish()
        trace = pathlib.Path(f"{directory}/bindings.{process.pid}").read_text(errors="replace")
    own = os.path.realpath(path) if path else None
    bound = [(os.path.realpath(by), os.path.realpath(to)) for by, to in _BINDING.findall(trace)]
    program = os.path.realpath(shutil.which(command[0]))
    # What the allocator itself looks up, to get at glibc's, is its own business. And a program that
    # takes malloc's address lends its own jump to malloc to its libraries.
    lends = any(by == program for by, _ in bound)
    found = {to for by, to in bound if by != own and not (lends and to == program)}
    wrong = {to for to in found if to != own and (own or not _is_glibc(to))}
    if wrong or not found:
        raise Broken(f"malloc of {command[0]} comes from {', '.join(wrong) or 'nowhere'}")


def _is_glibc(path):
    return os.path.basename(path).startswith(("libc.so", "libc-"))


def progress(text):
    print(text, file=sys.stderr, flush=True)
