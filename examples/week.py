"""When it is busy: events by weekday and hour, drawn as an SVG. `python week.py data/analytics.duckdb > week.svg`

Asks the views while the pipeline writes; hours are those of this machine's time zone. Needs `duckdb`, nothing else.
"""

import sys

import duckdb

EVENTS = """
SELECT date_part('isodow', started_at)::INT AS day, date_part('hour', started_at)::INT AS hour, count(*) AS events
FROM events WHERE status <> 'merged' GROUP BY 1, 2"""
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
CELL, LEFT, TOP = 24, 44, 24  # pixels


def svg(counts):
    """{(day, hour): events} -> one square an hour, the darker the more."""
    most = max(counts.values(), default=1)
    parts = [text(LEFT + hour * CELL + CELL / 2, TOP - 8, hour) for hour in range(0, 24, 3)]
    for day, name in enumerate(DAYS, 1):
        y = TOP + (day - 1) * CELL
        parts.append(text(LEFT / 2, y + CELL / 2 + 4, name))
        for hour in range(24):
            n = counts.get((day, hour), 0)
            parts.append(
                f'<rect x="{LEFT + hour * CELL}" y="{y}" width="{CELL - 2}" height="{CELL - 2}" rx="3" fill="#2563eb" '
                f'fill-opacity="{0.06 + 0.94 * n / most:.2f}"><title>{name} {hour}:00: {n} events</title></rect>'
            )
    size = f'width="{LEFT + 24 * CELL}" height="{TOP + 7 * CELL + 4}"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', *parts, "</svg>"])


def text(x, y, words):
    return f'<text x="{x}" y="{y}" font-family="sans-serif" font-size="11" fill="#64748b" text-anchor="middle">{words}</text>'


if __name__ == "__main__":
    with duckdb.connect(sys.argv[1], read_only=True) as db:
        print(svg({(day, hour): events for day, hour, events in db.execute(EVENTS).fetchall()}))
