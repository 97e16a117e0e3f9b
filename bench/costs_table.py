"""What the parts of bench/costs share: a table with a name, running a program, sizes in words."""

import dataclasses
import os
import re
import subprocess

import allocators
import table

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class Broken(Exception):
    """A program that did not do what was asked of it."""


@dataclasses.dataclass
class Table:
    name: str  # in the marks around it: <!-- costs:NAME -->
    title: str
    header: list
    rows: list

    def markdown(self):
        return f"{self.title}:\n\n{table.markdown(self.header, self.rows)}"

    def written_into(self, page):
        """`page` with this table between its marks, or as it is, if it has none."""
        begin, end = f"<!-- costs:{self.name} -->", f"<!-- /costs:{self.name} -->"
        marked = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        return marked.sub(lambda _: f"{begin}\n{self.markdown()}\n{end}", page)


def budget_table(budget, figures):
    """The table, and what is over its limit. `budget`: what and its limit."""
    rows, over = [], []
    for what, limit in budget:
        if what not in figures:
            continue  # --quick leaves some out
        kept = figures[what] <= limit
        rows.append([what, f"{limit:,}", f"{figures[what]:,.4g}", "" if kept else "over"])
        if not kept:
            over.append(f"{what}: {figures[what]:,.4g}, at most {limit:,}")
    return Table("budget", "What each path may cost, and does", ["", "at most", "now", ""],
                 rows), over


def environment(build, options):
    """That of the programs with numaheap linked in, which find its plugins in `build`."""
    result = allocators.GLIBC.environment(options)
    result["LD_LIBRARY_PATH"] = str(build)
    return result


def run(command, environment, one_cpu=False):
    """What the program printed. `one_cpu`: it is pinned to one."""
    def pin():
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    answer = subprocess.run(list(map(str, command)), env=environment, capture_output=True,
                            text=True, check=False, preexec_fn=pin if one_cpu else None)
    if answer.returncode != 0 or "numaheap:" in answer.stderr:
        raise Broken(f"{' '.join(map(str, command))}: exit status {answer.returncode}: "
                     f"{answer.stderr.strip()[-400:]}")
    return answer.stdout


def size_name(size):
    """64 B, 16 KiB, 1.5 GiB"""
    for unit, name in ((1 << 40, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size:.4g} B"
