"""The allocators that the scripts compare, where they are, and how a program is run under one."""

import dataclasses
import os
import pathlib
import subprocess
import sys
import sysconfig

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "build" / "bench"
BUILD_COMMAND = "cmake --preset release && cmake --build --preset release"

# Variables that tune an allocator: the caller's own must not favour one of them.
_TUNING = ("LD_PRELOAD", "GLIBC_TUNABLES", "MALLOC_", "MIMALLOC_", "TCMALLOC_", "NUMAHEAP_")


@dataclasses.dataclass(frozen=True)
class Allocator:
    name: str
    package: str  # Debian's package, "" for numaheap
    path: pathlib.Path | None  # what LD_PRELOAD names; None for glibc, which needs no preload

    def environment(self, numaheap_options=""):
        """The caller's environment with this allocator preloaded and no other tuning."""
        result = {k: v for k, v in os.environ.items() if not k.startswith(_TUNING)}
        if self.path:
            result["LD_PRELOAD"] = str(self.path)
        if numaheap_options:
            result["NUMAHEAP_OPTIONS"] = numaheap_options
        return result

    def version(self):
        """Debian's version of the package, or where the library is."""
        if self.package:
            query = ["dpkg-query", "-W", "-f", "${Version}", self.package]
            try:
                answer = subprocess.run(query, capture_output=True, text=True, check=False)
            except FileNotFoundError:  # not a Debian
                answer = None
            if answer and answer.returncode == 0 and answer.stdout:
                return f"{self.package} {answer.stdout}"
        return os.path.realpath(self.path) if self.path else os.confstr("CS_GNU_LIBC_VERSION")


# name, file, package
_PACKAGED = (
    ("jemalloc", "libjemalloc.so.2", "libjemalloc2"),
    ("mimalloc", "libmimalloc.so.2", "libmimalloc2.0"),
    ("tcmalloc", "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
    ("tbbmalloc", "libtbbmalloc_proxy.so.2", "libtbbmalloc2"),
)


def _library_directories():
    multiarch = sysconfig.get_config_var("MULTIARCH") or f"{os.uname().machine}-linux-gnu"
    return [pathlib.Path(p) for p in (f"/usr/lib/{multiarch}", "/usr/lib64", "/usr/lib")]


def find_library(file):
    """Where the system has a library of that name, or None."""
    return next((d / file for d in _library_directories() if (d / file).exists()), None)


GLIBC = Allocator("glibc", "libc6", None)


def add_arguments(parser):
    """The options that every script has; select() reads them."""
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release",
                        metavar="DIR", help="the build directory (default: %(default)s)")
    parser.add_argument("--library", type=pathlib.Path, metavar="PATH",
                        help="the libnumaheap.so to measure (default: the build directory's)")
    parser.add_argument("--options", default="", metavar="KEY=VALUE,…",
                        help="NUMAHEAP_OPTIONS for numaheap")
    parser.add_argument("--peers-only", action="store_true", help="leave numaheap out")
    parser.add_argument("--only", "--allocators", metavar="NAME,…",
                        type=lambda text: text.split(","),
                        help="only these allocators, of numaheap, glibc, "
                        + ", ".join(name for name, _, _ in _PACKAGED))


def select(arguments):
    """The allocators to compare, glibc first. Says on stderr which peers are missing and how to
    get them; ends the program when numaheap is, or when a preload does not work."""
    chosen = [GLIBC]
    if not arguments.peers_only:
        library = arguments.library or arguments.build / "libnumaheap.so"
        if not library.is_file():
            sys.exit(f"{library} is missing. Build it: {BUILD_COMMAND}\n"
                     "(--library PATH names another one, --peers-only does without)")
        chosen.append(Allocator("numaheap", "", library.resolve()))
    absent = []
    for name, file, package in _PACKAGED:
        path = find_library(file)
        if path:
            chosen.append(Allocator(name, package, path))
        else:
            absent.append(package)
            print(f"{name} is left out: no {file}", file=sys.stderr)
    if absent:
        print("To have all of them: apt-get install " + " ".join(absent), file=sys.stderr)
    if arguments.only:
        unknown = set(arguments.only) - {"numaheap", "glibc", *(p[0] for p in _PACKAGED)}
        if unknown:
            sys.exit("no such allocator: " + ", ".join(sorted(unknown)))
        chosen = [a for a in chosen if a.name in arguments.only]
    if not chosen:
        sys.exit("none of the chosen allocators is here")
    for allocator in chosen:
        _require_working(allocator)
    return chosen


def _require_working(allocator):
    """Ends the program when the loader can't use the preload: it would go on with glibc."""
    answer = subprocess.run(["true"], env=allocator.environment(), capture_output=True, text=True,
                            check=False)
    if answer.returncode != 0 or "cannot be preloaded" in answer.stderr:
        sys.exit(f"LD_PRELOAD={allocator.path} does not work: exit status {answer.returncode}\n"
                 + answer.stderr)


def program(arguments, name):
    """Path of a benchmark program; ends the script when it isn't built."""
    path = arguments.build / "bench" / name
    if not path.is_file():
        sys.exit(f"{path} is missing. Build it (needs libbenchmark-dev): {BUILD_COMMAND}")
    return path
