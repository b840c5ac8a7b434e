"""Suggest zones of a camera from where people walked: the own door where tracks begin inside the picture, public ground where
they cross it. Pure but for one bounded query: events that show one person, so that their boxes are one track.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from math import dist
from statistics import fmean, linear_regression, median
from typing import Any, NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.units import BOXES_OF_FRAME, DAY, SECOND
from hearthwatch.schemas.zones import Point, Zone, ZoneKind

DAYS, EVENTS_MAX, BOXES_MAX = 30, 500, 50_000
TRACKS_MIN = 5  # as many begin at a place, or cross the picture, before it is suggested
APART = 60 * SECOND  # between events, else the later one may be the rest of the earlier
BORDER = 0.02  # of the picture's height: a box that close to its border touches it
REACH = 0.5  # heights of a person: how far apart tracks begin that come from one door
STRIDE = 0.1  # heights from picture to picture, at least, of a person who does not stop
DOORS_MAX = 3


class Step(NamedTuple):
    """The box of a person in one picture, and how wide that is. The unit is the picture's height."""

    x: float
    y: float
    width: float
    height: float
    wide: float

    @property
    def foot(self) -> Point:
        return self.x + self.width / 2, self.y + self.height

    def touches_border(self) -> bool:
        return min(self.x, self.y, self.wide - self.x - self.width, 1 - self.y - self.height) <= BORDER


Track = Sequence[Step]


def suggest(record: Record, camera: str, drawn: Sequence[Zone], now: int) -> list[dict[str, Any]]:
    """Suggest zones, with reasons, where none of `drawn` is of that kind yet."""
    tracks = _read_tracks(record, camera, now)
    found = [(zone, [fmean(values) for values in zip(*zone["points"], strict=True)]) for zone in find_zones(tracks)]
    return [s for s, (x, y) in found if not any(z.kind == s["kind"] and z.contains((x, y)) for z in drawn)]


def find_zones(tracks: Sequence[Track]) -> list[dict[str, Any]]:
    """Find doors, that where most tracks begin first, and the street."""
    return [*_doors([t[0] for t in tracks if len(t) > 1 and not _comes_from_border(*t[:2])]), *_street(tracks)]


def _doors(begun: Sequence[Step]) -> list[dict[str, Any]]:
    near = [{n for n, b in enumerate(begun) if dist(a.foot, b.foot) <= REACH * min(a.height, b.height)} for a in begun]
    out: list[dict[str, Any]] = []
    left = set(range(len(begun)))
    while len(out) < DOORS_MAX:
        here = max((near[n] & left for n in sorted(left)), key=len, default=set())
        if len(here) < TRACKS_MIN:
            break
        left -= here
        side = median(begun[n].height for n in here) / 4
        xs, ys = zip(*(begun[n].foot for n in here), strict=True)
        x1, x2, y1, y2 = min(xs) - side, max(xs) + side, min(ys) - side / 2, max(ys) + side / 2
        why = f"{len(here)} people were first seen here in {DAYS} days"
        out.append(_zone("own door", "own_door", [(x1, y1), (x2, y1), (x2, y2), (x1, y2)], begun[0].wide, why))
    return out


def _street(tracks: Sequence[Track]) -> list[dict[str, Any]]:
    crossing = [track for track in tracks if _crosses(track)]
    if len(crossing) < TRACKS_MIN:
        return []
    feet, wide = [step.foot for track in crossing for step in track], crossing[0][0].wide
    slope, y = linear_regression(*zip(*feet, strict=True))
    off = sorted(abs(foot[1] - y - slope * foot[0]) for foot in feet)
    half, y2 = off[len(off) * 9 // 10] + BORDER, y + slope * wide
    why = f"{len(crossing)} people crossed the picture here in {DAYS} days and did not stop"
    return [_zone("street", "public", [(0, y - half), (wide, y2 - half), (wide, y2 + half), (0, y + half)], wide, why)]


def _zone(name: str, kind: ZoneKind, points: Sequence[Point], wide: float, why: str) -> dict[str, Any]:
    inside = [[round(min(1.0, max(0.0, v)), 4) for v in (x / wide, y)] for x, y in points]
    return {"name": name, "kind": kind, "points": inside, "why": why}


def _comes_from_border(first: Step, second: Step) -> bool:
    """Check whether a person touched a border in the first picture, or did so one picture earlier at that speed."""
    before = first._replace(x=2 * first.x - second.x, y=2 * first.y - second.y)
    return first.touches_border() or before.touches_border()


def _crosses(track: Track) -> bool:
    if len(track) < 3 or not _comes_from_border(*track[:2]) or not _comes_from_border(*track[:-3:-1]):
        return False
    steps = [(b.foot[0] - a.foot[0]) / a.height for a, b in pairwise(track)]
    return min(steps) >= STRIDE or max(steps) <= -STRIDE


def _read_tracks(record: Record, camera: str, now: int) -> list[Track]:
    """Read the newest tracks of people who were alone, and whose event is no rest of one before."""
    rows = record.rows(
        "WITH some AS (SELECT id, objects, started_at - lag(last_at) OVER (ORDER BY started_at) AS pause FROM events "
        "WHERE camera_id = ? AND status <> 'merged' AND started_at > ?), alone AS (SELECT id FROM some "
        "WHERE json_extract(objects, '$.person') = 1 AND coalesce(pause, ?) >= ? ORDER BY id DESC LIMIT ?) "
        "SELECT f.event_id, d.bbox_x, d.bbox_y, d.bbox_width, max(1, d.bbox_height), f.width, f.height FROM alone "
        f"JOIN frames f ON f.event_id = alone.id JOIN detections d ON {BOXES_OF_FRAME} AND d.object_type = 'person' "
        "WHERE f.width > 0 AND f.height > 0 ORDER BY f.event_id DESC, f.captured_at, f.id LIMIT ?",
        camera, now - DAYS * DAY, APART, APART, EVENTS_MAX, BOXES_MAX,
    )  # fmt: skip
    return [
        [Step(*(v / height for v in (*box, width))) for _, *box, width, height in boxes]
        for _, boxes in groupby(rows, key=lambda row: row[0])
    ]
