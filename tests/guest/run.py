"""A run of QEMU: what the guest reports on its second serial port, what it asks for there, and what
the kernel says on the first."""

import re
import subprocess
import time

import monitor

_BOOT_SECONDS = 120
_GRACE_SECONDS = 30  # after a program's own limit, which the guest enforces
_CONSOLE_TAIL = 8000  # characters
# What init.sh writes between the programs' output, and the programs' wish for one more CPU.
_MARK = re.compile(r"^@@ (begin|end|done|plug)(?: (\S+))?(?: (\d+))?\r?$")


class Run:
    """Created, followed to its end, then asked."""

    def __init__(self, directory, command):
        """`directory` gets the two files that the serial ports write."""
        self.console_path = directory / "console.log"
        self.report_path = directory / "report.log"
        for path in (self.console_path, self.report_path):
            path.write_bytes(b"")
        self._monitor = monitor.Monitor()
        self.command = command + ["-serial", f"file:{self.console_path}",
                                  "-serial", f"file:{self.report_path}",
                                  *self._monitor.arguments()]
        self.outputs = {}  # program: lines
        self.statuses = {}  # program: exit status
        self.current = None
        self.done = False

    def follow(self, seconds_of):
        """Runs to the end. Returns "" or what was wrong. `seconds_of`: program -> its limit."""
        # The machine must not survive this script, however that ends.
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *self.command],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True,
                                   pass_fds=[self._monitor.descriptor])
        self._monitor.started()
        deadline = time.monotonic() + _BOOT_SECONDS
        rest = ""
        try:
            with open(self.report_path, encoding="utf-8", errors="replace") as report:
                while True:
                    ended = process.poll() is not None
                    text = rest + report.read()
                    *lines, rest = text.split("\n")
                    for line in lines:
                        if self._take(line):
                            limit = seconds_of(self.current) if self.current else 0
                            deadline = time.monotonic() + limit + _GRACE_SECONDS
                    if ended:
                        break
                    if time.monotonic() > deadline:
                        return "the machine hangs"
                    time.sleep(0.1)
            if process.returncode != 0:
                return f"QEMU ended with status {process.returncode}: {process.stdout.read()}"
            return "" if self.done else "the machine went down"
        except monitor.MonitorError as error:
            return str(error)
        finally:
            process.kill()
            process.wait()
            self._monitor.close()

    def _take(self, line):
        """Reads a line; returns whether it is a mark."""
        mark = _MARK.match(line)
        if mark is None:
            if self.current:
                self.outputs[self.current].append(line.rstrip("\r"))
            return False
        kind, name, status = mark.groups()
        if kind == "begin":
            self.current = name
            self.outputs[name] = []
        elif kind == "end":
            self.statuses[name] = int(status)
            self.current = None
        elif kind == "done":
            self.done = True
        else:
            self._monitor.plug_cpu()
        return True

    def console_of(self, name):
        """The last of what the kernel printed, while that program ran if it is not None."""
        console = self.console_path.read_text(encoding="utf-8", errors="replace")
        console = console.replace("\r", "")
        if name is not None:
            _, _, console = console.partition(f"numaheap guest: {name}\n")
            console, _, _ = console.partition("numaheap guest: ")
            # Where nothing was said, there is the time of the next program's line.
            if not console.strip("[]. 0123456789\n"):
                return ""
        return console[-_CONSOLE_TAIL:]
