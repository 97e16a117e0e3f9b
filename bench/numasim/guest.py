"""Boots the simulated machine and runs workloads in it, one after the other."""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import allocators

sys.path.append(str(allocators.ROOT / "tests" / "guest"))
import initramfs  # noqa: E402
import kernel  # noqa: E402

from counts import Counts  # noqa: E402

_SECONDS_TO_BOOT = 180
_SECONDS_PER_WORKLOAD = 240  # in the guest it is enforced at that; here after a little more
_GRACE_SECONDS = 30
_CONSOLE_TAIL = 3000  # characters
_SHARE_FROM = 20480  # bytes: memcached's tables and items are larger, what a connection has is not

_INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
# The kernel would move pages on its own. What is counted is where the allocators put them.
echo 0 >/proc/sys/kernel/numa_balancing
export LD_LIBRARY_PATH=/lib NUMAHEAP_CONFIG=
while read -r name; do
  echo "@@ begin $name"
  sh /programs/$name
  echo "@@ end $name $?"
done </programs.list
echo "@@ done"
poweroff -f
"""

# Real servers: the program, and how it is started. memcached shares its items among its threads;
# redis-server has one, which stays on the last node, away from where the system has started.
_SERVERS = {
    "memcached": (pathlib.Path("/usr/bin/memcached"), """
export LD_PRELOAD="/lib/libnumasim-share-main.so $preload" NUMASIM_SHARE_FROM={share_from}
exec memcached -u root -m 64 -t {cpus} -s $socket"""),
    "redis": (pathlib.Path("/usr/bin/redis-server"), """
# It is linked to jemalloc: glibc's malloc has to come first, too.
export LD_PRELOAD="/lib/libnumasim-no-mallctl.so ${{preload:-/lib/libc.so.6}}"
exec redis-server --port 0 --unixsocket $socket --save '' --appendonly no --dir /tmp \\
  --jemalloc-bg-thread no --server_cpulist {last_node} --bio_cpulist {last_node} >/dev/null"""),
}
_SERVER_SCRIPT = """
socket=/tmp/{server}
({start}
) &
server=$!
timeout -s KILL {seconds} server_client {server} {allocator} {library} {scale} $server $socket
status=$?
kill $server
wait $server 2>/dev/null
exit $status
"""


class Guest:
    """What is needed to run workloads under one allocator after the other."""

    def __init__(self, machine, build, options, hot):
        self.machine = machine
        self.programs = build / "bench" / "numasim"
        self.options = options
        self.hot = hot
        if not (self.programs / "libnumasim.so").is_file():
            sys.exit(f"{self.programs}/libnumasim.so is missing. Build it: "
                     f"{allocators.BUILD_COMMAND}")
        if not shutil.which("qemu-system-x86_64"):
            sys.exit("qemu-system-x86_64 is missing: apt-get install qemu-system-x86")
        try:
            self.image = kernel.image(allocators.ROOT / "build" / "guest")
        except kernel.KernelMissing as error:
            sys.exit(str(error))

    def run(self, allocator, workloads, scale):
        """Boots once and runs the workloads. Returns Counts, and what broke by workload."""
        with tempfile.TemporaryDirectory(prefix="numasim-") as scratch:
            directory = pathlib.Path(scratch)
            archive = self._pack(directory, allocator, workloads, scale)
            out, console = directory / "counts", directory / "console"
            command = [
                "setpriv", "--pdeathsig", "KILL",  # it must not survive this script
                "qemu-system-x86_64", "-accel", "tcg,thread=single", "-cpu", "max", "-nodefaults",
                "-no-user-config", "-display", "none", "-no-reboot",
                *self.machine.qemu_arguments(), "-serial", f"file:{console}",
                "-plugin", ",".join([str(self.programs / "libnumasim.so"),
                                     *self.machine.plugin_arguments(), f"out={out}",
                                     f"hot={self.hot}"]),
                "-kernel", str(self.image), "-initrd", str(archive),
                # Without random addresses, counts repeat and places have names.
                "-append", "console=ttyS0 panic=-1 oops=panic loglevel=4 tsc=reliable nokaslr "
                           "norandmaps"]
            problem = _follow(command, console, len(workloads))
            text = console.read_text(encoding="utf-8", errors="replace") if console.exists() else ""
            counted = [Counts.parse(line) for line in
                       (out.read_text().splitlines() if out.exists() else [])]
        if problem and not counted:
            sys.exit(f"{problem}\n{text[-_CONSOLE_TAIL:]}")
        broken = {}
        for workload in workloads:
            end = re.search(rf"^@@ end {re.escape(workload)} (\d+)\r?$", text, re.MULTILINE)
            if end is None or end[1] != "0":
                at = text.rfind(f"@@ begin {workload}")
                why = f"exit status {end[1]}" if end else problem
                broken[workload] = f"{why}: {text[at:end.start() if end else None].strip()}"
        return [c for c in counted if c.workload not in broken], broken

    def _pack(self, directory, allocator, workloads, scale):
        tree = initramfs.Tree(directory / "root")
        tree.text("init", _INIT)
        tree.binary(self.programs / "workload", "bin")
        library, preload = "libc.so.6", ""
        if allocator.path:
            library = allocator.path.name
            preload = f"/lib/{library}"
            tree.binary(allocator.path, "lib")
        if allocator.name == "numaheap":
            for plugin in ("libnumaheap-numa.so", "libnumaheap-toml.so"):
                tree.binary(allocator.path.parent / plugin, "lib")
        cpus = sum(node.cpus for node in self.machine.nodes)
        last_node = next(node.cpus for node in reversed(self.machine.nodes) if node.cpus)
        servers = {name: _SERVERS[name] for name in workloads if name in _SERVERS}
        if servers:
            tree.binary(self.programs / "server_client", "bin")
            for shim in ("libnumasim-share-main.so", "libnumasim-no-mallctl.so"):
                tree.binary(self.programs / shim, "lib")
            (tree.root / "etc").mkdir()
            tree.text("etc/passwd", "root:x:0:0::/:/bin/sh\n")  # memcached looks its user up
        for path, _ in servers.values():
            tree.binary(path, "bin")
        for workload in workloads:
            lines = [f"preload={preload}"]
            if allocator.name == "numaheap" and self.options:
                lines.append(f"export NUMAHEAP_OPTIONS='{self.options}'")
            if workload in servers:
                start = servers[workload][1].format(
                    share_from=_SHARE_FROM, cpus=cpus, last_node=f"{cpus - last_node}-{cpus - 1}")
                lines.append(_SERVER_SCRIPT.format(
                    server=workload, start=start, seconds=_SECONDS_PER_WORKLOAD,
                    allocator=allocator.name, library=library, scale=scale))
            else:
                lines.append(f"LD_PRELOAD=$preload timeout -s KILL {_SECONDS_PER_WORKLOAD} "
                             f"workload {workload} {allocator.name} {library} {scale}")
            tree.text(f"programs/{workload}", "\n".join(lines) + "\n")
        tree.text("programs.list", "".join(f"{workload}\n" for workload in workloads))
        archive = directory / "initramfs.gz"
        tree.pack(archive)
        return archive


def absent_servers():
    """Those of the workloads that are servers which are not installed: their programs by name."""
    return {name: path for name, (path, _) in _SERVERS.items() if not path.is_file()}


def _follow(command, console, workloads):
    """Runs the machine to its end. Returns "" or what was wrong."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + _SECONDS_TO_BOOT
    marks = 0
    try:
        while process.poll() is None:
            seen = console.read_text(errors="replace").count("@@ ") if console.exists() else 0
            if seen != marks:
                marks = seen
                deadline = time.monotonic() + _SECONDS_PER_WORKLOAD + _GRACE_SECONDS
            if time.monotonic() > deadline:
                return "the machine hangs"
            time.sleep(0.2)
        if process.returncode != 0:
            return f"QEMU ended with status {process.returncode}: {process.stderr.read()}"
        return "" if marks == 2 * workloads + 1 else "the machine went down"
    finally:
        process.kill()
        process.wait()
