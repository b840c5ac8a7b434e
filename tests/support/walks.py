"""Events with hand-made geometry: who is where in which second."""

from datetime import UTC, datetime
from functools import partial
from itertools import groupby

from hearthwatch.schemas.case import Facts, Sighting, Surroundings
from hearthwatch.schemas.items import to_microseconds
from hearthwatch.schemas.zones import Zone
from hearthwatch.stages.rules import RulesJudge

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
EVENING = datetime(2026, 11, 24, 21, tzinfo=UTC)
NIGHT = datetime(2026, 11, 24, 2, 13, tzinfo=UTC)
WIDTH, HEIGHT = 1280, 720
PAVEMENT = Zone("pavement", "public", ((0, 0.3), (1, 0.3), (1, 0.45), (0, 0.45)))
DOOR = Zone("door", "own_door", ((0.7, 0.8), (1, 0.8), (1, 1), (0.7, 1)))
SIZES = {"person": (60, 160), "car": (300, 150), "bicycle": (160, 100), "package": (40, 30), "suitcase": (50, 60)}


def walk(start, end, seconds, *, first=0.0, every=1.0):
    """[(second, x, y)] from one point to another: where the feet are."""
    n = max(1, round(seconds / every))
    (x, y), (ex, ey) = start, end
    return [(first + i * every, x + (ex - x) * i / n, y + (ey - y) * i / n) for i in range(n + 1)]


def stand(point, seconds, *, first=0.0, every=1.0):
    return walk(point, point, seconds, first=first, every=every)


def sightings(start, *objects, sure=0.9):
    """Each object is (kind, [(second, x, y[, (width, height)])]); ids as the record gives them, a picture per second seen."""
    shots = {}
    for kind, path in objects:
        for second, x, y, *box in path:
            w, h = box[0] if box else SIZES[kind]
            shots.setdefault(second, []).append((kind, sure, round(x - w / 2), round(y - h), w, h))
    zero = to_microseconds(start)
    return [
        Sighting((i + 1) * 512 + n, zero + round(second * 1e6), *shot)
        for i, second in enumerate(sorted(shots))
        for n, shot in enumerate(shots[second])
    ]


def facts(seen, camera="Porch", size=(WIDTH, HEIGHT)):
    frames = len({s.frame_id for s in seen})
    return Facts(1, camera, camera, seen[0].at, seen[-1].at, frames, *size, tuple(seen))


def rules(seen, *, zones=(), dark=None, size=(WIDTH, HEIGHT), **known):
    """The rules' judge after these pictures."""
    darkness = None if dark is None else (lambda at, grey: dark)
    judge = RulesJudge(Surroundings("porch", seen[0].at, *size, zones=tuple(zones), **known), UTC, darkness)
    for picture in [list(boxes) for _, boxes in groupby(seen, key=lambda s: s.frame_id)]:
        kinds = {kind: sum(s.object_type == kind for s in picture) for kind in {s.object_type for s in picture}}
        judge.add(picture[0].at, kinds, partial(list, picture))
    return judge
