"""What the plugin wrote, a line of JSON for each counted stretch of a workload."""

import dataclasses
import json
import re
import subprocess

# What the allocator is answerable for.
OWN = ("blocks", "metadata", "library")
# What the program shares across nodes; and what else it touches; and what the kernel does for it.
SHARED, REST, KERNEL = ("shared",), ("stack", "program"), ("kernel",)


@dataclasses.dataclass(frozen=True)
class Counts:
    allocator: str
    workload: str
    operations: int
    kinds: dict
    code: list
    hot: list

    @classmethod
    def parse(cls, line):
        fields = json.loads(line)
        allocator, workload = fields["run"].split()
        return cls(allocator, workload, fields["operations"], fields["kinds"], fields["code"],
                   fields["hot"])

    def accesses(self, kinds=OWN):
        return sum(self.kinds[kind]["accesses"] for kind in kinds)

    def matrix(self, kinds=OWN):
        """Misses by node of the CPU and node of the memory."""
        matrices = [self.kinds[kind]["misses"] for kind in kinds]
        return [[sum(cells) for cells in zip(*rows)] for rows in zip(*matrices)]

    def misses(self, kinds=OWN):
        return sum(map(sum, self.matrix(kinds)))

    def remote(self, kinds=OWN):
        return sum(count for i, row in enumerate(self.matrix(kinds))
                   for j, count in enumerate(row) if i != j)

    def remote_share(self, kinds=OWN):
        misses = self.misses(kinds)
        return self.remote(kinds) / misses if misses else 0.0

    def nanoseconds(self, machine, kinds=OWN):
        """Modelled time per operation."""
        matrix = self.matrix(kinds)
        missed = sum(count * machine.nanoseconds(i, j) for i, row in enumerate(matrix)
                     for j, count in enumerate(row))
        hits = self.accesses(kinds) - self.misses(kinds)
        return (missed + hits * machine.latency.hit) / self.operations

    def hot_places(self, libraries):
        """Where misses of the allocator's own kinds come from, most first: (misses, kind,
        pages, lowest page, where). `libraries`: path by file name, of those with symbols."""
        places = {}
        for place in self.hot:
            places.setdefault((place["kind"], place["pc"]), []).append(place)
        sums = sorted(((sum(p["misses"] for p in at), key) for key, at in places.items()),
                      reverse=True)
        for misses, (kind, pc) in sums:
            pages = {place["page"] for place in places[kind, pc]}
            yield misses, kind, len(pages), min(pages), self._name(pc, libraries)

    def _name(self, pc, libraries):
        for mapping in self.code:
            begin, end, offset, path = mapping.split(maxsplit=3)
            if int(begin, 16) <= pc < int(end, 16):
                file = path.rpartition("/")[2]
                address = pc - int(begin, 16) + int(offset, 16)
                return f"{file}+{address:#x} {_symbol(libraries.get(file), address)}".rstrip()
        return f"{pc:#x}"


def _symbol(path, address):
    if path is None:
        return ""
    answer = subprocess.run(["addr2line", "-Cfis", "-e", path, hex(address)], capture_output=True,
                            text=True, check=False).stdout.splitlines()
    return " < ".join(re.sub(r"[(<].*", "", name) for name in answer[:6:2])
