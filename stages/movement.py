"""Follow boxes through an event: which are one object, who stopped where, which package was taken. Pure geometry.

Everything grows picture by picture, in order of capture, and the result of the pictures so far costs nothing to ask for.
No pixels, no appearance, no camera's name: lengths are measured in heights of the box, so that a person counts the same
near and far. Made for a picture every one to three seconds; with fewer, stops are rarely seen, and what is left is how
many there were, for how long and when. Everything is bounded, so that no crowd takes longer than some milliseconds.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from heapq import nlargest

from hearthwatch.record.events import Sighting

GAP_SECONDS = 12.0  # a person behind a bush, missed boxes, or a camera that uploads only every ten seconds
STRIDE = 1.35  # box heights per second that feet may move (walking 0.7, running 2)
SLACK = 0.3  # the box's own jitter
STOP_SECONDS, STOP_REACH = 3.0, 0.25  # standing: three seconds within a quarter of its height; slower walkers move more
LAID_PICTURES, LAID_SECONDS = 3, 4.0  # a package lies if it was seen so often, or for so long, at one place
PLACE_REACH = 0.5  # of the package's height: the same place
GONE_PICTURES, GONE_SECONDS = 3, 3.0  # so often, or for so long, an unhidden view of the place and nothing there
NEAR_SECONDS, NEAR_REACH = 5.0, 1.0  # a person was that near, in time and in heights of the person

# What stays below these is used in full. A picture pays for the pairs compared with capture time: until that has passed, pictures
# are only counted. 7,500 pairs in 90 seconds are some milliseconds of work.
PAIR_MICROSECONDS = 12_000
PICTURE_PAIRS = 33  # what a picture costs besides, in pairs: two or three pictures a second of one box
CREDIT_MICROSECONDS = 45_000_000  # at most, and at first: 3,750 pairs, 9 pictures of 20 boxes one after the other
BOXES_MAX = 20  # of one kind in a picture; of more, the tallest: they are the nearest
LIVE_MAX = 32  # objects that may still be there, and places where a package lay; of more, the newest
RECENT_MAX = 100  # people who may have been near a package: twenty a second


class Track:
    """One object through the pictures."""

    def __init__(self, first: Sighting) -> None:
        self.began, self.last = first.at, first
        self.stops = 0
        """At how many places one after the other it stood still for three seconds."""
        self._run = [first]  # since when it may be standing; of three seconds and more, the first and the last
        self._place: Sighting | None = None

    def add(self, s: Sighting) -> None:
        self.last, run = s, self._run
        moves_on = distance(run[0], s) > STOP_REACH
        if moves_on and self._stands():
            run.clear()
        run.append(s)
        while moves_on and any(distance(run[0], later) > STOP_REACH for later in run[1:]):
            run.pop(0)
        if self._stands():
            del run[1:-1]
            if self._place is None or distance(self._place, run[0]) > STOP_REACH:
                self._place = run[0]
                self.stops += 1

    def _stands(self) -> bool:
        return (self._run[-1].at - self._run[0].at) / 1e6 >= STOP_SECONDS


class Tracks:
    """The objects of one kind: the nearest feet belong together."""

    def __init__(self) -> None:
        self.live: list[Track] = []
        self.seconds = 0.0
        """How long one and the same was in view."""
        self.stops = 0
        """The most places at which one and the same stood still."""

    def add(self, boxes: Sequence[Sighting]) -> int:
        """Follow them into the next picture; return how many pairs may be one and the same."""
        if not boxes:
            return 0
        live = [t for t in self.live if (boxes[0].at - t.last.at) / 1e6 <= GAP_SECONDS]
        if len(live) > LIVE_MAX:
            live = nlargest(LIVE_MAX, live, key=lambda t: t.last.at)
        old, new = set[int](), set[int]()
        for _, i, j in sorted(_pairs([t.last for t in live], boxes)):
            if i not in old and j not in new:
                live[i].add(boxes[j])
                self.seconds = max(self.seconds, (boxes[j].at - live[i].began) / 1e6)
                self.stops = max(self.stops, live[i].stops)
                old.add(i)
                new.add(j)
        self.live = live + [Track(s) for j, s in enumerate(boxes) if j not in new]
        return len(live) * len(boxes)


def tallest(boxes: Iterable[Sighting], kind: str) -> list[Sighting]:
    """Return the boxes of this kind in a picture, at most `BOXES_MAX`."""
    chosen = [s for s in boxes if s.object_type == kind]
    return chosen if len(chosen) <= BOXES_MAX else nlargest(BOXES_MAX, chosen, key=lambda s: s.height)


def _pairs(before: Sequence[Sighting], boxes: Sequence[Sighting]) -> Iterator[tuple[float, int, int]]:
    """Who may have walked to where: how far, and the two indices. All of `boxes` is one picture."""
    feet = [(*foot(b), j) for j, b in enumerate(boxes)]
    for i, a in enumerate(before):
        (x, y, height), reach = foot(a), STRIDE * max(1.0, (boxes[0].at - a.at) / 1e6) + SLACK
        for ex, ey, tall, j in feet:  # as `distance`
            if (far := math.hypot(x - ex, y - ey) / (height if height > tall else tall or 1)) <= reach:
                yield far, i, j


class Package:
    """A place where a package was seen, and what was seen there since."""

    def __init__(self, first: Sighting) -> None:
        self.first, self.pictures = first, 0

    def see(self, s: Sighting, people: Iterable[Sighting]) -> None:
        """Note that it is there; `people` were seen lately."""
        self.last, self.pictures = s, self.pictures + 1
        self.near: Sighting | None = None
        self.views, self.viewed_at = 0, s.at
        self._add_near(people)

    def miss(self, people: Sequence[Sighting]) -> None:
        """Note a later picture that shows people."""
        self._add_near(people)
        if not any(overlap(p, self.last) for p in people):
            self.views, self.viewed_at = self.views + 1, people[0].at

    def _add_near(self, people: Iterable[Sighting]) -> None:
        at = self.last.at
        near = [p for p in people if abs(p.at - at) / 1e6 <= NEAR_SECONDS and distance(p, self.last) <= NEAR_REACH]
        near += [self.near] if self.near else []
        self.near = min(near, key=lambda p: (abs(p.at - at), p.id), default=None)

    def is_taken(self) -> bool:
        """Whether it lay there, and pictures since show people, one who was near it, but none in front of the place."""
        last = self.last.at
        lay = self.pictures >= LAID_PICTURES or (last - self.first.at) / 1e6 >= LAID_SECONDS
        gone = self.views >= GONE_PICTURES or (self.viewed_at - last) / 1e6 >= GONE_SECONDS
        return lay and gone and self.near is not None


class Packages:
    """The places where packages were seen, and people who may have taken one."""

    def __init__(self) -> None:
        self.places: deque[Package] = deque(maxlen=LIVE_MAX)
        self._people: deque[Sighting] = deque(maxlen=RECENT_MAX)

    def add(self, packages: Sequence[Sighting], people: Sequence[Sighting]) -> None:
        """Take in the next picture."""
        self._people.extend(people)
        for s in packages:
            place = next((p for p in self.places if distance(p.last, s) <= PLACE_REACH), None)
            if place is None:
                place = Package(s)
                self.places.append(place)
            place.see(s, self._people)
        if people:
            for place in self.places:
                if place.last.at < people[0].at:
                    place.miss(people)

    def taken(self) -> tuple[Sighting, Sighting] | None:
        """Return the last sight of a package that lay there and is gone after a person had been near it, and that person."""
        return next(((p.last, p.near) for p in self.places if p.near and p.is_taken()), None)


def distance(a: Sighting, b: Sighting) -> float:
    """Between the feet of two boxes, in heights of the taller one."""
    (x, y, height), (ex, ey, tall) = foot(a), foot(b)
    return math.hypot(x - ex, y - ey) / max(height, tall, 1)


def foot(s: Sighting) -> tuple[float, int, int]:
    """Return where a box stands (x, y), and its height."""
    return s.x + s.width / 2, s.y + s.height, s.height


def overlap(a: Sighting, b: Sighting) -> bool:
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.y + b.height and b.y < a.y + a.height
