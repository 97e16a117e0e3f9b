"""The machine that is simulated: its nodes, its caches, and what a miss costs."""

import dataclasses

_LOCAL_DISTANCE = 10  # as ACPI has it
_ONE_HOP_DISTANCE = 20  # farther is two hops


@dataclasses.dataclass(frozen=True)
class Node:
    megabytes: int
    cpus: int  # 0: a memory expander

    @classmethod
    def parse(cls, text):
        """Of "512:2": megabytes and CPUs."""
        megabytes, _, cpus = text.partition(":")
        return cls(int(megabytes), int(cpus))


@dataclasses.dataclass(frozen=True)
class Latency:
    """Nanoseconds. Round figures of servers of the last years, for want of a machine at hand."""
    hit: float = 1
    local: float = 90
    one_hop: float = 140
    two_hops: float = 200
    expander: float = 250

    @classmethod
    def parse(cls, text):
        """Of "local=80,one_hop=130": the others stay."""
        return cls(**{name: float(value) for name, _, value in
                      (item.partition("=") for item in text.split(","))})


@dataclasses.dataclass(frozen=True)
class Machine:
    nodes: tuple
    distances: dict  # (node, node): distance, in one direction; 20 if not given
    cache_bytes: int
    ways: int
    latency: Latency

    def distance(self, a, b):
        return self.distances.get((a, b)) or self.distances.get((b, a)) or _ONE_HOP_DISTANCE

    def nanoseconds(self, cpu_node, memory_node):
        """What one miss costs."""
        if cpu_node == memory_node:
            return self.latency.local
        if self.nodes[memory_node].cpus == 0:
            return self.latency.expander
        near = self.distance(cpu_node, memory_node) <= _ONE_HOP_DISTANCE
        return self.latency.one_hop if near else self.latency.two_hops

    def qemu_arguments(self):
        # An old machine type that still takes "mem=": its memory is one block, so that what the
        # plugin gets is the physical address. With a block per node it would not be (QEMU 7.2).
        arguments = ["-machine", "pc-q35-5.0",
                     "-smp", str(sum(node.cpus for node in self.nodes)),
                     "-m", f"{sum(node.megabytes for node in self.nodes)}M"]
        first_cpu = 0
        for i, node in enumerate(self.nodes):
            option = f"node,nodeid={i},mem={node.megabytes}M"
            if node.cpus:
                option += f",cpus={first_cpu}-{first_cpu + node.cpus - 1}"
            first_cpu += node.cpus
            arguments += ["-numa", option]
        for i in range(len(self.nodes)):
            for j in range(i + 1, len(self.nodes)):
                arguments += ["-numa", f"dist,src={i},dst={j},val={self.distance(i, j)}"]
        return arguments

    def plugin_arguments(self):
        arguments = [f"bytes={self.cache_bytes}", f"ways={self.ways}"]
        first_byte = 0
        for node in self.nodes:
            size = node.megabytes << 20
            arguments.append(f"node={first_byte}:{size}:{node.cpus}")
            first_byte += size
        return arguments

    def describe(self):
        nodes = "; ".join(
            f"node {i}: {node.megabytes} MiB, "
            + (f"{node.cpus} CPUs" if node.cpus else "no CPUs")
            for i, node in enumerate(self.nodes))
        distances = ", ".join(
            f"{i}-{j}: {self.distance(i, j)}"
            for i in range(len(self.nodes)) for j in range(i + 1, len(self.nodes)))
        costs = ", ".join(f"{name.replace('_', ' ')} {value:g}"
                          for name, value in dataclasses.asdict(self.latency).items())
        return [f"machine: {nodes}; distances {distances}",
                f"cache of each CPU: {self.cache_bytes >> 10} KiB, {self.ways} ways, lines of 64 "
                "bytes, least recently used first, write-invalidate",
                f"latencies, ns: {costs}"]
