"""The guest's file system: busybox, the programs, and the libraries that they need."""

import gzip
import os
import pathlib
import re
import shutil
import subprocess

_BUSYBOX = pathlib.Path("/bin/busybox")
# What init has before it has mounted anything.
_DEVICES = {"console": (5, 1), "null": (1, 3)}


def _needed(binary):
    """Paths of the shared libraries that a program or library is loaded with."""
    listing = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False)
    if listing.returncode != 0:  # statically linked
        return []
    if missing := re.findall(r"(\S+) => not found", listing.stdout):
        raise FileNotFoundError(f"{binary} needs {', '.join(missing)}")
    return re.findall(r"(?:=> )?(/\S+) \(0x", listing.stdout)


class Tree:
    """A directory that becomes the archive."""

    def __init__(self, root):
        self.root = pathlib.Path(root)
        for directory in ("bin", "dev", "lib", "proc", "programs", "sys", "tmp"):
            (self.root / directory).mkdir(parents=True, exist_ok=True)
        shutil.copy(_BUSYBOX, self.root / "bin/busybox")

    def text(self, path, content):
        """Adds an executable text file."""
        (self.root / path).write_text(content, encoding="utf-8")
        (self.root / path).chmod(0o755)

    def binary(self, source, directory):
        """Adds a program or a library, without its debug information, and what it needs."""
        source = pathlib.Path(source)
        self._strip(source, self.root / directory / source.name)
        for library in _needed(source):
            name = pathlib.Path(library).name
            # The loader is named with its path in every program; the others are found.
            target = pathlib.Path(library) if name.startswith("ld-linux") else f"/lib/{name}"
            if not (place := self.root / str(target).lstrip("/")).exists():
                self._strip(library, place)

    @staticmethod
    def _strip(source, target):
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["strip", "-g", "-o", target, os.path.realpath(source)], check=True)
        target.chmod(0o755)

    def pack(self, archive):
        """Writes the archive that the kernel unpacks."""
        # By hand: cpio would want device files to copy, and those need root.
        with gzip.open(archive, "wb", compresslevel=1) as out:
            for path in sorted(self.root.rglob("*")):
                name = path.relative_to(self.root).as_posix()
                if path.is_dir():
                    _write_entry(out, name, 0o040755)
                else:
                    _write_entry(out, name, 0o100755, path.read_bytes())
            for name, device in _DEVICES.items():
                _write_entry(out, f"dev/{name}", 0o020600, device=device)
            _write_entry(out, "TRAILER!!!", 0)


def _write_entry(out, name, mode, content=b"", device=(0, 0)):
    """One entry of cpio's "newc" format: a header of hexadecimal fields, the name, the content."""
    encoded = name.encode() + b"\0"
    # inode, mode, user, group, links, time, size, device of the file, device it is, name, checksum
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    for part in (header + encoded, content):
        out.write(part + b"\0" * (-len(part) % 4))
