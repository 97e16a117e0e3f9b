"""Debian's kernel for virtual machines: unpacked, not installed, and kept between runs."""

import fcntl
import os
import pathlib
import re
import subprocess
import tempfile

_METAPACKAGE = "linux-image-cloud-amd64"  # depends on the package of the current version


class KernelMissing(Exception):
    """Says why there is no kernel, and what would help."""


def _run(*command, cwd=None):
    result = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    if result.returncode != 0:
        raise KernelMissing(f"{' '.join(command)} failed:\n{result.stderr.strip()}\n"
                            "If the package lists are empty, `apt-get update` as root fills them.")
    return result.stdout


def _fetch(directory):
    """Downloads the package and unpacks its boot directory into `directory`."""
    depends = re.search(r"Depends: (linux-image-\S+)", _run("apt-cache", "depends", _METAPACKAGE))
    if depends is None:
        raise KernelMissing(f"apt-cache does not know {_METAPACKAGE}")
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        # The sandbox user of apt can't write there, and says so at length.
        _run("apt-get", "-o", "APT::Sandbox::User=", "download", depends[1], cwd=scratch)
        package = next(pathlib.Path(scratch).glob("*.deb"))
        _run("dpkg-deb", "-x", str(package), scratch)
        pathlib.Path(scratch, "boot").rename(directory / "boot")


def _unpacked(directory):
    return sorted(directory.glob("boot/vmlinuz-*"))


def image(directory):
    """Path of the kernel's image under `directory`, where it is put if it is not there."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _unpacked(directory):
            try:
                _fetch(directory)
            except KernelMissing:  # the package lists are empty or too old
                if os.geteuid() != 0:
                    raise
                _run("apt-get", "update")
                _fetch(directory)
    return _unpacked(directory)[-1]
