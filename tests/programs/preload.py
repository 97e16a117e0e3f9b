"""Runs programs under libnumaheap.so, the library that NUMAHEAP_LIB names, for the tests here.

The test itself, this Python, runs without it. NUMAHEAP_OPTIONS passes through to the programs.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager

LIBRARY = os.environ["NUMAHEAP_LIB"]


def expect(true, message):
    if not true:
        sys.exit(f"FAILED: {message}")


def expect_equal(actual, expected, what):
    expect(actual == expected, f"{what}: is {actual!r:.300}, should be {expected!r:.300}")


def environment(**more):
    """The environment that puts a program on numaheap."""
    return os.environ | {"LD_PRELOAD": LIBRARY} | more


def mapped_files(pid):
    with open(f"/proc/{pid}/maps") as maps:
        return {line.split(maxsplit=5)[5].strip() for line in maps if line.count("/")}


def run(*command, preload=True, stdin=b"", env=None):
    """Runs a program to its successful end. Returns its stdout; stderr goes to the test's log."""
    result = subprocess.run(
        command, env=environment(**(env or {})) if preload else os.environ | (env or {}),
        input=stdin, stdout=subprocess.PIPE)
    if result.returncode != 0:
        sys.stdout.buffer.write(result.stdout[-20000:] + b"\n")
    expect(result.returncode == 0, f"{command[0]} ended with status {result.returncode}")
    return result.stdout


def wait_until(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        expect(time.monotonic() < deadline, f"timed out: {what}")
        time.sleep(0.01)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def accepts(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def server(*command, port):
    """A server under numaheap that listens on `port` of loopback; it dies with the test.

    At the end it gets SIGTERM and must exit with status 0.
    """
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "env", f"LD_PRELOAD={LIBRARY}", *command],
        stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: process.poll() is not None or accepts(port), f"{command[0]} listens")
        expect(process.poll() is None, f"{command[0]} ended with status {process.returncode}")
        expect(os.path.realpath(LIBRARY) in mapped_files(process.pid),
               f"{command[0]} runs without {LIBRARY}")
        yield process
        process.terminate()
        expect_equal(process.wait(60), 0, f"exit status of {command[0]}")
    finally:
        process.kill()
        process.wait()


def scratch():
    """A temporary directory; a context manager."""
    return tempfile.TemporaryDirectory(prefix="numaheap-test-")


# The loader only warns about a library that it can't preload, and every test would pass.
expect(f" {os.path.realpath(LIBRARY)}" in run("cat", "/proc/self/maps").decode(),
       f"{LIBRARY} can't be preloaded")
