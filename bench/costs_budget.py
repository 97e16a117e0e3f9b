"""What each path may cost. A change of a number is reviewed; bench/costs --check and the test
bench.costs fail above it.

By part of bench/costs: what, and the most that it may be. Instructions are those of blocks of 64
bytes in the rseq mode.
"""

BUDGET = {
    "instructions": (
        ("malloc that hits, instructions", 24),
        ("free that hits, instructions", 24),
        ("malloc out of the transfer cache, per block", 16),
        ("malloc out of spans half in use, per block", 56),
        ("malloc out of new spans, per block", 24),
        ("free into the transfer cache, per block", 20),
        ("free into spans, neighbours together, per block", 28),
        ("free into spans, every other block, per block", 170),
        ("free into spans, at random, per block", 190),
        ("free of another node's block, until it is swept", 230),
        ("span allocated, instructions", 600),
        ("span freed, instructions", 450),
        ("malloc of 1 MiB, instructions", 1700),
        ("free of 1 MiB, instructions", 700),
    ),
    "calls": (
        ("system calls of a growing heap, per GiB", 220),
        ("system calls of a steady load, per GiB", 0),
    ),
    "memory": (
        ("mappings of one node", 6),
        ("mappings of each further node", 5),
        ("mappings that a growing heap adds", 0),
        ("metadata of 16 B blocks, %", 1.1),
        ("metadata of 64 B blocks, %", 0.5),
        ("metadata of 1 KiB blocks, %", 0.5),
        ("metadata of mixed blocks, %", 0.5),
        ("metadata of 64 KiB blocks, %", 0.5),
        ("metadata of 1 MiB blocks, %", 0.5),
        ("metadata of 16 MiB blocks, %", 0.5),
        ("memory of an idle CPU, B", 64),
        ("memory of a CPU's cache, one class used, KiB", 24),
        ("memory of a CPU's cache, all classes used, KiB", 256),
        ("address space of a CPU's cache, KiB", 512),
        ("memory of a node's empty heap, KiB", 64),
        ("memory that a further thread takes, B", 512),
    ),
}
