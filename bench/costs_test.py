"""costs_test.py BUILD: the small bench/costs fills every table, its ways of counting agree with one
another, each figure keeps to its budget, and what is over it is found."""

import sys

sys.dont_write_bytecode = True

import pathlib
import re
import shutil
import subprocess
import tempfile

import costs_budget
import costs_instructions
import costs_memory
import costs_table

HERE = pathlib.Path(__file__).resolve().parent
TABLES = {"instructions": ("hit", "refill", "overflow", "remote", "span"),
          "calls": ("calls", "start"),
          "memory": ("metadata", "classes", "heaps", "cpus", "nodes", "threads")}
NEEDED = {"instructions": "valgrind", "calls": "strace", "memory": "python3"}

# As callgrind writes it: two calls of f, one of them by way of g.
DUMP = """fn=Measured
1 7
cfi=x
cfn=f(int)
calls=1 0
3 40
cfn=g
calls=2 0
4 100

fn=g
5 20
cfn=f(int)
calls=1 0
6 60
"""


def expect(true, message):
    if not true:
        sys.exit(f"FAILED: {message}")


def check_parsing():
    phase = costs_instructions.Phase(DUMP, moved=80)
    expect(phase["f("] == costs_instructions.Cost(2, 100), f"calls of f: {phase['f(']}")
    expect(phase["g"].mean() == 50, f"calls of g: {phase['g']}")
    expect(phase["f"].calls == 0, "f(int) is not f")
    # 100 calls, 10 of which pass a batch on; the others take 5 instructions each.
    phase._costs = {"free": costs_instructions.Cost(100, 90 * 5 + 10 * 200),
                    "spill(int)": costs_instructions.Cost(10, 1500)}
    found = costs_instructions.batches(phase, "free", 5, "spill(")
    expect((found.batches, found.per_batch, found.per_call) == (10, 200, 24.5), f"batches: {found}")
    expect(found.per_block == 25, f"8 blocks a batch: {found}")
    try:
        phase.need("renamed(")
        expect(False, "a function that is not there is not missed")
    except costs_table.Broken:
        pass


def check_budget():
    budget = (("calls", 5), ("bytes", 5.5), ("not counted", 1))
    table, over = costs_table.budget_table(budget, {"calls": 5, "bytes": 5.6})
    expect(over == ["bytes: 5.6, at most 5.5"], f"over the budget: {over}")
    expect([row[3] for row in table.rows] == ["", "over"], f"the table: {table.rows}")


def cells(page, name):
    """The rows of a table between its marks."""
    marked = re.search(f"<!-- costs:{name} -->(.*?)<!-- /costs:{name} -->", page, re.DOTALL)
    lines = [line for line in marked[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def number(cell):
    return float(cell.rstrip("%").replace(",", ""))


def check_tables(build):
    wanted = [name for part, names in TABLES.items() if shutil.which(NEEDED[part])
              for name in names] + ["budget"]
    with tempfile.NamedTemporaryFile("w+", suffix=".md") as page:
        page.write("".join(f"<!-- costs:{name} -->\n<!-- /costs:{name} -->\n" for name in wanted))
        page.flush()
        answer = subprocess.run([sys.executable, HERE / "costs", "--quick", "--check", "--build",
                                 build, "--write", page.name], stdout=subprocess.PIPE, text=True,
                                check=False)
        expect(answer.returncode == 0, f"status {answer.returncode}")
        text = pathlib.Path(page.name).read_text()
    tables = {name: cells(text, name) for name in wanted}
    print(text)
    for name, rows in tables.items():
        expect(rows and all(all(row[1:3]) for row in rows), f"{name} lacks figures")
    return tables


def check_figures(build, tables):
    budgeted = {row[0] for row in tables["budget"]}
    missing = {what for part, rows in costs_budget.BUDGET.items() if shutil.which(NEEDED[part])
               for what, _ in rows} - budgeted
    # --quick has neither 512 threads nor a GiB.
    left_out = {"memory that a further thread takes, B", "system calls of a growing heap, per GiB"}
    expect(missing <= left_out, f"not counted: {missing - left_out}")
    if "hit" in tables:
        by_disassembly, *by_callgrind = tables["hit"]
        for row in by_callgrind:
            if "rseq" in row[0]:
                expect([number(n) for n in row[1:]] == [number(n) for n in by_disassembly[1:]],
                       f"callgrind and objdump do not agree: {by_disassembly}, {row}")
        # A batch has more than a block, and takes more than a hit.
        for row in tables["refill"] + tables["overflow"]:
            blocks, per_batch, per_block = map(number, row[3:6])
            expect(2 < blocks <= 256 and per_batch > per_block > 1, f"a batch: {row}")
        for row in tables["remote"]:
            expect(number(row[2]) < number(row[4]) < number(row[6]), f"remote frees: {row}")
    if "calls" in tables:
        for row in tables["calls"]:
            if "live" in row[1]:
                expect(number(row[2]) < 10, f"a steady load calls the kernel: {row}")
            else:
                expect("mprotect" in row[3], f"memory came from nowhere: {row}")
    # What was found in a heap is what the sizes of records say.
    shares = costs_memory.class_shares(build)
    measured = {row[0]: number(row[4]) for row in tables["metadata"]}
    for size in (16, 64, 1024):
        computed = sum(shares[size][1])
        found = measured[costs_table.size_name(size)]
        expect(abs(found - computed) < 0.03 * computed, f"{size} B: {found}%, computed {computed}%")
    expect({row[3] for row in tables["heaps"]} == {tables["heaps"][0][3]},
           f"mappings grow with the heap: {tables['heaps']}")
    for row in tables["cpus"]:
        expect(number(row[2]) < 100 and number(row[4]) < number(row[5]) < number(row[3]),
               f"a CPU's cache: {row}")
    one, two = (number(row[1]) for row in tables["nodes"])
    expect(one < two <= one + 6, f"mappings of one and two nodes: {one}, {two}")


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    check_parsing()
    check_budget()
    check_figures(build, check_tables(build))


main()
