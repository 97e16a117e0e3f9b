"""The guest suite: which machines there are, and how each program is run on them.

CMakeLists.txt says which programs run on which machine.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Node:
    """A NUMA node of a machine."""
    megabytes: int  # 0: a node without memory
    cpus: tuple = ()


@dataclasses.dataclass(frozen=True)
class Machine:
    nodes: tuple
    # (node, node): distance, in one direction; 20 if not given
    distances: dict = dataclasses.field(default_factory=dict)
    smp: str = ""  # what QEMU is told of CPUs, if not just their number
    kernel_options: str = ""

    def arguments(self):
        """QEMU's options for CPUs, memory and nodes."""
        cpus = [cpu for node in self.nodes for cpu in node.cpus]
        arguments = ["-smp", self.smp or str(len(cpus)),
                     "-m", f"{sum(n.megabytes for n in self.nodes)}M"]
        for i, node in enumerate(self.nodes):
            option = f"node,nodeid={i}"
            option += "".join(f",cpus={cpu}" for cpu in node.cpus)
            if node.megabytes:
                arguments += ["-object", f"memory-backend-ram,id=m{i},size={node.megabytes}M"]
                option += f",memdev=m{i}"
            arguments += ["-numa", option]
        for i in range(len(self.nodes)):
            for j in range(i + 1, len(self.nodes)):
                distance = self.distances.get((i, j), 20)
                arguments += ["-numa", f"dist,src={i},dst={j},val={distance}"]
        return arguments


MACHINES = {
    "two_nodes": Machine((Node(384, (0, 1)), Node(384, (2, 3)))),
    # A memory expander: no CPUs, and farther away than anything else.
    "expander": Machine((Node(320, (0, 1)), Node(320, (2, 3)), Node(320)),
                        {(0, 2): 40, (1, 2): 40}),
    # No two nodes are equally far from a third.
    "four_nodes": Machine(tuple(Node(320, (i,)) for i in range(4)),
                          {(0, 1): 30, (0, 2): 16, (0, 3): 24,
                           (1, 2): 20, (1, 3): 18, (2, 3): 28}),
    # A line: neighbours are near.
    "eight_nodes": Machine(tuple(Node(256, (2 * i, 2 * i + 1)) for i in range(8)),
                           {(i, i + 1): 16 for i in range(7)}),
    # Nodes 0 and 2: the kernel keeps number 1 for a node of which nothing is there but a CPU that it
    # was told to leave alone.
    "sparse_nodes": Machine((Node(384, (0,)), Node(0, (1,)), Node(384, (2,))),
                            kernel_options="disable_cpu_apicid=1"),
    # CPUs 2 and 3 are off when the programs start; two more can be plugged in.
    "late_cpus": Machine((Node(384, (0, 2, 4)), Node(384, (1, 3, 5))), smp="4,maxcpus=6",
                         kernel_options="maxcpus=2"),
}


@dataclasses.dataclass(frozen=True)
class Program:
    command: str  # one command
    seconds: int = 60  # in the guest, which is some 20 times slower than the machine
    preload: str = "libnumaheap.so.0"  # "": none
    options: str = ""  # NUMAHEAP_OPTIONS
    setup: str = ""  # lines for the guest's shell, before

    def script(self):
        """What the guest's shell runs."""
        lines = ["set -e", self.setup]
        if self.options:
            lines.append(f"export NUMAHEAP_OPTIONS='{self.options}'")
        if self.preload:
            lines.append(f"export LD_PRELOAD=/lib/{self.preload}")
        # A time-out kills this process alone: it has to be the program.
        return "\n".join(lines + [f"exec {self.command}"]) + "\n"


# Rounds every 0.1 s.
_HEALING = "scavenger.idle_after=1s,scavenger.start_at=0,placement.heal=true"

PROGRAMS = {
    "topology": Program("topology_test"),
    "locality": Program("locality_test"),
    "remote_frees": Program("remote_frees_test"),
    "choice": Program("choice_test"),
    "full_nodes": Program("full_nodes_test", 120),
    "full_nodes.bind": Program("full_nodes_bind_test", 120, options="placement.policy=bind"),
    "full_nodes.spill": Program("full_nodes_bind_test", 120,
                                options="placement.policy=bind,placement.bind_fallback=spill"),
    "full_nodes.demand": Program("full_nodes_bind_test", 120,
                                 options="placement.policy=bind,placement.bind_fallback=spill,"
                                         "placement.use_memory_only=demand"),
    "memory_only": Program("memory_only_test", options="placement.use_memory_only=never"),
    "interleave": Program("interleave_test"),
    "refusal": Program("refusal_test", options="scavenger.start_at=0"),
    "soak": Program("soak_test --gtest_filter=SoakTest.OneCycle", 240,
                    options="scavenger.idle_after=100ms,scavenger.start_at=0,on_error=abort"),
    "cpu_hotplug": Program("cpu_hotplug_test", 180),
    "cpu_plug": Program("cpu_plug_test", 120),
    "huge_pages": Program("huge_pages_test", 90,
                          setup="echo always >/sys/kernel/mm/transparent_hugepage/enabled"),
    # Confined to memory and CPUs of the first node, and to its memory with everybody's CPUs.
    "cpuset": Program("confined 0 0 cpuset_test"),
    "cpuset.memory": Program("confined 0 '' cpuset_test"),
    # All of them at first, and the first node's memory at first.
    "cpuset.lost": Program("confined '' '' cpuset_change_test --gtest_filter=*Lost*", 90,
                           options=_HEALING),
    "cpuset.lost.bind": Program("confined '' '' cpuset_change_test --gtest_filter=*Lost*", 90,
                                options=_HEALING + ",placement.policy=bind"),
    "cpuset.gained": Program("confined 0 '' cpuset_change_test --gtest_filter=*Gained*",
                             options=_HEALING),
    "audit": Program("audit_test", 90, options="scavenger.start_at=0"),
}
PEERS = {
    "glibc": "",
    "jemalloc": "libjemalloc.so.2",
    "mimalloc": "libmimalloc.so.2",
    "tcmalloc": "libtcmalloc_minimal.so.4",
}
PROGRAMS |= {f"locality.{name}": Program("locality_test", preload=library)
             for name, library in PEERS.items()}
