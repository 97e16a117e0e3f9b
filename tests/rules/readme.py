"""The examples of README.md run.

readme.py ROOT: each fenced block behind a line `<!-- runs -->` is a piece of shell; it must succeed
in ROOT, under `bash -euo pipefail`, with $scratch naming an empty directory. A comment at the end of
a line, `# prints: TEXT`, says what that line's output contains.
"""

import os
import re
import subprocess
import sys
import tempfile

BLOCK = re.compile(r"^<!-- runs -->\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTS = re.compile(r"# prints: (.+)$", re.MULTILINE)


def main():
    root = sys.argv[1]
    with open(f"{root}/README.md") as file:
        blocks = BLOCK.findall(file.read())
    if len(blocks) < 5:
        sys.exit(f"README.md has {len(blocks)} examples that run: "
                 "preload, link, tune, watch and look are 5")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMAHEAP")}
    failed = False
    for block in blocks:
        with tempfile.TemporaryDirectory(prefix="numaheap-readme-") as scratch:
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=root, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  env=environment | {"scratch": scratch}, timeout=100)
        missing = [text for text in PRINTS.findall(block) if text not in done.stdout]
        if done.returncode != 0 or missing:
            failed = True
            print(block, f"status {done.returncode}; not printed: {missing}; printed:",
                  done.stdout, sep="\n")
    sys.exit(failed)


main()
