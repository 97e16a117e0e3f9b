"""What libnumaheap.so shows to the process that it is loaded into.

exported_symbols.py LIBRARY REVIEWED: the exported symbols are those in the file REVIEWED, no more
and no less, and the library needs no other library than libc and the loader.
"""

import re
import subprocess
import sys

NEEDED = {"libc.so.6", "ld-linux-x86-64.so.2"}


def output(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main():
    library, reviewed = sys.argv[1:]
    # Absolute symbols (type A) are the names of the versions themselves.
    lines = [line.split() for line in output("nm", "-D", "--defined-only", library).splitlines()]
    exported = {name.split("@")[0] for _, kind, name in lines if kind != "A"}
    with open(reviewed) as file:
        expected = {line.split()[0] for line in file if line.strip() and line[0] != "#"}
    needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", output("readelf", "-d", library)))

    for name in sorted(exported - expected):
        print(f"exported, but not in {reviewed}: {name}")
    for name in sorted(expected - exported):
        print(f"not exported: {name}")
    for name in sorted(needed - NEEDED):
        print(f"needs {name}")
    sys.exit(exported != expected or not needed <= NEEDED or "libc.so.6" not in needed)


main()
