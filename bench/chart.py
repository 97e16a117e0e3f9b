"""The results as a picture (SVG): a row per workload, a dot per allocator, at its ratio to the best
packaged peer; time to the left, memory to the right. Written by hand: no plotting library needed.
"""

import math

import report

# Okabe and Ito's colours, which the colour-blind can tell apart too.
COLOURS = {"numaheap": "#d55e00", "glibc": "#000000", "jemalloc": "#0072b2", "mimalloc": "#009e73",
           "tcmalloc": "#cc79a7", "tbbmalloc": "#e69f00"}
ROW, LABELS, PANEL, GAP, TOP, BOTTOM = 17, 150, 370, 30, 74, 34  # pixels
LOWEST, HIGHEST = 0.5, 8.0  # ratios; what lies outside is drawn at the edge
TICKS = (0.5, 1, 2, 4, 8)
PANELS = (("seconds", "time"), ("peak_kib", "peak resident memory"))


def _x(panel, ratio):
    share = math.log(min(max(ratio, LOWEST), HIGHEST) / LOWEST) / math.log(HIGHEST / LOWEST)
    return LABELS + panel * (PANEL + GAP) + share * PANEL


def _text(x, y, text, anchor="start", colour="#333", weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" '
            f'font-weight="{weight}">{text}</text>')


def _dot(x, y, allocator):
    radius = 5 if allocator == report.OWN else 3.5
    return (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{COLOURS[allocator]}" '
            f'stroke="#fff" stroke-width="0.8"/>')


def svg(results):
    """The picture, as text."""
    width = LABELS + 2 * PANEL + GAP + 20
    height = TOP + ROW * len(results.workloads) + BOTTOM
    bottom = height - BOTTOM
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
             f'viewBox="0 0 {width} {height}" font-family="DejaVu Sans, sans-serif" '
             'font-size="11">', f'<rect width="{width}" height="{height}" fill="#fff"/>']
    parts += _legend(results)
    for panel, (_, name) in enumerate(PANELS):
        parts.append(_text(_x(panel, LOWEST), TOP - 26, f"{name} / best packaged peer's",
                           weight="bold"))
        for tick in TICKS:
            x = _x(panel, tick)
            colour = "#555" if tick == 1 else "#ddd"
            parts.append(f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom}" '
                         f'stroke="{colour}"/>')
            parts += [_text(x, y, f"{tick:g}", "middle") for y in (TOP - 10, bottom + 14)]
    for number, workload in enumerate(results.workloads):
        y = TOP + ROW * (number + 0.5)
        if number % 2 == 0:
            parts.insert(2, f'<rect x="0" y="{y - ROW / 2}" width="{width}" height="{ROW}" '
                         'fill="#f6f6f6"/>')
        parts.append(_text(LABELS - 12, y + 4, workload, "end"))
        for panel, (column, _) in enumerate(PANELS):
            parts += _row(results, workload, panel, column, y)
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _row(results, workload, panel, column, y):
    best = results.best_peer(workload, report.OWN, column)
    if not best:
        return []
    # numaheap last, on top of the others.
    order = sorted(results.allocators, key=lambda allocator: allocator == report.OWN)
    sound = {a: results.sound(workload, a) for a in order}
    return [_dot(_x(panel, cell.median(column) / best[1]), y, allocator)
            for allocator, cell in sound.items() if cell]


def _legend(results):
    parts = []
    x = LABELS
    for allocator in results.allocators:
        parts += [_dot(x, 20, allocator), _text(x + 9, 24, allocator)]
        x += 100
    return parts
