"""A start is lean: how many system calls more than without the preload /bin/true makes, and how much
more memory an idle sleep has. Measured as bench/startup measures it, with its limits."""

import importlib.machinery
import importlib.util
import os
import shutil
import statistics
import sys

from preload import LIBRARY, expect
from subject import skip

BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench")
ROUNDS = 5


def load_startup():
    sys.path.insert(0, BENCH)
    path = os.path.join(BENCH, "startup")
    loader = importlib.machinery.SourceFileLoader("startup", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("startup", loader))
    loader.exec_module(module)
    return module


def main():
    if shutil.which("strace") is None:
        skip("needs strace")
    startup = load_startup()
    plain = startup.allocators.GLIBC.environment()
    preloaded = plain | {"LD_PRELOAD": LIBRARY}

    calls = startup.system_calls(preloaded) - startup.system_calls(plain)
    print(f"{calls} system calls more")
    expect(3 < calls <= startup.LIMITS["calls"], f"/bin/true makes {calls} system calls more")

    resident = [statistics.median(startup.idle_kib(env)[0] for _ in range(ROUNDS))
                for env in (plain, preloaded)]
    more = resident[1] - resident[0]
    print(f"{more} KiB more")
    expect(0 < more <= startup.LIMITS["kib"], f"an idle sleep has {more} KiB more")


main()
