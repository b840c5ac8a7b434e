"""What boxes do over time: who is who, who stopped where, what was taken away. Pure geometry on an event's sightings.

No pixels, no appearance, no camera's name: lengths are measured in heights of the box, so that a person counts the same
near and far. Made for a picture every one to three seconds; with fewer, hardly anybody is seen to stop, and what is left
is how many there were, for how long and when.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby

from record.events import Sighting

Track = list[Sighting]
"""One object through the pictures, in order of capture."""

GAP_SECONDS = 12.0  # a person behind a bush, missed boxes, or a camera that uploads only every ten seconds
STRIDE, SLACK = (
    1.35,
    0.3,
)  # box heights per second that feet may move (walking 0.7, running 2), and the box's own jitter
STOP_SECONDS, STOP_REACH = 3.0, 0.25  # standing: three seconds within a quarter of its height; slower walkers move more
LAID_PICTURES, LAID_SECONDS = 3, 4.0  # a package lies if it was seen so often, or for so long, at one place
PLACE_REACH = 0.5  # of the package's height: the same place
GONE_PICTURES, GONE_SECONDS = 3, 3.0  # so often, or for so long, an unhidden view of the place and nothing there
BESIDE_SECONDS, BESIDE_REACH = 5.0, 1.0  # a person was that near, in time and in heights of the person


def tracks(sightings: Iterable[Sighting]) -> list[Track]:
    """Sightings of one kind, in order of capture -> who is who: in each picture the nearest feet go together."""
    found: list[Track] = []
    live: list[Track] = []
    for _, group in groupby(sightings, key=lambda s: s.frame_id):
        here = list(group)
        live = [t for t in live if (here[0].at - t[-1].at) / 1e6 <= GAP_SECONDS]
        pairs = [(apart(t[-1], s), i, j) for i, t in enumerate(live) for j, s in enumerate(here) if reaches(t[-1], s)]
        old, new = set[int](), set[int]()
        for _, i, j in sorted(pairs):
            if i not in old and j not in new:
                live[i].append(here[j])
                old.add(i)
                new.add(j)
        fresh = [[s] for j, s in enumerate(here) if j not in new]
        found, live = found + fresh, live + fresh
    return found


def seconds(track: Track) -> float:
    """How long it was in view."""
    return (track[-1].at - track[0].at) / 1e6


def stops(track: Track) -> int:
    """At how many places one after the other it stood still for three seconds."""
    places: list[Sighting] = []
    begin = 0
    while begin < len(track):
        end = begin
        while end + 1 < len(track) and apart(track[begin], track[end + 1]) <= STOP_REACH:
            end += 1
        if (track[end].at - track[begin].at) / 1e6 < STOP_SECONDS:
            begin += 1
            continue
        if not places or apart(places[-1], track[begin]) > STOP_REACH:
            places.append(track[begin])
        begin = end + 1
    return len(places)


def taken(packages: Iterable[Sighting], people: Sequence[Sighting]) -> tuple[Sighting, Sighting] | None:
    """The last sight of a package that lay there and was gone after a person had been beside it, and that person."""
    for place in _places(packages):
        last = place[-1]
        beside = [p for p in people if abs(p.at - last.at) / 1e6 <= BESIDE_SECONDS and apart(p, last) <= BESIDE_REACH]
        laid = len(place) >= LAID_PICTURES or (last.at - place[0].at) / 1e6 >= LAID_SECONDS
        if laid and beside and _gone(last, people):
            return last, min(beside, key=lambda p: (abs(p.at - last.at), p.id))
    return None


def _places(packages: Iterable[Sighting]) -> list[list[Sighting]]:
    places: list[list[Sighting]] = []
    for s in packages:
        here = next((place for place in places if apart(place[-1], s) <= PLACE_REACH), None)
        places.append([s]) if here is None else here.append(s)
    return places


def _gone(last: Sighting, people: Sequence[Sighting]) -> bool:
    """Whether pictures after `last` show people, but none of them in front of the place."""
    later = [list(group) for _, group in groupby((p for p in people if p.at > last.at), key=lambda p: p.frame_id)]
    views = [group[0].at for group in later if not any(overlap(p, last) for p in group)]
    return len(views) >= GONE_PICTURES or (bool(views) and (views[-1] - last.at) / 1e6 >= GONE_SECONDS)


def reaches(a: Sighting, b: Sighting) -> bool:
    """Whether what was at `a` can have walked to `b`."""
    return apart(a, b) <= STRIDE * max(1.0, (b.at - a.at) / 1e6) + SLACK


def apart(a: Sighting, b: Sighting) -> float:
    """Between the feet of two boxes, in heights of the taller one."""
    across, down = (a.x + a.width / 2) - (b.x + b.width / 2), (a.y + a.height) - (b.y + b.height)
    return math.hypot(across, down) / max(a.height, b.height, 1)


def overlap(a: Sighting, b: Sighting) -> bool:
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.y + b.height and b.y < a.y + a.height
