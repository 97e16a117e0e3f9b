"""The floors of the house: a file includes its own floor and those under it, never in a circle.

floors.py ROOT: checks every #include "…" under ROOT; prints what is wrong, with exit status 1.
"""

import pathlib
import re
import sys

# From the ground up. A file belongs to the longest of these that its path starts with.
FLOORS = ("src/base", "numa", "src/os", "src/settings", "src/stats", "src/heap", "src/cache",
          "src/api")
# Exporters stand outside: on their own folder and these headers.
OUTSIDE = "exporters"
PUBLIC = ("src/api/numaheap.h", "src/api/inspection.h")
# What the composition root knows of an exporter: the C entry it looks up in the loaded library.
ENTRY = re.compile(r"exporters/\w+/\w+_plugin\.h")

THIRD_PARTY = ("absl/",)  # quoted by custom

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)
SUFFIXES = {".h", ".hpp", ".inc", ".c", ".cc", ".cpp", ".S"}


def floor_of(path):
    return next((floor for floor in FLOORS + (OUTSIDE,) if path.startswith(floor + "/")), None)


def allowed(path, included):
    floor, under = floor_of(path), floor_of(included)
    if floor == OUTSIDE:
        return included in PUBLIC or path.split("/")[:2] == included.split("/")[:2]
    if under == OUTSIDE:
        return floor == "src/api" and ENTRY.fullmatch(included) is not None
    return FLOORS.index(under) <= FLOORS.index(floor)


def find_cycle(includes):
    """Files each of which includes the next, and the last one the first; [] if there are none."""
    done = set()

    def visit(path, trail):
        if path in trail:
            return trail[trail.index(path):]
        if path in done:
            return []
        for included in includes.get(path, ()):
            if cycle := visit(included, trail + [path]):
                return cycle
        done.add(path)
        return []

    return next((cycle for path in includes if (cycle := visit(path, []))), [])


def check(root):
    """Returns what is wrong under `root`, a line each, and the number of includes looked at."""
    files = sorted(f for top in ("src", "numa", OUTSIDE) for f in (root / top).rglob("*")
                   if f.suffix in SUFFIXES)
    includes, wrong = {}, []
    for file in files:
        path = file.relative_to(root).as_posix()
        if floor_of(path) is None:
            wrong.append(f"{path}: belongs to no floor")
            continue
        includes[path] = [included for included in INCLUDE.findall(file.read_text())
                          if not included.startswith(THIRD_PARTY)]
        for included in includes[path]:
            if floor_of(included) is None or not (root / included).is_file():
                wrong.append(f'{path}: "{included}" is no path from the project root')
            elif not allowed(path, included):
                wrong.append(f"{path}: includes {included}, which is not under it")
    if cycle := find_cycle(includes):
        wrong.append("circle: " + " -> ".join(cycle + cycle[:1]))
    return wrong, sum(map(len, includes.values()))


def main():
    wrong, count = check(pathlib.Path(sys.argv[1]))
    print(f"{count} includes", *wrong, sep="\n")
    sys.exit(bool(wrong) or count == 0)


if __name__ == "__main__":
    main()
