"""Suggest zones of a camera from where people walked: the own door where tracks begin inside the picture, public ground where
they cross it. Pure but for one bounded query: events that show one person, so that their boxes are one track.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from math import dist
from statistics import linear_regression, median
from typing import Any, NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.units import BOXES_OF_FRAME, DAY, SECOND
from hearthwatch.schemas.zones import Point, Zone, ZoneKind, places_of

DAYS, EVENTS_MAX, BOXES_MAX = 30, 500, 50_000
TRACKS_MIN = 5  # as many begin at a place, or cross the picture, before it is suggested
APART = 60 * SECOND  # between events, else the later one may be the rest of the earlier
BORDER = 0.02  # of the picture's height: a box that close to its border touches it
REACH = 0.5  # heights of a person: how far apart tracks begin that come from one door
STRIDE = 0.1  # heights from picture to picture, at least, of a person who does not stop


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

    def came_from_border(self, then: Step) -> bool:
        """Check whether this box touches a border, or did one picture earlier at the speed that led to `then`."""
        return self.touches_border() or self._replace(x=2 * self.x - then.x, y=2 * self.y - then.y).touches_border()


def suggest(record: Record, camera: str, drawn: Sequence[Zone], now: int) -> list[dict[str, Any]]:
    """Suggest zones, with reasons, that are not among `drawn`: the newest tracks of people who were alone."""
    rows = record.rows(
        "WITH some AS (SELECT id, objects, started_at - lag(last_at) OVER (ORDER BY started_at) AS pause FROM events "
        "WHERE camera_id = ? AND status <> 'merged' AND started_at > ?), alone AS (SELECT id FROM some "
        "WHERE json_extract(objects, '$.person') = 1 AND coalesce(pause, ?) >= ? ORDER BY id DESC LIMIT ?) "
        "SELECT f.event_id, d.bbox_x, d.bbox_y, d.bbox_width, max(1, d.bbox_height), f.width, f.height FROM alone "
        f"JOIN frames f ON f.event_id = alone.id JOIN detections d ON {BOXES_OF_FRAME} AND d.object_type = 'person' "
        "WHERE f.width > 0 AND f.height > 0 ORDER BY f.event_id DESC, f.captured_at, f.id LIMIT ?",
        camera, now - DAYS * DAY, APART, APART, EVENTS_MAX, BOXES_MAX,
    )  # fmt: skip
    tracks = [[Step(*(v / row[-1] for v in row[1:-1])) for row in event] for _, event in groupby(rows, lambda r: r[0])]
    return find_zones([track for track in tracks if len(track) > 1], drawn)


def find_zones(tracks: Sequence[Sequence[Step]], drawn: Sequence[Zone] = ()) -> list[dict[str, Any]]:
    """Find the likeliest door and the street in tracks of at least two pictures."""
    begun = [track[0] for track in tracks if not track[0].came_from_border(track[1])]
    undrawn = [s for s in begun if "own_door" not in places_of(drawn, (s.foot[0] / s.wide, s.foot[1]))]
    crossing = [track for track in tracks if track[-1].came_from_border(track[-2]) and _crosses(track)]
    return [*_door(undrawn), *(s for s in _street(crossing) if "public" not in places_of(drawn, _middle(s["points"])))]


def _door(begun: Sequence[Step]) -> list[dict[str, Any]]:
    near = [[b for b in begun if dist(a.foot, b.foot) <= REACH * min(a.height, b.height)] for a in begun]
    here = max(near, key=len, default=[])
    if len(here) < TRACKS_MIN:
        return []
    side, wide = median(step.height for step in here) / 4, here[0].wide
    xs, ys = zip(*(step.foot for step in here), strict=True)
    x1, x2, y1, y2 = min(xs) - side, max(xs) + side, min(ys) - side / 2, max(ys) + side / 2
    why = f"{len(here)} people were first seen here in {DAYS} days"
    return [_zone("own door", "own_door", [(x1, y1), (x2, y1), (x2, y2), (x1, y2)], wide, why)]


def _crosses(track: Sequence[Step]) -> bool:
    steps = [(b.foot[0] - a.foot[0]) / a.height for a, b in pairwise(track)]
    one_way = min(steps) >= STRIDE or max(steps) <= -STRIDE
    return one_way and len(track) > 2 and track[0].came_from_border(track[1])


def _street(crossing: Sequence[Sequence[Step]]) -> list[dict[str, Any]]:
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


def _middle(points: Sequence[Sequence[float]]) -> Point:
    return sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)
