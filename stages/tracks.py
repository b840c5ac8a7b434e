"""Follow boxes through an event: which are one object. Pure geometry, picture by picture, in order of capture.

No pixels, no appearance, no camera's name. Lengths are in sizes of the object: the longer side of its box, so a person counts
the same near and far, standing and lying. An object survives pictures in which it was missed, may change its kind within a
family (a van is a car in one picture and a truck in the next), and two boxes around one object are one. Everything is
bounded; `Tracker.add` says how many pairs it compared, so that its caller can bound the work that a crowd makes.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from heapq import nlargest

from hearthwatch.schemas.case import Sighting

FAMILIES = {
    "person": "person", "car": "vehicle", "truck": "vehicle", "bus": "vehicle", "bicycle": "cycle", "motorcycle": "cycle",
    "backpack": "bag", "handbag": "bag", "suitcase": "bag", "package": "bag", "dog": "animal", "cat": "animal",
    "bird": "animal", "horse": "animal", "sheep": "animal", "cow": "animal", "bear": "animal",
}  # fmt: skip
"""Kinds of one family may be one object; any other kind is a family alone."""

SPEED_MAX = {
    "person": 3.0,
    "vehicle": 4.0,
    "cycle": 5.0,
    "animal": 6.0,
    "bag": 3.0,
}  # sizes a second that feet may move
SLACK = 0.45  # sizes: the boxes' own jitter
REACH_MAX = 8.0  # sizes that it may move unseen: a walk of ten seconds
SIZE_RATIO = 1.7  # at most, between two pictures a second apart; more with time, as it comes nearer
PREDICT_SECONDS = 2.5  # it is expected to move on for so long
GAP_SECONDS, STILL_GAP_SECONDS = 12.0, 60.0  # unseen: a person behind a bush; one that stood still, or a thing
SAME_IOU, SAME_INSIDE = (
    0.55,
    0.85,
)  # two boxes of one family are one: they overlap so much, or one lies so far within the other

STAND_REACH = 0.28  # sizes around one point; the jitter of feet is about 0.05
STAND_SECONDS = 2.0
WINDOW_SECONDS = 0.9  # speed is measured over at least so long: at five pictures a second jitter would be speed
DEPTH_MAX = 3.5
PATH_MAX = 24  # points kept of the last seconds
BOXES_MAX = 20  # of a family in a picture; of more, the tallest: they are the nearest
LIVE_MAX = 32  # objects of a family that may still be there; of more, the newest
LYING = 1.25  # width by height of a person who lies
LOW, SLIM = 1.4, 0.75  # low is who is so much wider for its height than when it stood; who stands is so slim
LOW_SPEED = 0.5  # sizes a second: who walks on behind a hedge is not low
UPRIGHT = 0.8


class Stop:
    """A place where an object stood still. Times in microseconds."""

    def __init__(self, at: Sighting) -> None:
        self.first, self.last, self.seen = at, at, 1

    @property
    def seconds(self) -> float:
        return (self.last.at - self.first.at) / 1e6


def _longer(stop: Stop | None, s: Sighting, is_still: bool) -> Stop | None:
    """Return a stop that lasts until this picture, too, or None if it is over."""
    if not is_still:
        return None
    if stop is None:
        return Stop(s)
    stop.last, stop.seen = s, stop.seen + 1
    return stop


class Track:
    """One object through the pictures."""

    def __init__(self, number: int, first: Sighting, width: int = 0) -> None:
        self.width = width
        self.number, self.family = number, FAMILIES.get(first.object_type, first.object_type)
        self.first = self.last = self.surest = first
        self.seen = 1
        self.kinds: Counter[str] = Counter([first.object_type])
        self.speed = 0.0
        """Sizes a second on the ground, over the last second or so."""
        self.velocity = (0.0, 0.0)
        """Of the feet, pixels a second."""
        self.moved = 0.0
        """How far its feet ever were from where they were first, in sizes."""
        self.sizes = (size(first), size(first))
        """The smallest and the largest."""
        self.stop = Stop(first)
        """Where it stands, or where it may be about to stand."""
        self.stops: list[Stop] = []
        """Where it stood for three seconds, `STOPS_MAX` at most."""
        self.upright = is_upright(first)
        """Whether it was ever taller than wide."""
        self.lying: Stop | None = None
        """Since when it lies, if it does."""
        self.slimness = width_by_height(first)
        """The smallest width by height."""
        self.low: Stop | None = None
        """Since when it crouches or sits, if it does."""
        self._path: deque[Sighting] = deque([first], maxlen=PATH_MAX)

    @property
    def kind(self) -> str:
        """What it was most often."""
        return max(self.kinds, key=lambda kind: (self.kinds[kind], kind))

    @property
    def seconds(self) -> float:
        return (self.last.at - self.first.at) / 1e6

    @property
    def window_start(self) -> Sighting:
        """Where it was when the window began over which its speed is measured."""
        return self._path[0]

    @property
    def stands(self) -> bool:
        return self.stop.seconds >= STAND_SECONDS

    def expected(self, at: int) -> tuple[float, float]:
        """Return where its feet should be now."""
        x, y = foot(self.last)
        ahead = min((at - self.last.at) / 1e6, PREDICT_SECONDS)
        return x + self.velocity[0] * ahead, y + self.velocity[1] * ahead

    def add(self, s: Sighting) -> None:
        """Take in where it is in the next picture."""
        self.kinds[s.object_type] += 1
        self.seen += 1
        self.last = s
        if s.confidence > self.surest.confidence:
            self.surest = s
        self.sizes = min(self.sizes[0], size(s)), max(self.sizes[1], size(s))
        self.moved = max(self.moved, distance(self.first, s))
        self._measure_speed(s)
        if distance(self.stop.first, s) > STAND_REACH:
            self.stop = Stop(s)
        else:
            self.stop.last, self.stop.seen = s, self.stop.seen + 1
            if self.stands and self.stop not in self.stops[-1:] and len(self.stops) < PATH_MAX:
                self.stops.append(self.stop)
        self.upright = self.upright or is_upright(s)
        self.lying = _longer(self.lying, s, width_by_height(s) >= LYING)
        self._note_low(s)

    def _note_low(self, s: Sighting) -> None:
        shape = width_by_height(s)
        self.slimness = min(self.slimness, shape)
        is_low = self.slimness <= SLIM and LOW * self.slimness <= shape < LYING
        self.low = _longer(self.low, s, is_low and self.speed < LOW_SPEED)

    def _measure_speed(self, s: Sighting) -> None:
        path = self._path
        path.append(s)
        while len(path) > 2 and (s.at - path[1].at) / 1e6 >= WINDOW_SECONDS:
            path.popleft()
        seconds = max((s.at - path[0].at) / 1e6, 1e-3)
        if seconds >= WINDOW_SECONDS or self.seen == 2:
            (x, y), (ex, ey) = foot(path[0]), foot(s)
            seconds = max(seconds, WINDOW_SECONDS)
            self.velocity = (ex - x) / seconds, (ey - y) / seconds
            self.speed = on_ground(path[0], s, self.width) / seconds


class Tracker:
    """All objects of an event; the nearest feet belong together."""

    def __init__(self, width: int = 0) -> None:
        """`width` is that of the picture in pixels; 0: unknown."""
        self.width = width
        self.live: list[Track] = []
        self.count = 0
        self.interval = 1e9
        """The shortest time between two pictures, in seconds."""
        self._at: int | None = None

    def add(self, at: int, boxes: Sequence[Sighting]) -> tuple[list[Track], int]:
        """Follow all into the next picture; return the objects seen in it, and how many pairs were compared."""
        if self._at is not None and at > self._at:
            self.interval = min(self.interval, (at - self._at) / 1e6)
        self._at = at
        self.live = [t for t in self.live if (at - t.last.at) / 1e6 <= self._gap(t)]
        seen: list[Track] = []
        compared = 0
        families: dict[str, list[Sighting]] = {}
        for s in boxes:
            families.setdefault(FAMILIES.get(s.object_type, s.object_type), []).append(s)
        for family, members in sorted(families.items()):
            single = unique(tallest(members))
            live = [t for t in self.live if t.family == family]
            if len(live) > LIVE_MAX:
                live = nlargest(LIVE_MAX, live, key=lambda t: (t.last.at, -t.number))
            compared += (len(live) + len(members) // 2) * len(members)
            seen += self._match(at, live, single)
        known = {id(t) for t in self.live}
        self.live += [t for t in seen if id(t) not in known]
        return seen, compared

    def _gap(self, t: Track) -> float:
        """Return how long it may be unseen."""
        least = STILL_GAP_SECONDS if t.stands or t.family in ("vehicle", "cycle", "bag") else GAP_SECONDS
        return max(least, 2.5 * self.interval) if self.interval < 1e9 else least

    def _match(self, at: int, live: Sequence[Track], boxes: Sequence[Sighting]) -> list[Track]:
        pairs = []
        measured = [(*foot(s), size(s), s.object_type) for s in boxes]
        for i, t in enumerate(live):
            pairs += [(cost, t.number, i, j) for j, cost in _costs(t, measured, at)]
        seen: dict[int, Track] = {}
        used = set[int]()
        for _, _, i, j in sorted(pairs):
            if i not in used and j not in seen:
                live[i].add(boxes[j])
                used.add(i)
                seen[j] = live[i]
        for j, s in enumerate(boxes):
            if j not in seen:
                self.count += 1
                seen[j] = Track(self.count, s, self.width)
        return [seen[j] for j in range(len(boxes))]


def _costs(t: Track, boxes: Sequence[tuple[float, float, int, str]], at: int) -> Iterator[tuple[int, float]]:
    """Yield how ill each box fits an object, 0 is best, for those that may be it; boxes are where they stand, size and kind."""
    seconds, was = max(0.2, (at - t.last.at) / 1e6), size(t.last)
    (ex, ey), (lx, ly) = t.expected(at), foot(t.last)
    ratio_max = SIZE_RATIO ** max(1.0, min(seconds, 4.0)) * 1.15
    reach = min(SPEED_MAX.get(t.family, 3.0) * seconds + SLACK, REACH_MAX)
    for j, (x, y, now, kind) in enumerate(boxes):
        largest = max(was, now, 1)
        if abs(x - lx) > reach * largest:
            continue  # most pairs
        near, ratio = math.hypot(x - lx, y - ly) / largest, max(was, now) / max(1, min(was, now))
        if near > reach or ratio > ratio_max:
            continue
        ahead = math.hypot(x - ex, y - ey) / largest
        yield j, 0.6 * ahead + 0.4 * near + 0.8 * math.log(ratio) + (0 if kind == t.last.object_type else 0.15)


def tallest(boxes: Sequence[Sighting]) -> list[Sighting]:
    """Return at most `BOXES_MAX` of them, in an order that does not depend on theirs."""
    ordered = sorted(boxes, key=lambda s: (-s.height, s.x, s.y, s.width, s.id))
    return ordered[:BOXES_MAX]


def unique(boxes: Sequence[Sighting]) -> list[Sighting]:
    """Leave one of several boxes around one object: the surest."""
    kept: list[Sighting] = []
    for s in sorted(boxes, key=lambda s: (-s.confidence, s.x, s.y, s.width, s.height, s.id)):
        if not any(_is_same(s, k) for k in kept):
            kept.append(s)
    return kept


def _is_same(a: Sighting, b: Sighting) -> bool:
    w = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    h = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    if w <= 0 or h <= 0:
        return False
    common, areas = w * h, (a.width * a.height, b.width * b.height)
    return common >= SAME_IOU * (sum(areas) - common) or (
        common >= SAME_INSIDE * min(areas) and 3 * min(areas) >= max(areas)
    )


def is_upright(s: Sighting) -> bool:
    return s.width <= UPRIGHT * s.height


def width_by_height(s: Sighting) -> float:
    return s.width / max(1, s.height)


def foot(s: Sighting) -> tuple[float, float]:
    """Return where a box stands."""
    return s.x + s.width / 2, s.y + s.height


def size(s: Sighting) -> int:
    """Return the longer side."""
    return max(s.width, s.height)


def distance(a: Sighting, b: Sighting) -> float:
    """Between the feet of two boxes, in sizes of the larger one."""
    return math.hypot(a.x + a.width / 2 - b.x - b.width / 2, a.y + a.height - b.y - b.height) / max(size(a), size(b), 1)


def on_ground(a: Sighting, b: Sighting, width: int) -> float:
    """Return the distance between the feet of two boxes on the ground, in sizes, about.

    One pixel up is more ground the farther away it is: for a camera 2.7 m above the ground with a lens as wide as most, by
    0.35 of the picture's width in sizes of the person.
    """
    larger = max(size(a), size(b), 1)
    depth = min(DEPTH_MAX, max(1.0, 0.35 * width / larger))
    return math.hypot(a.x + a.width / 2 - b.x - b.width / 2, depth * (a.y + a.height - b.y - b.height)) / larger


def ids(sightings: Iterable[Sighting]) -> tuple[int, ...]:
    """Return their ids, in order, each once."""
    return tuple(sorted({s.id for s in sightings}))
