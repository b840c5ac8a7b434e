"""Suggest zones of a camera from where people walked: the own door where tracks begin inside the picture, public ground where
they cross it. Pure but for one bounded query: events that show one person, so that their boxes are one track.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from statistics import median
from typing import Any, NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.units import BOXES_OF_FRAME, DAY, SECOND
from hearthwatch.schemas.zones import Point, Zone, ZoneKind, foot_point

DAYS, EVENTS_MAX, BOXES_MAX = 30, 500, 50_000
TRACKS_MIN = 5  # as many begin at a place, or cross the picture, before it is suggested
APART = 60 * SECOND  # between events, else the later one may be the rest of the earlier
BORDER = 0.02  # of the picture's width or height: a box that close touches it
REACH = 0.5  # heights of a person: how far apart tracks begin that come from one door
STRIDE = 0.1  # heights from picture to picture, at least, of a person who does not stop
DOORS_MAX = 3


class Step(NamedTuple):
    """A person in one picture: the box, and where it stands; shares of the picture's width and height."""

    box: tuple[float, float, float, float]
    foot: Point
    height: float
    aspect: float
    """The picture's height in widths: what makes a height comparable with a distance across."""


def suggest(record: Record, camera: str, drawn: Sequence[Mapping[str, Any]], now: int) -> list[dict[str, Any]]:
    """Suggest zones, with reasons, where none of `drawn` is of that kind yet."""
    tracks = _read_tracks(record, camera, now)
    zones = [Zone(z["name"], z["kind"], tuple(map(tuple, z["points"]))) for z in drawn]
    found = [*find_doors(tracks), *find_public(tracks)]
    return [s for s in found if not any(z.contains(_middle(s["points"])) for z in zones if z.kind == s["kind"])]


def find_doors(tracks: Sequence[Sequence[Step]]) -> list[dict[str, Any]]:
    """Find places inside the picture where tracks begin, the one with the most of them first."""
    begun = [track[0] for track in tracks if len(track) > 1 and not _comes_from_border(*track[:2])]
    near = [{n for n, b in enumerate(begun) if _distance(a, b) <= REACH * min(a.height, b.height)} for a in begun]
    out: list[dict[str, Any]] = []
    left = set(range(len(begun)))
    while left and len(out) < DOORS_MAX:
        best = max(sorted(left), key=lambda n: len(near[n] & left))
        here = near[best] & left
        if len(here) < TRACKS_MIN:
            break
        left -= here
        feet, height = [begun[n].foot for n in here], median(begun[n].height for n in here)
        side, up = height / 4 * begun[best].aspect, height / 8
        xs, ys = [x for x, _ in feet], [y for _, y in feet]
        corners = min(xs) - side, min(ys) - up, max(xs) + side, max(ys) + up
        why = f"{len(here)} people were first seen here in {DAYS} days"
        out.append(
            _zone("own door", "own_door", [(corners[i], corners[j]) for i, j in ((0, 1), (2, 1), (2, 3), (0, 3))], why)
        )
    return out


def find_public(tracks: Sequence[Sequence[Step]]) -> list[dict[str, Any]]:
    """Find the band on which people cross the picture from one side to the other and never stop."""
    crossing = [track for track in tracks if _crosses(track)]
    if len(crossing) < TRACKS_MIN:
        return []
    feet = [step.foot for track in crossing for step in track]
    mx, my = _middle(feet)
    slope = sum((x - mx) * (y - my) for x, y in feet) / sum((x - mx) ** 2 for x, _ in feet)
    left, right = my - slope * mx, my + slope * (1 - mx)
    off = sorted(abs(y - left - slope * x) for x, y in feet)
    wide = off[len(off) * 9 // 10] + BORDER
    why = f"{len(crossing)} people crossed the picture here in {DAYS} days and did not stop"
    return [_zone("street", "public", [(0, left - wide), (1, right - wide), (1, right + wide), (0, left + wide)], why)]


def _zone(name: str, kind: ZoneKind, points: Sequence[Point], why: str) -> dict[str, Any]:
    inside = [[round(min(1.0, max(0.0, v)), 4) for v in point] for point in points]
    return {"name": name, "kind": kind, "points": inside, "why": why}


def _middle(points: Sequence[Sequence[float]]) -> Point:
    return sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)


def _distance(a: Step, b: Step) -> float:
    """Return how far apart two people stand, in heights of the picture."""
    return float(((a.foot[0] - b.foot[0]) ** 2 / a.aspect**2 + (a.foot[1] - b.foot[1]) ** 2) ** 0.5)


def _borders(box: Sequence[float]) -> set[str]:
    x, y, w, h = box
    sides = {"left": x, "top": y, "right": 1 - x - w, "bottom": 1 - y - h}
    return {side for side, room in sides.items() if room <= BORDER}


def _comes_from_border(first: Step, second: Step) -> bool:
    """Check whether a person touched a border in the first picture, or did so one picture earlier at that speed."""
    (x, y, w, h), (x2, y2, *_) = first.box, second.box
    return bool(_borders(first.box) or _borders((2 * x - x2, 2 * y - y2, w, h)))


def _crosses(track: Sequence[Step]) -> bool:
    if len(track) < 3 or not _comes_from_border(*track[:2]) or not _comes_from_border(*track[:-3:-1]):
        return False
    steps = [(b.foot[0] - a.foot[0]) / (a.height * a.aspect) for a, b in pairwise(track)]
    return all(step >= STRIDE for step in steps) or all(step <= -STRIDE for step in steps)


def _read_tracks(record: Record, camera: str, now: int) -> list[list[Step]]:
    """Read the newest tracks of people who were alone, and whose event is no rest of one before."""
    rows = record.rows(
        "WITH some AS (SELECT id, objects, started_at - lag(last_at) OVER (ORDER BY started_at) AS pause FROM events "
        "WHERE camera_id = ? AND status <> 'merged' AND started_at > ?), "
        "alone AS (SELECT id FROM some WHERE json_extract(objects, '$.person') = 1 AND coalesce(pause, ?) >= ? ORDER BY id DESC LIMIT ?) "
        "SELECT f.event_id, d.bbox_x, d.bbox_y, d.bbox_width, d.bbox_height, f.width, f.height FROM alone "
        f"JOIN frames f ON f.event_id = alone.id JOIN detections d ON {BOXES_OF_FRAME} AND d.object_type = 'person' "
        "WHERE f.width > 0 AND f.height > 0 ORDER BY f.event_id DESC, f.captured_at, f.id LIMIT ?",
        camera, now - DAYS * DAY, APART, APART, EVENTS_MAX, BOXES_MAX,
    )  # fmt: skip
    return [[_step(*row[1:]) for row in boxes] for _, boxes in groupby(rows, key=lambda row: row[0])]


def _step(x: int, y: int, w: int, h: int, width: int, height: int) -> Step:
    box = (x / width, y / height, w / width, h / height)
    return Step(box, foot_point((x, y, w, h), width, height), max(box[3], 0.01), height / width)
