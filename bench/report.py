"""What the runs of bench/run add up to: medians, ratios, geometric means, as Markdown."""

import dataclasses
import math
import statistics

import table

OWN = "numaheap"
# Column, name, and what numaheap should not be over. Less is better in all of them.
MEASURES = (("seconds", "time", 1.15), ("cpu_seconds", "CPU time", 1.15),
            ("peak_kib", "memory", 1.5))


@dataclasses.dataclass
class Cell:
    """The runs of one workload under one allocator; `broken` says why there are none that count."""

    rows: list
    broken: str

    def median(self, column):
        return statistics.median(row[column] for row in self.rows)

    def half_spread(self, column):
        """Half the distance between the quartiles, as a share of the median."""
        values = [row[column] for row in self.rows]
        if len(values) < 2 or not self.median(column):
            return 0.0
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        return (high - low) / 2 / middle


class Results:
    """All runs. The peers of an allocator are the packaged ones, without itself."""

    def __init__(self, rows, workloads, allocators):
        self.rows = rows
        self.workloads = workloads  # names
        self.allocators = allocators
        self.cells = {}
        for row in rows:
            cell = self.cells.setdefault((row["workload"], row["allocator"]), Cell([], ""))
            if row["broken"]:
                cell.broken = f"round {row['round']}: {row['broken']}"
            cell.rows.append(row)

    def sound(self, workload, allocator):
        """The cell, unless the allocator broke even once."""
        cell = self.cells.get((workload, allocator))
        return cell if cell and not cell.broken else None

    def best_peer(self, workload, allocator, column):
        """(name, median) of the best packaged allocator besides this one, or None."""
        medians = {peer: self.sound(workload, peer).median(column) for peer in self.allocators
                   if peer not in (OWN, allocator) and self.sound(workload, peer)}
        best = min(medians, key=medians.get, default=None)
        return (best, medians[best]) if best else None

    def ratio(self, workload, allocator, column):
        cell = self.sound(workload, allocator)
        best = self.best_peer(workload, allocator, column)
        if not cell or not best or not cell.median(column) * best[1]:  # less than can be measured
            return None
        return cell.median(column) / best[1]

    def ratios(self, allocator, column):
        """By workload, the worst first."""
        found = {workload: self.ratio(workload, allocator, column) for workload in self.workloads}
        return dict(sorted(((w, r) for w, r in found.items() if r), key=lambda item: -item[1]))

    def broken(self, allocator):
        return {workload: self.cells[workload, allocator].broken for workload in self.workloads
                if (workload, allocator) in self.cells
                and self.cells[workload, allocator].broken}

    def disturbed(self):
        return [row for row in self.rows if row["disturbed"]]


def geometric_mean(ratios):
    return math.exp(statistics.fmean(map(math.log, ratios))) if ratios else None


def figure(value, digits=2):
    return "—" if value is None else f"{value:.{digits}f}"


def candidates(results):
    """A row per allocator: what its geometric means would be if it were the candidate."""
    rows = []
    for allocator in results.allocators:
        row = [allocator]
        for column, _, _ in MEASURES:
            ratios = results.ratios(allocator, column)
            worst = next(iter(ratios), None)
            row += [figure(geometric_mean(ratios.values())),
                    f"{worst} {ratios[worst]:.2f}" if worst else "—"]
        rows.append([*row, len(results.broken(allocator)) or "none"])
    header = (part for _, name, _ in MEASURES for part in (f"{name} / best peer's", "worst"))
    return table.markdown(["allocator", *header, "broken workloads"], rows)


def by_workload(results, column, unit, scale):
    """A row per workload: each allocator's median, and numaheap's against the best peer's."""
    rows = []
    for workload in results.workloads:
        row = [workload]
        for allocator in results.allocators:
            cell = results.sound(workload, allocator)
            row.append(f"{cell.median(column) / scale:.{2 if column == 'seconds' else 1}f}"
                       f" ±{100 * cell.half_spread(column):.0f}%" if cell else
                       "broken" if (workload, allocator) in results.cells else "—")
        best = results.best_peer(workload, OWN, column)
        rows.append([*row, best[0] if best else "—",
                     figure(results.ratio(workload, OWN, column))])
    return table.markdown([f"workload, {unit}", *results.allocators, "best peer",
                           f"{OWN}'s / best's"], rows)


def details(results):
    """A row per workload and allocator, with everything that was counted."""
    rows = []
    for (workload, allocator), cell in results.cells.items():
        if cell.broken:
            rows.append({"workload": workload, "allocator": allocator, "time, s": "broken"})
            continue
        row = {"workload": workload, "allocator": allocator}
        for name, column, digits in (("time, s", "seconds", 3), ("CPU time, s", "cpu_seconds", 3),
                                     ("peak, KiB", "peak_kib", 0)):
            row[name] = figure(cell.median(column), digits)
            row[f"{name} ±"] = f"{100 * cell.half_spread(column):.0f}%"
            row[f"{name} / best peer's"] = figure(results.ratio(workload, allocator, column))
        for column in ("minor_faults", "major_faults", "voluntary_switches",
                       "involuntary_switches"):
            row[column.replace("_", " ")] = figure(cell.median(column), 0)
        row["runs disturbed"] = f"{sum(r['disturbed'] for r in cell.rows)} of {len(cell.rows)}"
        rows.append(row)
    header = max(rows, key=len)
    return table.markdown(header, [[row.get(name, "") for name in header] for row in rows])


def over(results, column, most):
    """Where numaheap is over `most` times the best peer, the worst first."""
    return [f"{workload} {ratio:.2f} ({results.best_peer(workload, OWN, column)[0]})"
            for workload, ratio in results.ratios(OWN, column).items() if ratio > most]


def summary(results, header, skipped):
    """What is worth reading first."""
    lines = [f"- {line}" for line in header]
    total, disturbed = len(results.rows), results.disturbed()
    lines.append(f"- {total} runs, {len(disturbed)} of them disturbed: the hypervisor or other "
                 "programs took CPU time; they are counted all the same"
                 + "".join(f"; round {number}: {count}" for number, count in
                           sorted(count_by_round(disturbed).items())))
    lines += [f"- skipped: {line}" for line in skipped]
    lines += ["", candidates(results), "",
              "Geometric means over the workloads of the ratio to the best packaged peer of that "
              "workload (the fastest; the leanest). A packaged allocator's peers are the other "
              "packaged ones, without numaheap. Below 1.00 an allocator is ahead of all of them; "
              "above it, it is behind the one that came out best, which noise helps to choose."]
    for column, name, most in MEASURES:
        found = over(results, column, most)
        lines += ["", f"{OWN} over {most} times the best peer in {name}: "
                  + (", ".join(found) or "nowhere") + "."]
    broken = [f"- {workload} under {allocator}, {why}" for allocator in results.allocators
              for workload, why in results.broken(allocator).items()]
    if broken:
        lines += ["", "Broken, and in no median:", "", *broken]
    return "\n".join(lines) + "\n"


def count_by_round(rows):
    counts = {}
    for row in rows:
        counts[row["round"]] = counts.get(row["round"], 0) + 1
    return counts


def tables(results):
    return "\n".join([
        "## Time", "", by_workload(results, "seconds", "s", 1), "",
        "Medians over the rounds; ± is half the interquartile range.", "",
        "## Peak resident memory", "", by_workload(results, "peak_kib", "MiB", 1024), "",
        "Of the largest process. redis/fragmentation: resident at the end.", ""])
