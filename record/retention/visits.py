"""Count visits, once a day, for the baselines: what was seen where, at which hours, on how many watched days.

What counts is the day: of all visits within an hour of the middle of an hour a day has one, so one of half an hour, or a night
with twenty, counts once, into however many events and incidents it was cut. A camera is watched between two pictures unless they are further apart than is usual for it: one
that uploads only what moves is watched while nothing does, one that is off is not. Counted from all that retention
keeps, whole days of the cameras' clocks only: the current day is not in its own baseline.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import tzinfo
from functools import cache
from itertools import groupby, pairwise
from math import ceil, floor

from hearthwatch.record import Record
from hearthwatch.record.baselines import BaselineRow, version_at, write_baselines
from hearthwatch.record.surroundings import zones_of
from hearthwatch.record.units import DAY, HOUR, QUARTER
from hearthwatch.schemas.items import from_microseconds
from hearthwatch.schemas.zones import Zone, places_of

HALF_LIFE_DAYS, DAYS_MAX = 30, 90
FAR = 2.0  # hours from the middle of an hour: up to one a visit counts as in it, from there ever less
GRID = 64  # parts of the picture's width and height: as exactly as this it is known where an object stood

LocalHours = Callable[[int], float]
Cells = dict[int, tuple[float, float]]
"""Hour, counted from 1970 on the local clock → the share of it that counts, and minutes of presence."""

_FEET = f"""
SELECT DISTINCT e.started_at, e.last_at, e.id, d.object_type,
  min((d.bbox_x + d.bbox_width / 2) * {GRID} / f.width, {GRID - 1}), min((d.bbox_y + d.bbox_height) * {GRID} / f.height, {GRID - 1})
FROM detections d JOIN events e ON e.id = d.event_id JOIN frames f ON f.id = e.id
WHERE d.camera_id = ? AND d.detected_at >= ? AND d.detected_at < ? AND f.width > 0 AND f.height > 0 ORDER BY 1, 2, 3"""


def build_baselines(
    record: Record, at: int, zone: tzinfo | None = None, stop: Callable[[], bool] = lambda: False
) -> int:
    """Write a version as of `at` (microseconds) if there is none of this day yet; return its number of rows.

    `zone` is that of the cameras' clocks. Ends early, without a version, when `stop()` is true.

    Raises:
        RecordError: the record cannot be read or written.
    """
    local = local_hours(zone)
    last = version_at(record, at + DAY)
    if last is not None and local(last) // 24 >= local(at) // 24:
        return 0
    rows: list[BaselineRow] = []
    for camera, zones in record.rows("SELECT id, zones FROM cameras ORDER BY id"):
        if stop():
            return 0
        rows += count_visits(record, camera, zones_of(camera, zones), at, local)
    if rows:
        write_baselines(record, at, rows)
    return len(rows)


def local_hours(zone: tzinfo | None) -> LocalHours:
    """Return a function from a time to the hours that a clock of this zone has shown since its 1 January 1970."""

    @cache
    def offset(quarter: int) -> float:
        shift = from_microseconds(quarter * QUARTER).astimezone(zone).utcoffset()
        assert shift is not None
        return shift.total_seconds() / 3600

    return lambda at: at / HOUR + offset(at // QUARTER)


def count_visits(
    record: Record, camera: str, zones: tuple[Zone, ...], at: int, local: LocalHours
) -> Iterator[BaselineRow]:
    """Yield the rows of one camera, from the whole days before `at`."""
    since, today = at - DAYS_MAX * DAY, floor(local(at) / 24)
    watched, seen = read_watched(record, camera, since, at, local), defaultdict[tuple[str, str], Cells](dict)
    for kind, place, first, last in read_presence(record, camera, zones, since, at):
        cells, start, end = seen[kind, place], local(first), local(last)
        for hour in range(floor(start - FAR + 0.5), ceil(end + FAR - 0.5)):
            away = max(start - hour - 0.5, hour + 0.5 - end)
            share, minutes = cells.get(hour, (0.0, 0.0))
            minutes += 60 * max(0.0, min(end, hour + 1) - max(start, hour))
            cells[hour] = max(share, min(1.0, FAR - away)), minutes
    for cells in seen.values():
        watched |= {hour: max(cell, watched.get(hour, cell)) for hour, cell in cells.items()}
    on = _by_hour(watched, today, 0.5)
    for place in ("", *sorted({zone.kind for zone in zones if zone.kind != "ignore"})):
        yield from (BaselineRow(camera, "", place, *key, days[0], days[1]) for key, days in on.items())
    for (kind, place), cells in seen.items():
        yield from (
            BaselineRow._make((camera, kind, place, *key, *on[key][:2], *days))
            for key, days in _by_hour(cells, today, 1.0).items()
        )


def _by_hour(cells: Cells, today: int, least: float) -> dict[tuple[int, bool], tuple[float, int, float]]:
    """Add up the days before today: by age; those with `least` of a share as one each; minutes by age."""
    out: dict[tuple[int, bool], tuple[float, int, float]] = {}
    for cell, (share, minutes) in sorted(cells.items()):
        day, hour = divmod(cell, 24)
        if share and today - DAYS_MAX <= day < today:
            weight, key = 0.5 ** ((today - day) / HALF_LIFE_DAYS), (hour, (day + 3) % 7 < 5)  # 1970 began on a Thursday
            a, n, b = out.get(key, (0.0, 0, 0.0))
            out[key] = a + weight * share, n + (share >= least), b + weight * minutes
    return out


def read_watched(record: Record, camera: str, since: int, until: int, local: LocalHours) -> Cells:
    """Read which share of each hour, half an hour before and behind it included, the camera was watched."""
    sql = "SELECT quarter FROM pictures WHERE camera_id = ? AND quarter BETWEEN ? AND ? ORDER BY quarter"
    quarters = [q for (q,) in record.rows(sql, camera, since // QUARTER, until // QUARTER)]
    on = {round(local(q * QUARTER) * 4) for q in watched_quarters(quarters)}
    hours = {(q + n) // 4 for q in on for n in (-2, 2)}
    return {hour: (sum(q in on for q in range(4 * hour - 2, 4 * hour + 6)) / 8, 0.0) for hour in hours}


def watched_quarters(quarters: Sequence[int]) -> Iterator[int]:
    """Yield the quarters of an hour in which a camera with pictures in these was watched.

    A pause is usual if one day in four has one two thirds as long; during a longer one the camera was off. Of one that takes
    pictures by the clock (in a third of all quarters, with a pause a day at most) no pause is usual.
    """
    pauses = sorted((b - a for a, b in pairwise(quarters)), reverse=True) or [1]
    days = (quarters[-1] - quarters[0]) // 96 if quarters else 0
    by_clock = len(quarters) > 32 * days and len(pauses) - pauses.count(1) <= days + 1
    usual = 1 if by_clock else pauses[min(days // 4, len(pauses) - 1)]
    for a, b in pairwise(quarters):
        yield from range(a, b if b - a <= max(2, usual * 3 // 2) else a + 1)
    yield from quarters[-1:]


def read_presence(
    record: Record, camera: str, zones: tuple[Zone, ...], since: int, until: int
) -> Iterator[tuple[str, str, int, int]]:
    """Yield which kind of object was in which place, '' being anywhere, from when to when (microseconds), by event."""
    places = cache(lambda x, y: set(places_of(zones, ((x + 0.5) / GRID, (y + 0.5) / GRID))) - {"ignore"})
    for objects, first, last in record.execute(
        "SELECT objects, started_at, last_at FROM events WHERE camera_id = ? AND status <> 'merged' AND started_at >= ? "
        "AND started_at < ? AND objects IS NOT NULL ORDER BY 2, 3, id", camera, since, until,
    ):  # fmt: skip
        yield from ((kind, "", first, last) for kind in json.loads(objects))
    feet = record.execute(_FEET, camera, since, until) if zones else ()
    for (first, last, _), boxes in groupby(feet, key=lambda row: row[:3]):
        found = {(kind, place) for *_, kind, x, y in boxes for place in places(x, y)}
        yield from ((kind, place, first, last) for kind, place in found)
