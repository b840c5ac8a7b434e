"""Follow boxes through an event: which are one object, who stopped where, which package was taken. Pure geometry.

No pixels, no appearance, no camera's name: lengths are measured in heights of the box, so that a person counts the same
near and far. Made for a picture every one to three seconds; with fewer, stops are rarely seen, and what is left is how
many there were, for how long and when. Of crowds for minutes fewer pictures are used (`thin_out`), so that no event
takes longer than some milliseconds.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from heapq import nlargest
from itertools import groupby

from hearthwatch.record.events import Sighting

Track = list[Sighting]
"""One object through the pictures, in order of capture."""
Foot = tuple[float, int, int]
"""Where a box stands (x, y), and its height."""

GAP_SECONDS = 12.0  # a person behind a bush, missed boxes, or a camera that uploads only every ten seconds
STRIDE, SLACK = (
    1.35,
    0.3,
)  # box heights per second that feet may move (walking 0.7, running 2), and the box's own jitter
STOP_SECONDS, STOP_REACH = 3.0, 0.25  # standing: three seconds within a quarter of its height; slower walkers move more
LAID_PICTURES, LAID_SECONDS = 3, 4.0  # a package lies if it was seen so often, or for so long, at one place
PLACE_REACH = 0.5  # of the package's height: the same place
GONE_PICTURES, GONE_SECONDS = 3, 3.0  # so often, or for so long, an unhidden view of the place and nothing there
NEAR_SECONDS, NEAR_REACH = 5.0, 1.0  # a person was that near, in time and in heights of the person

# Together some 10 ms; what stays below them is used in full.
PAIRS_MAX = 10_000  # of boxes that may be one and the same: 100 pictures of 10 boxes, 25 of 20
PICTURES_MAX = 300  # three a second in a window of 90 s
BOXES_MAX = 20  # of one kind in a picture; of more, the tallest: they are the nearest
LIVE_MAX = 32  # objects that may still be there, and places where a package lay; of more, the newest


def thin_out(sightings: Sequence[Sighting]) -> Sequence[Sighting]:
    """Sightings in order of capture -> all of them, or, of a crowd for minutes, those of pictures at even distances."""
    pictures = [list(group) for _, group in groupby(sightings, key=lambda s: s.frame_id)]
    boxes = min(BOXES_MAX, max(map(len, pictures), default=0))
    step = math.ceil(max(len(pictures) * boxes**2 / PAIRS_MAX, len(pictures) / PICTURES_MAX))
    if step <= 1:
        return sightings
    return [s for picture in (*pictures[:-1:step], pictures[-1]) for s in picture]


def tracks(sightings: Iterable[Sighting]) -> list[Track]:
    """Sightings of one kind, in order of capture -> a track for each object: the nearest feet belong together."""
    found: list[Track] = []
    live: list[Track] = []
    for _, group in groupby(sightings, key=lambda s: s.frame_id):
        boxes = list(group)
        if len(boxes) > BOXES_MAX:
            boxes = nlargest(BOXES_MAX, boxes, key=lambda s: s.height)
        live = [t for t in live if (boxes[0].at - t[-1].at) / 1e6 <= GAP_SECONDS]
        if len(live) > LIVE_MAX:
            live = nlargest(LIVE_MAX, live, key=lambda t: t[-1].at)
        old, new = set[int](), set[int]()
        for _, i, j in sorted(_pairs([t[-1] for t in live], boxes)):
            if i not in old and j not in new:
                live[i].append(boxes[j])
                old.add(i)
                new.add(j)
        fresh = [[s] for j, s in enumerate(boxes) if j not in new]
        found, live = found + fresh, live + fresh
    return found


def _pairs(before: Sequence[Sighting], boxes: Sequence[Sighting]) -> Iterator[tuple[float, int, int]]:
    """Who may have walked to where: how far, and the two indices. All of `boxes` is one picture."""
    feet = [foot(b) for b in boxes]
    for i, a in enumerate(before):
        start, reach = foot(a), STRIDE * max(1.0, (boxes[0].at - a.at) / 1e6) + SLACK
        for j, end in enumerate(feet):
            if (far := foot_distance(start, end)) <= reach:
                yield far, i, j


def duration_seconds(track: Track) -> float:
    """How long it was in view."""
    return (track[-1].at - track[0].at) / 1e6


def count_stops(track: Track) -> int:
    """At how many places one after the other it stood still for three seconds."""
    places: list[Sighting] = []
    begin = 0
    while begin < len(track):
        end = begin
        while end + 1 < len(track) and distance(track[begin], track[end + 1]) <= STOP_REACH:
            end += 1
        if (track[end].at - track[begin].at) / 1e6 < STOP_SECONDS:
            begin += 1
            continue
        if not places or distance(places[-1], track[begin]) > STOP_REACH:
            places.append(track[begin])
        begin = end + 1
    return len(places)


def find_taken_package(packages: Iterable[Sighting], people: Sequence[Sighting]) -> tuple[Sighting, Sighting] | None:
    """Find the last sight of a package that lay there and was gone after a person had been near it, and that person."""
    for place in _places(packages):
        last = place[-1]
        if len(place) < LAID_PICTURES and (last.at - place[0].at) / 1e6 < LAID_SECONDS:
            continue  # it did not lie there
        near = [p for p in people if abs(p.at - last.at) / 1e6 <= NEAR_SECONDS and distance(p, last) <= NEAR_REACH]
        if near and _is_gone(last, people):
            return last, min(near, key=lambda p: (abs(p.at - last.at), p.id))
    return None


def _places(packages: Iterable[Sighting]) -> list[list[Sighting]]:
    """Where packages were seen, each as its sightings there."""
    places: list[list[Sighting]] = []
    ends: deque[tuple[Foot, int]] = deque(maxlen=LIVE_MAX)
    for s in packages:
        feet = foot(s)
        near = next((k for k, (end, _) in enumerate(ends) if foot_distance(end, feet) <= PLACE_REACH), None)
        if near is None:
            ends.append((feet, len(places)))
            places.append([s])
        else:
            place = ends[near][1]
            ends[near] = feet, place
            places[place].append(s)
    return places


def _is_gone(last: Sighting, people: Sequence[Sighting]) -> bool:
    """Whether pictures after `last` show people, but none of them in front of the place."""
    later = [list(group) for _, group in groupby((p for p in people if p.at > last.at), key=lambda p: p.frame_id)]
    views = [group[0].at for group in later if not any(overlap(p, last) for p in group)]
    return len(views) >= GONE_PICTURES or (bool(views) and (views[-1] - last.at) / 1e6 >= GONE_SECONDS)


def distance(a: Sighting, b: Sighting) -> float:
    """Between the feet of two boxes, in heights of the taller one."""
    return foot_distance(foot(a), foot(b))


def foot_distance(a: Foot, b: Foot) -> float:
    return math.hypot(a[0] - b[0], a[1] - b[1]) / max(a[2], b[2], 1)


def foot(s: Sighting) -> Foot:
    return s.x + s.width / 2, s.y + s.height, s.height


def overlap(a: Sighting, b: Sighting) -> bool:
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.y + b.height and b.y < a.y + a.height
