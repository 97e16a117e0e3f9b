"""QEMU's monitor: what the host does to a machine while it runs."""

import json
import socket

_ANSWER_SECONDS = 30


class MonitorError(Exception):
    """Says what QEMU did not do."""


class Monitor:
    """One end of a pair of sockets; QEMU speaks its machine protocol (QMP) on the other. Whoever
    starts QEMU passes `descriptor` on to it, and closes its own copy with started()."""

    def __init__(self):
        self._socket, self._of_machine = socket.socketpair()
        self._socket.settimeout(_ANSWER_SECONDS)
        self._lines = self._socket.makefile("r", encoding="utf-8")
        self.descriptor = self._of_machine.fileno()
        self._negotiated = False

    def arguments(self):
        """QEMU's options for it."""
        return ["-chardev", f"socket,id=monitor,fd={self.descriptor}",
                "-mon", "chardev=monitor,mode=control"]

    def started(self):
        """From now on the machine's end closes when the machine does."""
        self._of_machine.close()

    def close(self):
        """Of no use any more."""
        for end in (self._lines, self._socket, self._of_machine):
            end.close()

    def plug_cpu(self):
        """Plugs in one of the CPUs that the machine has room for."""
        for cpu in self._ask("query-hotpluggable-cpus"):
            if "qom-path" not in cpu:  # not there yet
                self._ask("device_add", driver=cpu["type"], **cpu["props"])
                return
        raise MonitorError("the machine has no room for one more CPU")

    def _ask(self, command, **arguments):
        try:
            if not self._negotiated:
                self._negotiated = True
                self._read()  # the greeting
                self._ask("qmp_capabilities")
            request = {"execute": command, "arguments": arguments}
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            while "event" in (answer := self._read()):
                pass
        except OSError as error:
            raise MonitorError(f"{command}: {error}") from error
        if "error" in answer:
            raise MonitorError(f"{command}: {answer['error']['desc']}")
        return answer["return"]

    def _read(self):
        line = self._lines.readline()
        if not line:
            raise MonitorError("QEMU has closed its monitor")
        return json.loads(line)
