"""Settings of a whole process: mistakes are reported with file, line, column and what would be right,
and the program runs on; on_error = "abort" stops it; the environment wins over the file."""

import os
import signal
import subprocess

from preload import expect, expect_equal, scratch
from subject import PATH, Subject

RSEQ_OR_AUTO, LOCKED = 1, 2  # NUMAHEAP_CACHE_…


def ended(config, options=""):
    """Status and lines of stderr of the program, without input, with such settings."""
    done = subprocess.run(
        [PATH], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        env=os.environ | {"NUMAHEAP_CONFIG": config, "NUMAHEAP_OPTIONS": options})
    return done.returncode, done.stderr.splitlines()


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def check_mistakes(path):
    for text, place, words in (
            ('[cache]\nmod = "locked"\n', "2:1", ('"cache.mod"', '"cache.mode"')),
            ('[scavanger]\nidle_after = "1s"\n', "2:1",
             ('"scavanger.idle_after"', '"scavenger.idle_after"')),
            ('cache.mode = 1\n', "1:14", ("cache.mode", "an integer", "auto, rseq, locked")),
            ('[cache]\n  mode = "fast"\n', "2:10", ('"fast"', "auto, rseq, locked", '"auto"')),
            ('[scavenger]\nidle_after = 10\n', "2:14", ("no unit", '"10s"')),
            ('[scavenger]\nidle_after = "1ms"\n', "2:14", ("out of range", "10ms to 24h")),
            ('[cache]\nbytes_per_cpu = "1 GiB"\n', "2:17", ("out of range", "64 KiB to 256 MiB")),
            ('[cache\nmode = "locked"\n', "1:7", ("nothing in this file is used",)),
            ('[cache]\nmode = \n', "2:8", ("nothing in this file is used",))):
        write(path, text)
        status, lines = ended(path)
        expect_equal(status, 0, f"status with {text!r}")
        expect_equal(len(lines), 1, f"lines on stderr with {text!r} ({lines})")
        expect(lines[0].startswith(f"numaheap: {path}:{place}: "), f"{text!r} gives {lines[0]!r}")
        for word in words:
            expect(word in lines[0], f"no {word!r} in {lines[0]!r}")


def check_every_mistake_is_told(path):
    write(path, 'on_eror = "abort"\n[cache]\nmode = "slow"\nbytes_per_cpu = "4 MiB"\n')
    status, lines = ended(path, "cache.mod=locked,scavenger.idle_after=5")
    expect_equal(status, 0, "status")
    places = [line.split(": ")[1] for line in lines]
    expect_equal(places, [f"{path}:1:1", f"{path}:3:8", "NUMAHEAP_OPTIONS:1:1",
                          "NUMAHEAP_OPTIONS:1:39"], "places of the mistakes")


def check_missing_file(path):
    missing = path + ".missing"
    status, lines = ended(missing)
    expect_equal(status, 0, "status without the file")
    expect_equal(len(lines), 1, "lines on stderr without the file")
    expect(lines[0].startswith(f"numaheap: {missing}:1:1: ") and "No such file" in lines[0],
           lines[0])
    # A directory can be opened and not read.
    status, lines = ended(os.path.dirname(path))
    expect_equal((status, len(lines)), (0, 1), "a directory as the file")


def check_abort(path):
    write(path, 'on_error = "abort"\n[cache]\nmod = "locked"\n')
    status, lines = ended(path)
    expect_equal(status, -signal.SIGABRT, "status with on_error = \"abort\"")
    expect_equal(len(lines), 2, f"lines on stderr ({lines})")
    expect(lines[0].startswith(f"numaheap: {path}:3:1: "), lines[0])
    expect("on_error" in lines[1], lines[1])
    # Without a mistake there is nothing to stop for, and the environment may say otherwise.
    expect_equal(ended(path, "on_error=continue")[0], 0, "status with on_error=continue")
    write(path, 'on_error = "abort"\n[cache]\nmode = "locked"\n')
    expect_equal(ended(path), (0, []), "on_error = \"abort\" without a mistake")
    expect_equal(ended(path, "topology.synthetic=nonsense")[0], -signal.SIGABRT,
                 "status with a topology that is none")


def check_environment_wins(path):
    write(path, '[cache]\nmode = "locked"\n')
    for options, mode in (("", LOCKED), ("cache.mode=auto", RSEQ_OR_AUTO),
                          ("cache.bytes_per_cpu=1MiB", LOCKED)):
        with Subject(options, NUMAHEAP_CONFIG=path) as subject:
            expect_equal(subject.snapshot()["cache_mode"], mode, f"cache mode with {options!r}")
        expect_equal(subject.stderr(), "", "stderr")


def check_values_are_obeyed(path):
    write(path, '[topology]\nsynthetic = "numa:2 pu:1"\n[cache]\nmode = "locked"\n')
    with Subject(NUMAHEAP_CONFIG=path) as subject:
        snapshot = subject.snapshot()
    expect_equal((snapshot["node_count"], snapshot["cache_mode"]), (2, LOCKED), "nodes and mode")


def main():
    with scratch() as directory:
        path = os.path.join(directory, "numaheap.toml")
        check_mistakes(path)
        check_every_mistake_is_told(path)
        check_missing_file(path)
        check_abort(path)
        check_environment_wins(path)
        check_values_are_obeyed(path)


main()
