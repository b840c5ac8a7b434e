"""Suppress boxes that do not count: what stands still, boxes in zones that the owner ignores, and ghosts.

A parked car, a statue, or a spider on the lens that the detector takes for a person must not open events all night. The
state is a row per spot in the record, updated in the transaction that decides a frame and in the order of ids, so live,
restarted and replayed runs agree. A suppressed box is stored with the reason (table `suppressed`); it neither opens nor
prolongs an event.

A spot is the place of one object. A box in the same place belongs to its spot; a box in a new place takes along the spot
that was left for it (its object moved: `moved_at`), else it starts a new spot. A spot holds back its boxes once it
has been the same for a minute, but a person who was seen to move there counts for an hour, and while one that moved was
last seen close to a spot and is seen no more, it may be standing right there: then the box of the spot counts.

A ghost is a place where the owner, or a vision model, saw nothing (table `feedback`, from the answer until it expires or is revoked, by time of capture):
boxes of that kind there are held back from the first one on, unless an object moved there, or may be standing there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.surroundings import zones_of
from hearthwatch.record.units import HOUR, SECOND
from hearthwatch.schemas.items import Detection
from hearthwatch.schemas.zones import Zone, foot_point

VEHICLES = ("car", "truck", "bus", "motorcycle", "bicycle")
SAME_IOU = 0.75  # with the mean: single boxes of what stands still differ by 3 % of their size
STRAY_IOU = 0.6  # one box in some hundreds differs so much
LEFT_IOU = 0.3  # an object whose box overlaps less has left its place; half an object, seen in its place, overlaps more
MEAN_OF = 20  # frames: a spot is the mean of about the last twenty boxes, which takes the detector's jitter out
GAP = 12 * SECOND  # so long after it was seen last, an object may be the one in a new place
STRIDE, SLACK = 1.35, 0.3  # box heights per second that feet may move, and the jitter of the box
CLOSE = 2.0  # box heights: who was last seen so close to a spot may be standing there
PERSON_COUNTS = HOUR  # since it moved; bounded because two statues that flicker may look like one that moves
EMPTY_MAX = 2 * HOUR  # a spot that was empty for so long no longer counts, see `_is_gone`
BOXES_MAX = SPOTS_MAX = (
    32  # of a kind in a frame, the surest, and of a kind in a camera: 1 ms; what exceeds them counts
)

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels."""


class Stillness(NamedTuple):
    """When a box counts as standing still."""

    kinds: tuple[str, ...] | None = None
    """None: all; empty: none."""
    frames: int = 3
    """Seen in at least this many earlier frames, …"""
    microseconds: int = 60 * SECOND
    """… the first of them at least this long ago, by capture time."""


class Spot(NamedTuple):
    """A row of `spots`; times of capture in microseconds."""

    id: int | None
    box: Box
    frames: int
    first_at: int
    last_at: int
    moved_at: int | None
    """When its object came here from another place; None: it was never seen to move."""

    def add(self, box: Box, at: int, is_joined: bool) -> Spot:
        """Return it with another box. What may be another object does not change the place of one that never moved."""
        moves = self.moved_at is not None
        share = 0 if is_joined and not moves else 1 / min(self.frames + 1, MEAN_OF)
        x, y, width, height = (old + (new - old) * share for old, new in zip(self.box, box, strict=True))
        moved_at = at if is_joined and moves else self.moved_at
        return Spot(self.id, (x, y, width, height), self.frames + 1, min(self.first_at, at), at, moved_at)


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Compute intersection over union of two boxes (x, y, width, height)."""
    if a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0] or a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1]:
        return 0.0  # nearly all pairs
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = width * height
    return both / (a[2] * a[3] + b[2] * b[3] - both)


class Suppression:
    """Decides for each box why it does not count; inside the transaction that decides its frame."""

    def __init__(self, record: Record, stillness: Stillness) -> None:
        self.record, self.stillness = record, stillness
        self.begin()

    def begin(self) -> None:
        """Begin a transaction: what the record says of a camera is read once in it, and written at the `flush`."""
        self._ignored: dict[str, tuple[Zone, ...]] = {}
        self._spots: dict[tuple[str, str], dict[int, Spot]] = {}
        self._changed: dict[tuple[int, str, str], Spot] = {}
        self._ghosts: dict[tuple[str, str], list[tuple[int, int, Box]]] = {}
        self._last_id = 0

    def flush(self) -> None:
        """Write the spots that changed."""
        rows = [(*key, *spot.box, *spot[2:]) for key, spot in self._changed.items()]
        self.record.many("INSERT OR REPLACE INTO spots VALUES (?,?,?,?,?,?,?,?,?,?,?)", rows)
        self._changed.clear()

    def reasons(self, camera: str, at: int, size: tuple[int, int], boxes: Sequence[Detection]) -> list[str | None]:
        """Return one reason per box, or None, of a frame captured at `at` (microseconds); `size` is that of the picture in pixels."""
        if camera not in self._ignored:
            self._ignored[camera] = self._zones(camera)
        ignored, kinds = self._ignored[camera], self.stillness.kinds
        reasons = [self._in_zone(ignored, size, box) for box in boxes]
        groups: dict[str, list[int]] = {}
        for i, box in enumerate(boxes):
            if reasons[i] is None and (kinds is None or box.object_type in kinds):
                groups.setdefault(box.object_type, []).append(i)
        for kind, group in groups.items():
            group = sorted(group, key=lambda i: -boxes[i].confidence)[:BOXES_MAX]
            for i, reason in zip(group, self._still(camera, kind, at, [boxes[i].bbox for i in group]), strict=True):
                reasons[i] = reason
        return reasons

    def _zones(self, camera: str) -> tuple[Zone, ...]:
        row = self.record.one("SELECT zones FROM cameras WHERE id = ?", camera)
        return tuple(zone for zone in zones_of(camera, row[0] if row else None) if zone.kind == "ignore")

    @staticmethod
    def _in_zone(ignored: Sequence[Zone], size: tuple[int, int], box: Detection) -> str | None:
        foot = foot_point(box.bbox, *size)
        return next((f"in ignored zone {zone.name}" for zone in ignored if zone.contains(foot)), None)

    def _still(self, camera: str, kind: str, at: int, boxes: Sequence[Box]) -> list[str | None]:
        """Return why boxes of one kind in one frame do not count; update the spots of that kind."""
        spots = self._read_spots(camera, kind)
        known = list(spots.values())
        unused = [spot for spot in known if self._is_gone(spot, kind, at)]
        gone = {spot.id for spot in unused}
        there = [spot for spot in known if spot.id not in gone] if gone else known
        same = self._match(there, boxes, at)
        taken = {spot.id for spot in same.values()}
        empty = [spot for spot in there if spot.id not in taken]
        room = max(0, SPOTS_MAX - len(known))  # two cameras that were merged may have more
        strays: dict[int, Spot] = {}
        came = {i for i, spot in same.items() if spot.moved_at is not None}
        writes: list[Spot] = []
        for i, box in enumerate(boxes):
            own = same.get(i)
            if own and (own.moved_at is not None or self._is_still(own, at) or at - own.last_at <= GAP):
                continue
            overlaps = [(iou(spot.box, box), spot) for spot in empty]
            left = [spot for overlap, spot in overlaps if not own and self._may_have_left(spot, box, overlap, at)]
            if not left and overlaps and max(overlaps)[0] >= STRAY_IOU:
                strays[i] = max(overlaps)[1]
            if own:
                continue
            if left:
                came.add(i)
                unused.insert(0, min(left, key=lambda spot: (_distance(spot.box, box), spot.id)))
            elif not unused and not room:
                unused.append(min(empty, key=lambda spot: (self._is_still(spot, at), spot.last_at)))
            empty = [spot for spot in empty if spot is not unused[0]] if unused else empty
            room -= not unused
            writes.append(Spot(unused.pop(0).id if unused else None, box, 1, at, at, at if left else None))
        walkers = [s for s in empty if not self._is_anchored(s) and at - s.last_at <= self.stillness.microseconds]
        reasons: list[str | None] = [None] * len(boxes)

        def is_joined(box: Box, own: Spot | None) -> bool:
            return any(
                (w.moved_at is not None or iou(w.box, box) <= LEFT_IOU) and _distance(w.box, box) <= CLOSE
                for w in walkers
                if w is not own
            )

        for i, spot in (same | strays).items():
            joined = is_joined(spot.box, spot)
            if self._holds_back(spot, kind, at) and (kind in VEHICLES or not joined):
                reasons[i] = f"has stood still for {(at - spot.first_at) / 60e6:.0f} min"
            if i in same:
                writes.append(same[i].add(boxes[i], at, joined))
        for i, box in enumerate(boxes):
            if (
                reasons[i] is None
                and i not in came
                and self._is_ghost(camera, kind, at, box)
                and not is_joined(box, same.get(i))
            ):
                reasons[i] = "in a place where you saw nothing"
        for spot in writes:
            id = self._new_id() if spot.id is None else spot.id
            spots[id] = self._changed[id, camera, kind] = spot._replace(id=id)
        return reasons

    def _new_id(self) -> int:
        if not self._last_id:
            (self._last_id,) = self.record.one("SELECT coalesce(max(id), 0) FROM spots")
        self._last_id += 1
        return self._last_id

    def _is_ghost(self, camera: str, kind: str, at: int, box: Box) -> bool:
        if (camera, kind) not in self._ghosts:
            rows = self.record.rows(
                "SELECT at, min(expires_at, coalesce(revoked_at, expires_at)), box FROM feedback WHERE box IS NOT NULL "
                "AND json_extract(signature, '$.camera_id') = ? AND json_extract(signature, '$.kind') = ?", camera, kind,
            )  # fmt: skip
            self._ghosts[camera, kind] = [(*times, box) for *times, text in rows for box in json.loads(text)]
        ghosts = self._ghosts[camera, kind]
        return any(begins <= at < ends and iou(ghost, box) >= STRAY_IOU for begins, ends, ghost in ghosts)

    def _read_spots(self, camera: str, kind: str) -> dict[int, Spot]:
        if (camera, kind) not in self._spots:
            sql = "SELECT * FROM spots WHERE camera_id = ? AND object_type = ? ORDER BY id"
            rows = self.record.rows(sql, camera, kind)
            self._spots[camera, kind] = {row[0]: Spot(row[0], row[3:7], *row[7:]) for row in rows}
        return self._spots[camera, kind]

    def _match(self, spots: Sequence[Spot], boxes: Sequence[Box], at: int) -> dict[int, Spot]:
        """Find the boxes in the place of a spot, each once: index -> spot. Spots that one stray box may have left come last."""
        pairs = [
            (spot.moved_at is not None or self._is_still(spot, at), overlap, -i, spot)
            for i, box in enumerate(boxes)
            for spot in spots
            if (overlap := iou(spot.box, box)) >= SAME_IOU
        ]
        found: dict[int, Spot] = {}
        taken = set[int | None]()
        for _, _, i, spot in sorted(pairs, reverse=True):
            if -i not in found and spot.id not in taken:
                found[-i] = spot
                taken.add(spot.id)
        return found

    def _is_gone(self, spot: Spot, kind: str, at: int) -> bool:
        """Whether nothing is left of a spot: it was empty for longer than it was taken, and for as long as makes it still.

        Otherwise a second visitor who stands where the first one stood would not count. A vehicle is the same vehicle.
        """
        empty = abs(at - spot.last_at)
        if empty <= self.stillness.microseconds and empty <= EMPTY_MAX:
            return False  # most
        taken = EMPTY_MAX if kind in VEHICLES else max(self.stillness.microseconds, spot.last_at - spot.first_at)
        return empty > min(EMPTY_MAX, taken)

    def _is_still(self, spot: Spot, at: int) -> bool:
        return spot.frames >= self.stillness.frames and at - spot.first_at >= self.stillness.microseconds

    def _is_anchored(self, spot: Spot) -> bool:
        """Whether its object was seen in one place only, for so long that it may be a part of the scene."""
        return spot.moved_at is None and self._is_still(spot, spot.last_at)

    def _holds_back(self, spot: Spot, kind: str, at: int) -> bool:
        counts = kind == "person" and spot.moved_at is not None and at - spot.moved_at < PERSON_COUNTS
        return self._is_still(spot, at) and not counts

    def _may_have_left(self, spot: Spot, box: Box, overlap: float, at: int) -> bool:
        """Whether a box in a new place may be the object of this spot. What was only seen in one place stays there."""
        if overlap > LEFT_IOU:
            return spot.moved_at is not None
        if not 0 <= at - spot.last_at <= GAP or self._is_anchored(spot):
            return False
        return _distance(spot.box, box) <= STRIDE * max(1.0, (at - spot.last_at) / SECOND) + SLACK


def _distance(a: Box, b: Box) -> float:
    """Between the feet of two boxes, in heights of the taller one."""
    return math.hypot(a[0] + a[2] / 2 - b[0] - b[2] / 2, a[1] + a[3] - b[1] - b[3]) / max(a[3], b[3], 1)
