"""sort --parallel sorts a million lines, in memory and through temporary files."""

import random

from preload import expect, run, scratch

LINES = 1000000


def main():
    generator = random.Random(1)
    lines = [b"%x" % generator.getrandbits(generator.choice((8, 40, 200))) for _ in range(LINES)]
    expected = b"".join(line + b"\n" for line in sorted(lines))
    unique = b"".join(line + b"\n" for line in sorted(set(lines)))
    with scratch() as directory:
        path = f"{directory}/lines"
        with open(path, "wb") as file:
            file.write(b"\n".join(lines) + b"\n")
        c = {"LC_ALL": "C"}
        for memory in ("256M", "8M"):
            out = run("sort", "--parallel=4", "-S", memory, "-T", directory, path, env=c)
            expect(out == expected, f"sort -S {memory} did not sort")
        out = run("sort", "--parallel=4", "-S", "64M", "-u", path, env=c)
        expect(out == unique, "sort -u did not sort")


main()
