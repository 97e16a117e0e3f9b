"""node builds, compresses, hashes and hands between threads the same data as on glibc's malloc."""

import os

from preload import expect, expect_equal, run

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "node_load.js")


def main():
    out = run("node", SCRIPT)
    expect(out.count(b"\n") == 6, f"node printed {out!r}")
    expect_equal(out, run("node", SCRIPT, preload=False), "what the script printed")


main()
