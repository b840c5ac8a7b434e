"""Suppress boxes that do not count: vehicles that stand still, and boxes in zones that the owner ignores.

A parked car must not open events all night. The state is a row per spot in the record, updated in the transaction that
decides a frame and in the order of ids, so live, restarted and replayed runs agree. A suppressed box is stored with the reason
(table `suppressed`); it neither opens nor prolongs an event.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.units import HOUR, SECOND
from hearthwatch.schemas.items import Detection

log = logging.getLogger(__name__)

VEHICLES = ("car", "truck", "bus", "motorcycle", "bicycle")
SAME_IOU = 0.9  # overlap of two boxes of the same object in the same place
EMPTY_MAX = 2 * HOUR  # a spot that was empty for so long is deleted, …
PASSING = 600 * SECOND  # … one where something only passed sooner, or a busy street would fill the table
NEAR = 0.12  # of its size: boxes that overlap by SAME_IOU start closer together than this
MEAN_OF = 20  # frames: a spot is the mean of about the last twenty boxes, which takes the detector's jitter out

Point = tuple[float, float]


class Stillness(NamedTuple):
    """When a box counts as standing still. `kinds` empty: never."""

    kinds: tuple[str, ...] = VEHICLES
    frames: int = 3
    """Seen in at least this many earlier frames, …"""
    microseconds: int = 60 * SECOND
    """… the first of them at least this long ago, by capture time."""


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Compute intersection over union of two boxes (x, y, width, height)."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def inside(point: Point, polygon: Sequence[Point]) -> bool:
    """Check whether a point lies in a polygon: a ray to the right crosses its border an odd number of times."""
    x, y = point
    crossings = 0
    for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            crossings += 1
    return crossings % 2 == 1


def parse_zones(text: str | None) -> list[tuple[str, list[Point]]]:
    """Parse `cameras.ignore_zones`: a JSON list of `{"name": …, "points": [[x, y], …]}`, x and y in 0..1 of the picture.

    Raises:
        ValueError: it is not; the text says what is wrong.
    """
    out: list[tuple[str, list[Point]]] = []
    for number, zone in enumerate(json.loads(text) if text else []):
        points = zone.get("points") if isinstance(zone, Mapping) else None
        if not isinstance(points, list) or len(points) < 3 or not all(_is_point(p) for p in points):
            raise ValueError(f"ignore zone {number + 1} needs `points`, at least three [x, y] in 0..1, not {points!r}")
        out.append((str(zone.get("name") or f"zone {number + 1}"), [(float(x), float(y)) for x, y in points]))
    return out


def _is_point(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 2 and all(isinstance(v, int | float) and 0 <= v <= 1 for v in value)
    )


class Suppression:
    """Decides for each box why it does not count; inside the transaction that decides its frame."""

    def __init__(self, record: Record, stillness: Stillness) -> None:
        self.record, self.stillness = record, stillness
        self._warned: set[str] = set()

    def reasons(self, camera: str, at: int, size: tuple[int, int], boxes: Sequence[Detection]) -> list[str | None]:
        """Return one reason per box, or None, of a frame captured at `at` (microseconds); `size` is that of the picture in pixels."""
        ignored = self._zones(camera)
        return [self._in_zone(ignored, size, box) or self._still(camera, at, box) for box in boxes]

    def _zones(self, camera: str) -> list[tuple[str, list[Point]]]:
        row = self.record.one("SELECT ignore_zones FROM cameras WHERE id = ?", camera)
        if row is None or not row[0]:
            return []
        try:
            return parse_zones(row[0])
        except ValueError as error:
            if row[0] not in self._warned:
                self._warned.add(row[0])
                log.warning("camera %s: %s; no zone of it is ignored", camera, error)
            return []

    @staticmethod
    def _in_zone(ignored: Sequence[tuple[str, list[Point]]], size: tuple[int, int], box: Detection) -> str | None:
        """Check where the object touches the ground: the middle of its lower edge."""
        x, y, width, height = box.bbox
        foot = ((x + width / 2) / max(1, size[0]), (y + height) / max(1, size[1]))
        foot = (min(foot[0], 1 - 1e-9), min(foot[1], 1 - 1e-9))  # the lower border of the picture belongs to it
        return next((f"in ignored zone {name}" for name, polygon in ignored if inside(foot, polygon)), None)

    def _still(self, camera: str, at: int, box: Detection) -> str | None:
        if box.object_type not in self.stillness.kinds:
            return None
        rows = self.record.rows(
            "SELECT id, x, y, width, height, frames, first_at, last_at FROM spots "
            "WHERE camera_id = ? AND object_type = ? AND x BETWEEN ? AND ?",
            camera, box.object_type, box.bbox[0] - NEAR * box.bbox[2], box.bbox[0] + NEAR * box.bbox[2],
        )  # fmt: skip
        same = max(((iou(row[1:5], box.bbox), row) for row in rows), default=(0.0, None))
        if same[1] is None or same[0] < SAME_IOU:
            self._remember(camera, at, box)
            return None
        spot, x, y, width, height, frames, first_at, last_at = same[1]
        share = 1 / min(frames + 1, MEAN_OF)
        mean = [old + (new - old) * share for old, new in zip((x, y, width, height), box.bbox, strict=True)]
        self.record.execute(
            "UPDATE spots SET x = ?, y = ?, width = ?, height = ?, frames = frames + (last_at <> ?), first_at = ?, last_at = ? WHERE id = ?",
            *mean, at, min(first_at, at), max(last_at, at), spot,
        )  # fmt: skip
        still = frames >= self.stillness.frames and at - first_at >= self.stillness.microseconds
        return f"has stood still for {(at - first_at) / 60e6:.0f} min" if still else None

    def _remember(self, camera: str, at: int, box: Detection) -> None:
        self.record.execute(
            "DELETE FROM spots WHERE camera_id = ? AND last_at < ? AND (frames < ? OR last_at < ?)",
            camera, at - PASSING, self.stillness.frames, at - EMPTY_MAX,
        )  # fmt: skip
        self.record.execute(
            "INSERT INTO spots(camera_id, object_type, x, y, width, height, frames, first_at, last_at) VALUES (?,?,?,?,?,?,1,?,?)",
            camera, box.object_type, *box.bbox, at, at,
        )  # fmt: skip
