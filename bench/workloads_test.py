"""workloads_test.py BUILD: each synthetic workload finds nothing wrong with glibc and numaheap, and
finds what is wrong with a preload that breaks malloc's promises."""

import sys

sys.dont_write_bytecode = True

import os
import pathlib
import tempfile

import allocators
import measure
import suite

SCALE = 0.001

# The fault of faulty_malloc, the workload that must find it, and what it must say.
FAULTS = (
    ("twice", "pair size=24", None),  # one block at a time: nothing is wrong with that
    ("twice", "threadtest size=24 threads=1", "a live block was overwritten"),
    ("scribble", "ring", "a live block was overwritten"),
    ("dirty", "calloc size=64", "calloc gave a block that isn't zero"),
    ("dirty", "calloc size=65536 operations=100", "calloc gave a block that isn't zero"),
    ("forgetful", "realloc growth=double", "realloc lost what was in the block"),
    ("forgetful", "realloc growth=step largest=65536", "realloc lost what was in the block"),
    ("crooked", "aligned", "a block isn't aligned"),
)


def main():
    build = pathlib.Path(sys.argv[1])
    library = allocators.Allocator("numaheap", "", (build / "libnumaheap.so").resolve())
    faulty = allocators.Allocator("faulty", "", build / "bench" / "faulty_malloc.so")
    with tempfile.TemporaryDirectory() as scratch:
        place = measure.Place(build / "bench" / "launch", os.sched_getaffinity(0),
                              pathlib.Path(scratch), pathlib.Path(scratch), SCALE)
        program = build / "bench" / "workload"
        for allocator in (allocators.GLIBC, library):
            measure.check_malloc(place, [program, "allocator"], allocator.environment(),
                                 allocator.path)
            for workload in suite.ONE_THREAD + suite.THREADS:
                usage = workload.run(place, allocator.environment())
                print(f"{workload.name} under {allocator.name}: {usage.seconds:.3f} s")
        for fault, arguments, complaint in FAULTS:
            try:
                measure.run(place, [program, *arguments.split()],
                            faulty.environment() | {"FAULT": fault})
                found = None
            except measure.Broken as error:
                found = str(error)
            if bool(complaint) != bool(found) or (complaint and complaint not in found):
                sys.exit(f"{fault}: {arguments} should say {complaint}, said {found}")


main()
