"""A bar chart as SVG: a group per workload, a bar per allocator, one panel above the other."""

from xml.sax.saxutils import escape

# Told apart in print and by those who see few colours; numaheap's is the strong one.
_COLOURS = {"numaheap": "#0b5fa5", "glibc": "#9aa5b1", "jemalloc": "#e0a030", "mimalloc": "#5fa55a",
            "tcmalloc": "#c06060"}
_BAR, _GROUP_GAP, _PANEL, _LEFT, _TOP, _PANEL_GAP = 16, 26, 170, 64, 56, 70  # pixels


def write(path, title, workloads, names, panels):
    """`panels`: (heading, unit, {(workload, allocator): value})."""
    group = len(names) * _BAR + _GROUP_GAP
    width = _LEFT + len(workloads) * group + 20
    height = _TOP + len(panels) * (_PANEL + _PANEL_GAP)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
           f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="white"/>',
           f'<text x="12" y="20" font-size="15" font-weight="bold">{escape(title)}</text>']
    x = 12
    for name in names:
        out += [f'<rect x="{x}" y="30" width="11" height="11" fill="{_COLOURS[name]}"/>',
                f'<text x="{x + 16}" y="40">{escape(name)}</text>']
        x += 28 + 8 * len(name)
    for number, (heading, unit, values) in enumerate(panels):
        top = _TOP + number * (_PANEL + _PANEL_GAP) + 24
        out.append(f'<text x="12" y="{top - 10}" font-weight="bold">{escape(heading)}</text>')
        out += _panel(top, width, workloads, names, unit, values, group)
    out.append("</svg>")
    path.write_text("\n".join(out) + "\n", encoding="utf-8")


def _panel(top, width, workloads, names, unit, values, group):
    most = _round_up(max(values.values(), default=0) or 1)
    bottom = top + _PANEL
    for tick in range(5):
        value = most * tick / 4
        y = bottom - _PANEL * tick / 4
        yield (f'<line x1="{_LEFT}" x2="{width - 12}" y1="{y}" y2="{y}" '
               f'stroke="{"#444" if tick == 0 else "#ddd"}"/>')
        yield f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{value:g}{unit}</text>'
    for i, workload in enumerate(workloads):
        left = _LEFT + i * group + _GROUP_GAP / 2
        for k, name in enumerate(names):
            value = values.get((workload, name))
            if value is None:
                continue
            size = _PANEL * value / most
            x = left + k * _BAR
            yield (f'<rect x="{x}" y="{bottom - size:.1f}" width="{_BAR - 2}" height="{size:.1f}" '
                   f'fill="{_COLOURS[name]}"/>')
            digits = 2 if most <= 2 else 1 if value < 100 else 0
            label = f"{value:.{digits}f}"
            yield (f'<text x="{x + _BAR / 2 - 1}" y="{bottom - size - 3:.1f}" font-size="8" '
                   f'text-anchor="middle">{label}</text>')
        yield (f'<text x="{left + len(names) * _BAR / 2}" y="{bottom + 16}" '
               f'text-anchor="middle">{escape(workload)}</text>')


def _round_up(value):
    """The next of 1, 2, 4 and 8 times a power of ten."""
    power = 1.0
    while power * 10 <= value:
        power *= 10
    while power > value:
        power /= 10
    return next(step * power for step in (1, 2, 4, 8, 10) if step * power >= value)
