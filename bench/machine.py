"""What the figures were measured on, and what disturbed them."""

import os
import pathlib
import platform

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Of the numbers behind "cpuN" in /proc/stat:
_BUSY = (0, 1, 2, 5, 6)  # user, nice, system, irq, softirq
_STEAL = (7,)


def _read(path, default="unknown"):
    try:
        return pathlib.Path(path).read_text().strip()
    except OSError:
        return default


def _cpu_model():
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.machine()


def describe():
    """One line each: the machine, the kernel, and the settings that move an allocator's figures."""
    allowed = sorted(os.sched_getaffinity(0))
    huge_pages = _read("/sys/kernel/mm/transparent_hugepage/enabled")
    governor = _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "none")
    virtual = ", virtual" if "hypervisor" in _read("/proc/cpuinfo") else ""
    return [
        f"machine: {_cpu_model()}{virtual}, {os.cpu_count()} CPUs, {len(allowed)} allowed, "
        f"NUMA nodes {_read('/sys/devices/system/node/online', 'none')}",
        f"kernel: {platform.system()} {platform.release()}, {platform.machine()}; transparent huge "
        f"pages {huge_pages}; frequency governor {governor}",
        f"load average: {' '.join(f'{load:.2f}' for load in os.getloadavg())}",
    ]


def _seconds(cpus, columns):
    names = {f"cpu{cpu}" for cpu in cpus}
    stat = [line.split() for line in _read("/proc/stat").splitlines()]
    return sum(int(line[1 + column]) for line in stat if line and line[0] in names
               for column in columns) / _TICKS_PER_SECOND


def stolen_seconds(cpus):
    """Seconds that the hypervisor gave to others while these CPUs wanted to run, since boot."""
    return _seconds(cpus, _STEAL)


def busy_seconds(cpus):
    """Seconds that these CPUs spent running anything at all, since boot."""
    return _seconds(cpus, _BUSY)
