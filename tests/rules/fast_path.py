"""Counts the instructions of the fast paths of malloc and free, from entry to `ret`.

fast_path.py LIBRARY REVIEWED: the fast path is what runs if no conditional jump is taken. It holds
no call, no locked instruction, and leaves by `ret`; its length is the one in the file REVIEWED, at
most LIMIT. The longer way round of a miss is out of line, so it does not count.
"""

import re
import subprocess
import sys

LIMIT = 24

# "    1234:\tmov    %rax,(%rdi)", after objdump -d --no-show-raw-insn
INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\t(.+?)\s*$", re.MULTILINE)
# xchg with memory locks the bus without saying so.
LOCKED = re.compile(r"^(.* )?lock\b|^xchg\b.*\(")


class BadPath(Exception):
    pass


def parse(disassembly):
    """{address: (instruction, address of the next one)} of what objdump printed."""
    found = [(int(address, 16), text) for address, text in INSTRUCTION.findall(disassembly)]
    following = [address for address, _ in found[1:]] + [None]
    return {address: (text, after) for (address, text), after in zip(found, following)}


def fast_path(instructions, entry):
    """The instructions from `entry` to the first `ret`, no conditional jump taken."""
    path, at, seen = [], entry, set()
    while True:
        if at not in instructions or at in seen:
            raise BadPath(f"leaves the function after {path[-1:]}")
        seen.add(at)
        text, following = instructions[at]
        path.append(text)
        name = re.sub(r"^(?:(?:bnd|notrack|rep|repz) )*", "", text).split()[0]
        if LOCKED.match(text):
            raise BadPath(f"is locked: {text}")
        if name.startswith("call") or name in ("syscall", "int3", "ud2"):
            raise BadPath(f"goes out of line: {text}")
        if name.startswith("ret"):
            return path
        if name == "jmp":
            target = re.match(r".*\bjmp\s+([0-9a-f]+)\b", text)
            if not target:
                raise BadPath(f"jumps to what only the run knows: {text}")
            following = int(target[1], 16)
        at = following


def functions(library):
    """{name: (address, size)} of the functions that `library` exports."""
    lines = subprocess.run(["nm", "-D", "-S", "--defined-only", library], check=True,
                           stdout=subprocess.PIPE, text=True).stdout.splitlines()
    fields = [line.split() for line in lines]
    return {f[3].split("@")[0]: (int(f[0], 16), int(f[1], 16)) for f in fields if len(f) == 4}


def disassemble(library, address, size):
    return subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", f"--start-address={address}",
         f"--stop-address={address + size}", library],
        check=True, stdout=subprocess.PIPE, text=True).stdout


def main():
    library, reviewed = sys.argv[1:]
    with open(reviewed) as file:
        lengths = dict(line.split() for line in file if line.strip() and line[0] != "#")
    failed = set(lengths) != {"malloc", "free"}
    exported = functions(library)
    for name, length in lengths.items():
        address, size = exported[name]
        try:
            path = fast_path(parse(disassemble(library, address, size)), address)
        except BadPath as bad:
            print(f"{name}: the fast path {bad}")
            failed = True
            continue
        print(f"{name}: {len(path)} instructions")
        if len(path) != int(length) or len(path) > LIMIT:
            print(f"  {reviewed} says {length}, the limit is {LIMIT}; this is the path:",
                  *path, sep="\n    ")
            failed = True
    sys.exit(failed)


if __name__ == "__main__":
    main()
