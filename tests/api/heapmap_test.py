"""`numaheap heapmap` sees in a process at rest what numaheap_walk sees there, however it got its
numaheap, and of one in motion something that is whole; what can't be read is told, with a remedy."""

import csv
import os
import shutil
import signal
import subprocess

from preload import LIBRARY, expect, expect_equal, scratch, wait_until
from subject import PATH, STATIC_PATH, TWO_NODES, Subject

COMMAND = os.environ["NUMAHEAP_COMMAND"]
AT_REST = "scavenger.start_at=1024TiB"
NOBODY = 65534


def heapmap(*arguments, prefix=(), **more):
    """The finished process: status, stdout, stderr."""
    return subprocess.run((*prefix, COMMAND, "heapmap", *map(str, arguments)), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, **more)


def output(*arguments, **more):
    done = heapmap(*arguments, **more)
    expect_equal((done.returncode, done.stderr), (0, ""), f"status and stderr of {arguments}")
    return done.stdout


def expect_error(done, status, *texts):
    expect_equal((done.returncode, done.stdout), (status, ""), f"status and stdout ({done.stderr})")
    for text in texts:
        expect(text in done.stderr, f"{text!r} is not in {done.stderr!r}")
    expect_equal(done.stderr.startswith("numaheap heapmap: "), True, done.stderr)


def rows(text):
    return list(csv.DictReader(text.splitlines()))


def expect_whole(text):
    """Each heap is its range, without a gap. Returns {node: committed bytes}."""
    committed, behind = {}, {}
    for row in rows(text):
        node, start, size = row["node"], int(row["start"], 16), int(row["bytes"])
        expect(behind.get(node, start) == start, f"a gap or an overlap at {row}")
        behind[node] = start + size
        expect(0 <= int(row["released_bytes"]) <= size, row)
        expect(0 <= int(row["live_objects"]) <= int(row["objects"]), row)
        committed[node] = committed.get(node, 0) + size * (row["state"] != "reserved")
    return committed


def expect_same_as_walk(subject):
    with scratch() as directory:
        subject.tell(f"walk {directory}/walk")
        seen = output(subject.pid, "--csv")
        with open(f"{directory}/walk") as file:
            walk = file.read()
    expect_whole(seen)
    for ours, theirs in zip(walk.splitlines(), seen.splitlines()):
        expect_equal(theirs, ours, "a line of --csv")
    expect_equal(seen, walk, "--csv")
    return rows(seen)


def test_at_rest(path):
    with Subject(AT_REST, command=(path,)) as subject:
        expect_same_as_walk(subject)
        subject.tell("small 40 0")
        subject.tell("large 30 0")
        subject.tell("interleaved 5")
        full = expect_same_as_walk(subject)
        blocks = [row for row in full if row["node"] == "interleaved" and row["state"] == "large"]
        expect_equal(sum(int(row["bytes"]) for row in blocks), 5 << 20, "interleaved blocks")
        expect(sum(int(row["live_objects"]) * int(row["object_size"]) for row in full)
               > 75 << 20, "what lives is less than what was allocated")
        subject.tell("free 0")
        freed = expect_same_as_walk(subject)
        expect(any(row["state"] == "idle" for row in freed), "nothing is idle")
        subject.tell("count 1000 100")
        expect_same_as_walk(subject)
        # The pictures of it.
        text = output(subject.pid)
        expect("\033" not in text, "colours without a terminal")
        expect("interleaved" in text and "node 0: in use" in text, text)
        expect("\033[" in output(subject.pid, "--color", "always"), "no colours")
        for node in ("0", "interleaved"):
            one = output(subject.pid, "--node", node)
            expect(f"node {node}: in use" in one and one.count("in use") == 1, one)
        with scratch() as directory:
            output(subject.pid, "--svg", f"{directory}/heap.svg")
            with open(f"{directory}/heap.svg") as file:
                svg = file.read()
        expect(svg.startswith("<svg") and svg.endswith("</svg>\n"), svg[:100])
        expect(svg == output(subject.pid, "--svg", "-"), "--svg - is another picture")
        if TWO_NODES and path == PATH:  # the static one finds no plugin where it lies
            expect("node 1: in use" in text, text)
        missing = heapmap(subject.pid, "--node", "77")
        expect_error(missing, 1, "has no heap of node 77")


def test_stripped():
    """Without symbols it is found by its magic number."""
    with scratch() as directory:
        shutil.copy(STATIC_PATH, f"{directory}/subject")
        subprocess.run(["strip", f"{directory}/subject"], check=True)
        with Subject(AT_REST, command=(f"{directory}/subject",)) as subject:
            subject.tell("small 5")
            expect_same_as_walk(subject)


def test_preloaded():
    """Under a library that is deleted, too, and replaced by something else."""
    with scratch() as directory:
        library = f"{directory}/libnumaheap.so"
        shutil.copy(LIBRARY, library)
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              env=os.environ | {"LD_PRELOAD": library}) as cat:
            cat.stdin.write(b"x")
            cat.stdin.flush()
            expect_equal(cat.stdout.read(1), b"x", "what cat copies")
            seen = output(cat.pid, "--csv")
            expect(max(expect_whole(seen).values()) > 0, "nothing is committed")
            os.unlink(library)
            expect_equal(output(cat.pid, "--csv"), seen, "--csv once the library is deleted")
            with open(library, "w") as other:
                other.write("something else")
            expect_equal(output(cat.pid, "--csv"), seen, "--csv once the library is replaced")
            cat.stdin.close()


def test_churn():
    with Subject() as subject:
        subject.tell("small 20")
        subject.tell("churn")
        for _ in range(100):
            expect_whole(output(subject.pid, "--csv"))
        for _ in range(5):
            expect("node 0: in use" in output(subject.pid), "no heap of node 0")


def test_end_meanwhile():
    """Whatever moment it ends at."""
    for delay in range(20):
        with subprocess.Popen([PATH], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as subject:
            subject.stdin.write(b"small 20\n")
            subject.stdin.flush()
            subject.stdout.readline()
            with subprocess.Popen([COMMAND, "heapmap", str(subject.pid), "--csv"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as reader:
                for _ in range(delay * 1000):
                    pass
                subject.kill()
                subject.wait()
                errors = reader.stderr.read().decode()
                expect(reader.wait(60) in (0, 1), f"status {reader.returncode}: {errors}")
                expect(reader.returncode == 0 or "has ended" in errors or "no process" in errors,
                       errors)


def test_errors():
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        wait_until(lambda: os.readlink(f"/proc/{other.pid}/exe").endswith("cat"), "cat starts")
        expect_error(heapmap(other.pid), 1, f"process {other.pid} (cat) does not use numaheap",
                     "LD_PRELOAD=libnumaheap.so")
        # A process that is waited for afterwards has ended, but is there.
        other.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        expect_error(heapmap(other.pid), 1, "has ended")
    expect_error(heapmap(other.pid), 1, f"there is no process {other.pid}")
    with open("/proc/sys/kernel/pid_max") as limit:
        expect_error(heapmap(limit.read().strip()), 1, "there is no process")
    for arguments, text in (((), "which process"), (("x",), "by its number"), (("0",), "number"),
                            (("-5",), "unknown option"), (("1", "2"), "one process"),
                            (("1", "--node"), "needs a value"), (("1", "--node", "-3"), "--node"),
                            (("1", "--color", "pink"), "--color"),
                            (("1", "--csv", "--svg", "x"), "either"),
                            (("99999999999",), "number")):
        expect_error(heapmap(*arguments), 2, text, "--help")
    expect("SYNOPSIS" in output("--help"), "no help")
    done = subprocess.run([COMMAND], stderr=subprocess.PIPE, text=True)
    expect(done.returncode == 2 and "heapmap" in done.stderr, done.stderr)
    done = subprocess.run([COMMAND, "help-me"], stderr=subprocess.PIPE, text=True)
    expect(done.returncode == 2 and "unknown subcommand" in done.stderr, done.stderr)
    listed = subprocess.run([COMMAND, "--help"], stdout=subprocess.PIPE, text=True, check=True)
    expect("heapmap" in listed.stdout, listed.stdout)
    with Subject(AT_REST) as subject:
        expect_error(heapmap(subject.pid, "--svg", "/nowhere/heap.svg"), 1, "can't write")


def as_nobody(*command):
    return ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command)


def test_users():
    """Another user's process is refused; one's own needs no root."""
    if os.getuid() != 0 or subprocess.run(as_nobody(COMMAND, "--version"),
                                          stdout=subprocess.DEVNULL).returncode != 0:
        print("not tried: two users")
        return
    with Subject(AT_REST) as subject:
        expect_error(heapmap(subject.pid, prefix=as_nobody()), 1, "may not be read",
                     "same user", "SYS_PTRACE")
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope") as scope:
            if int(scope.read()) != 0:
                return
    except FileNotFoundError:
        pass
    with Subject(AT_REST, command=as_nobody(PATH)) as subject:
        subject.tell("small 5")
        expect_whole(output(subject.pid, "--csv", prefix=as_nobody()))


for path in (PATH, STATIC_PATH):
    test_at_rest(path)
test_stripped()
test_preloaded()
test_churn()
test_end_meanwhile()
test_errors()
test_users()
