"""run_test.py BUILD: the smallest bench/run writes what it should, and says what is broken."""

import sys

sys.dont_write_bytecode = True

import csv
import os
import pathlib
import subprocess
import tempfile
import xml.etree.ElementTree

HERE = pathlib.Path(__file__).resolve().parent
WORKLOADS, ALLOCATORS, ROUNDS = ("pair/16", "calloc/64"), ("glibc", "numaheap"), 2


def expect(true, message):
    if not true:
        sys.exit(f"FAILED: {message}")


def bench(build, results, *more, **environment):
    """Runs it. Returns its status, what it printed, and the rows it wrote."""
    answer = subprocess.run(
        [sys.executable, HERE / "run", "--build", build, "--workloads", ",".join(WORKLOADS),
         "--allocators", ",".join(ALLOCATORS), "--rounds", str(ROUNDS), "--scale", "0.002",
         "--results", results, *more], env=os.environ | environment, stdout=subprocess.PIPE,
        text=True, check=False)
    with open(f"{results}/suite.csv", newline="") as file:
        return answer.returncode, answer.stdout, list(csv.DictReader(file))


def check_sound(build, results):
    status, text, rows = bench(build, results)
    expect(status == 0, f"status {status}")
    wanted = [(str(number), workload, allocator) for number in range(1, ROUNDS + 1)
              for workload in WORKLOADS
              for allocator in (ALLOCATORS if number % 2 else ALLOCATORS[::-1])]
    expect([(r["round"], r["workload"], r["allocator"]) for r in rows] == wanted,
           "the runs are not those asked for, the order rotated")
    for row in rows:
        expect(not row["broken"] and 0 < float(row["seconds"]) < 60, f"broken or no time: {row}")
        # Far more would be the peak of who started it.
        expect(500 < int(row["peak_kib"]) < 8000, f"no peak that a small program has: {row}")
        expect(int(row["minor_faults"]) > 0, f"no page faults: {row}")
    saved = pathlib.Path(results, "suite.md").read_text()
    for part in ("| numaheap", "machine: ", "cache mode", *WORKLOADS):
        expect(part in text and part in saved, f"the report lacks {part!r}")
    # Two workloads, two measures, numaheap against its only peer.
    picture = xml.etree.ElementTree.parse(f"{results}/suite.svg")
    dots = picture.findall(".//{http://www.w3.org/2000/svg}circle")
    expect(len(dots) == len(ALLOCATORS) * (1 + 2 * len(WORKLOADS)), f"{len(dots)} dots")


def check_broken(build, results):
    for fault, complaint in (("dirty", "isn't zero"), ("endless", "was killed after 3 s")):
        status, text, rows = bench(build, results, "--library", f"{build}/bench/faulty_malloc.so",
                                   "--timeout", "3", FAULT=fault)
        expect(status == 1, f"status {status} though calloc is broken")
        broken = [row for row in rows if row["broken"]]
        expect([(r["workload"], r["allocator"]) for r in broken] == [("calloc/64", "numaheap")],
               f"broken is {broken}")
        expect(complaint in broken[0]["broken"], f"not {complaint}: {broken[0]}")
        expect("calloc/64 under numaheap, round 1" in text, "the report hides what is broken")


def check_preload(build, results):
    """A library without malloc, as numaheap's own plugins are: the programs go on with glibc."""
    status, _, rows = bench(build, results, "--library", f"{build}/libnumaheap-toml.so")
    expect(status == 1, f"status {status} though numaheap was not measured")
    for row in rows:
        expect(bool(row["broken"]) == (row["allocator"] == "numaheap"), f"glibc's figures: {row}")


def main():
    for check in (check_sound, check_broken, check_preload):
        with tempfile.TemporaryDirectory() as results:
            check(sys.argv[1], results)


main()
