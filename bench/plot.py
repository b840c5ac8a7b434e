"""Draw small SVG plots: panels of lines over a logarithmic x axis, or of bars. Text in, text out."""

import math
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 240, 170, 52, 34, 30
COLOURS = ("#1f6f8b", "#c8553d", "#8a8a8a", "#6a994e")


class Panel(NamedTuple):
    """One plot: a heading, the x labels, and a row of numbers for each name. `bars`: one bar for each x instead."""

    heading: str
    xs: list
    series: dict
    bars: bool = False


def figure(title, panels, columns=3):
    """Draw all panels, `columns` in a row."""
    rows = math.ceil(len(panels) / columns)
    across, high = columns * WIDTH, rows * HEIGHT + TOP
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across} {high}" font-family="sans-serif" font-size="10" fill="#333">',
        f'<rect width="{across}" height="{high}" fill="#fff"/><text x="10" y="20" font-size="14">{escape(title)}</text>',
    ]
    for i, panel in enumerate(panels):
        out.append(f'<g transform="translate({i % columns * WIDTH} {i // columns * HEIGHT + TOP})">')
        out += _panel(panel)
        out.append("</g>")
    return "\n".join([*out, "</svg>", ""])


def _panel(panel):
    top = nice(max(value for values in panel.series.values() for value in values))
    high, wide = HEIGHT - TOP - BOTTOM, WIDTH - LEFT - 14

    def y(value):
        return TOP + high * (1 - value / top)

    def x(i):
        return LEFT + wide * ((i + 0.5) / len(panel.xs))

    yield f'<text x="{LEFT - 40}" y="16" font-size="11">{escape(panel.heading)}</text>'
    for share in (0, 0.5, 1):
        yield f'<path d="M{LEFT} {y(top * share):.1f}h{wide}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 4}" y="{y(top * share) + 3:.1f}" text-anchor="end">{top * share:,g}</text>'
    for i, label in enumerate(panel.xs):
        yield f'<text x="{x(i):.1f}" y="{HEIGHT - 14}" text-anchor="middle">{escape(str(label))}</text>'
    for n, (name, values) in enumerate(panel.series.items()):
        if panel.bars:
            for i, value in enumerate(values):
                half = 0.3 * wide / len(values)
                box = f'x="{x(i) - half:.1f}" y="{y(value):.1f}" width="{2 * half:.1f}" height="{high + TOP - y(value):.1f}"'
                yield f'<rect {box} fill="{COLOURS[i]}"/>'
                yield f'<text x="{x(i):.1f}" y="{y(value) - 3:.1f}" text-anchor="middle">{value:{",.0f" if value >= 100 else ".2g"}}</text>'
            continue
        points = " ".join(f"{x(i):.1f},{y(value):.1f}" for i, value in enumerate(values))
        yield f'<polyline points="{points}" fill="none" stroke="{COLOURS[n]}" stroke-width="2"/>'
        if len(panel.series) > 1:
            yield f'<text x="{LEFT + 4 + 60 * n}" y="{TOP - 6}" fill="{COLOURS[n]}">{escape(name)}</text>'


def nice(most):
    """Round up to 1, 2 or 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(most)) if most > 0 else 1
    return next(step * power for step in (1, 2, 5, 10) if step * power >= most)
