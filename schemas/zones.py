"""The places of a camera's picture: polygons with a meaning. Pure.

An object is where it touches the ground: the middle of its box's lower edge. Points are shares of the picture's width and
height, so they hold for a picture of any size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

ZoneKind = Literal["public", "private", "own_door", "window", "vehicle", "ignore"]
KINDS: tuple[ZoneKind, ...] = get_args(ZoneKind)
ZONES_MAX, POINTS_MAX = 100, 100  # of a camera; of a zone

Point = tuple[float, float]


class Zone(NamedTuple):
    """A place in the picture, such as the pavement or the own front door."""

    name: str
    kind: ZoneKind
    points: tuple[Point, ...]

    def contains(self, point: Point) -> bool:
        """Check whether a point lies in it: a ray to the right crosses its border an odd number of times."""
        x, y = point
        crossings = 0
        x1, y1 = self.points[-1]
        for x2, y2 in self.points:
            if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
                crossings += 1
            x1, y1 = x2, y2
        return crossings % 2 == 1


def foot_point(box: Sequence[float], width: int, height: int) -> Point:
    """Return where a box (x, y, width, height in pixels) stands, in shares of the picture; its borders belong to it."""
    x, y, w, h = box
    below = 1 - 1e-9
    return (
        min(max((x + w / 2) / max(1, width), 0.0), below),
        min(max((y + h) / max(1, height), 0.0), below),
    )


def parse_zones(text: str | None) -> tuple[Zone, ...]:
    """Parse `cameras.zones`: a JSON list of `{"name": …, "kind": …, "points": [[x, y], …]}`, x and y in 0..1 of the picture.

    Raises:
        ValueError: it is not; the text says what is wrong.
    """
    try:
        rows = json.loads(text) if text else []
    except RecursionError:
        raise ValueError("zones are a list, not lists of lists without end") from None
    if not isinstance(rows, list):
        raise ValueError(f"zones are a list, not {rows!r:.80}")
    return tuple(_parse(number, row) for number, row in enumerate(rows, 1))


def _parse(number: int, row: Any) -> Zone:
    if not isinstance(row, Mapping):
        raise ValueError(f"zone {number} is an object with `kind` and `points`, not {row!r:.80}")
    points, kind = row.get("points"), row.get("kind")
    if kind not in KINDS:
        raise ValueError(f"zone {number}: `kind` is one of {', '.join(KINDS)}, not {kind!r:.80}")
    if not isinstance(points, list) or not 3 <= len(points) <= POINTS_MAX or not all(map(_is_point, points)):
        raise ValueError(f"zone {number} needs `points`, at least three [x, y] in 0..1, not {points!r:.80}")
    name = (
        str(row.get("name") or f"zone {number}").encode(errors="replace").decode()
    )  # JSON has half characters, UTF-8 none
    return Zone(name, kind, tuple((float(x), float(y)) for x, y in points))


def _is_point(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 2 and all(isinstance(v, int | float) and 0 <= v <= 1 for v in value)
    )


def places_of(zones: Sequence[Zone], point: Point) -> tuple[ZoneKind, ...]:
    """Return the kinds of the zones that a point lies in, in the order of `zones`."""
    return tuple(zone.kind for zone in zones if zone.contains(point))
