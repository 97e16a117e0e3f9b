"""Boots one machine of the guest suite, and shows what its programs printed.

machine.py boot MACHINE --results DIR --kernel DIR --library FILE… --programs DIR PROGRAM…
    Boots it, runs the programs there, and leaves DIR/PROGRAM.json for each. Fails only when the
    machine did not come up.
machine.py result PROGRAM --results DIR
    Prints what that program printed, and ends with its status.
"""

import argparse
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import initramfs
import kernel
import run
import suite

_HERE = pathlib.Path(__file__).resolve().parent


def _library_path(name):
    """Where the loader finds a packaged library."""
    listing = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True)
    found = re.search(rf"^\s*{re.escape(name)} .*=> (\S+)$", listing.stdout, re.MULTILINE)
    if found is None:
        sys.exit(f"{name} is missing; ./test installs its package")
    return found[1]


def _build_tree(directory, names, arguments):
    """Fills the guest's file system and packs it; returns the archive's path."""
    tree = initramfs.Tree(directory / "root")
    tree.text("init", (_HERE / "init.sh").read_text(encoding="utf-8"))
    tree.text("bin/confined", (_HERE / "confined.sh").read_text(encoding="utf-8"))
    for library in arguments.library:
        tree.binary(library, "lib")
    for name in names:
        program = suite.PROGRAMS[name]
        tree.text(f"programs/{name}", program.script())
        executable = next(word for word in program.command.split() if word.endswith("_test"))
        tree.binary(arguments.programs / executable, "bin")
        if program.preload in suite.PEERS.values() and program.preload:
            tree.binary(_library_path(program.preload), "lib")
    tree.text("programs.list",
              "".join(f"{name} {suite.PROGRAMS[name].seconds}\n" for name in names))
    archive = directory / "initramfs.gz"
    tree.pack(archive)
    return archive


def _boot(arguments):
    names = arguments.program
    results = arguments.results
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    machine = suite.MACHINES[arguments.machine]
    image = kernel.image(arguments.kernel)
    with tempfile.TemporaryDirectory(prefix="numaheap-guest-") as scratch:
        archive = _build_tree(pathlib.Path(scratch), names, arguments)
        guest = run.Run(results, [
            "qemu-system-x86_64", "-accel", "tcg", "-nodefaults", "-no-user-config",
            "-display", "none", "-no-reboot", *machine.arguments(),
            "-kernel", str(image), "-initrd", str(archive),
            # A panic ends the machine, and so does a fault of the kernel.
            "-append", "console=ttyS0 panic=-1 oops=panic loglevel=7 tsc=reliable "
                       f"{machine.kernel_options}"])
        began = time.monotonic()
        problem = guest.follow(lambda name: suite.PROGRAMS[name].seconds)
    seconds = time.monotonic() - began
    for name in names:
        status = guest.statuses.get(name)
        result = {"status": status, "output": "\n".join(guest.outputs.get(name, [])).strip(),
                  "problem": "", "console": ""}
        if status is None and name != guest.current:
            result["problem"] = f"did not run: {problem}"
        elif status is None:
            result |= {"problem": problem, "console": guest.console_of(None)}
        elif status != 0:
            result["console"] = guest.console_of(name)
        (results / f"{name}.json").write_text(json.dumps(result), encoding="utf-8")
    print(f"{arguments.machine}: {len(guest.statuses)} of {len(names)} programs ran, in "
          f"{seconds:.0f} s")
    print(" ".join(guest.command))
    # What happened while a program ran is that program's failure.
    if problem and guest.current is None:
        sys.exit(f"{problem}\n{guest.console_of(None)}")


def _result(arguments):
    path = arguments.results / f"{arguments.program}.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    print(result["output"])
    if result["status"] == 0:
        return
    if result["console"]:
        print(f"---- the kernel meanwhile:\n{result['console']}\n----")
    if result["problem"]:
        sys.exit(f"{arguments.program}: {result['problem']}")
    if result["status"] == 128 + signal.SIGKILL:
        sys.exit(f"{arguments.program} was killed: out of memory, or out of its "
                 f"{suite.PROGRAMS[arguments.program].seconds} seconds")
    sys.exit(f"{arguments.program} ended with status {result['status']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    boot = commands.add_parser("boot")
    boot.add_argument("machine", choices=suite.MACHINES)
    boot.add_argument("program", nargs="+", choices=suite.PROGRAMS)
    boot.add_argument("--results", type=pathlib.Path, required=True)
    boot.add_argument("--kernel", type=pathlib.Path, required=True)
    boot.add_argument("--library", type=pathlib.Path, action="append", default=[])
    boot.add_argument("--programs", type=pathlib.Path, required=True)
    boot.set_defaults(run=_boot)
    result = commands.add_parser("result")
    result.add_argument("program", choices=suite.PROGRAMS)
    result.add_argument("--results", type=pathlib.Path, required=True)
    result.set_defaults(run=_result)
    arguments = parser.parse_args()
    arguments.run(arguments)


main()
