"""./run: runs any program on numaheap, and shows what redis-server's heaps look like."""

import os
import re
import signal
import subprocess
import sys

from preload import LIBRARY, expect, expect_equal

RUN = sys.argv[2]


def call(*args, **more):
    """./run with these arguments, without the preload. Returns (status, stdout, stderr)."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("NUMAHEAP")}
    done = subprocess.run([RUN, *args], env=env, capture_output=True, text=True, **more)
    return done.returncode, done.stdout, done.stderr


def check_programs():
    status, out, err = call("cat", "/proc/self/maps")
    expect_equal((status, err), (0, ""), "./run cat")
    expect(os.path.realpath(LIBRARY) in out, "./run cat runs without the library")
    expect_equal(call("sh", "-c", 'echo "$1"; echo no >&2; exit 7', "-", "two  words"),
                 (7, "two  words\n", "no\n"), "./run sh")
    expect_equal(call("cat", input="through"), (0, "through", ""), "./run cat with input")
    expect_equal(call("pwd", cwd="/usr"), (0, "/usr\n", ""), "./run pwd")
    expect_equal(call("--", "sh", "-c", "kill -9 $$")[0], -signal.SIGKILL, "a killed program")
    expect_equal(call("no-such-program"), (127, "", "run: no-such-program: no such program\n"),
                 "./run no-such-program")
    status, _, err = call("--no-such-option")
    expect(status == 1 and "--no-such-option" in err, "./run --no-such-option")
    status, out, _ = call("--help")
    expect(status == 0 and "--stay" in out and "PROGRAM" in out, "./run --help")


def check_demonstration():
    env = {k: v for k, v in os.environ.items() if not k.startswith("NUMAHEAP")}
    process = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", RUN, "--stay"], env=env,
                               stdout=subprocess.PIPE, text=True)
    try:
        check_table_and_end(process)
    finally:
        process.terminate()
        process.wait()


def check_table_and_end(process):
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("redis-server stays"):
            break
    out = "".join(lines)
    print(out)
    for name in ("SET", "GET", "LPUSH", "HSET", "EXPIRING"):
        expect(re.search(rf"\b[1-9]\d* {name}\b", out), f"no {name} requests")
    mib = r"\d+\.\d MiB"
    rows = re.findall(
        rf"^\d+ +(\d+) +({mib}) +{mib} +{mib} +{mib} +(?:\d+\.\d%|-) +(\d+)$", out, re.M)
    expect(len(rows) >= 2, "fewer than two nodes")
    expect(sum(int(cpus) for cpus, *_ in rows) == os.cpu_count(), "the rows' CPUs don't add up")
    expect(sum(float(in_use.split()[0]) for _, in_use, *_ in rows) > 50, "a heap too small")
    expect(sum(int(spans) for *_, spans in rows) > 100, "too few spans")
    expect(re.search(r"^cache mode +(rseq|locked)$", out, re.M), "no cache mode")
    expect(re.search(r"^placement +\w+$", out, re.M), "no placement mode")

    address = re.search(r"^metrics +(http://127.0.0.1:\d+/metrics)$", out, re.M)
    expect(address, "no metrics address")
    curl = ["curl", "--noproxy", "*", "-sf", address[1]]
    page = subprocess.run(curl, stdout=subprocess.PIPE, check=True).stdout
    lint = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True)
    expect_equal((lint.returncode, lint.stdout + lint.stderr), (0, b""), "promtool check metrics")

    process.send_signal(signal.SIGINT)
    expect_equal(process.wait(60), 0, "status of ./run --stay after Ctrl-C")
    gone = subprocess.run(curl, stdout=subprocess.DEVNULL).returncode
    expect_equal(gone, 7, "curl's status once redis-server is gone (7: refused)")


{"programs": check_programs, "demonstration": check_demonstration}[sys.argv[1]]()
