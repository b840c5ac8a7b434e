"""Choose and draw the pictures of an event that a vision model is shown. The choice is pure.

One scene with numbered boxes, then crops of the gravest tracks: the first sure one, the nearest, the longest stop, the last
sight; never two that are nearly equal. Drawn on another thread; bounded in number, pixels and bytes.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from statistics import median
from typing import Any, NamedTuple

from PIL import Image, ImageDraw

from hearthwatch.record.suppression import iou
from hearthwatch.schemas.case import Facts, Sighting
from hearthwatch.stages.acts import TrackFacts
from hearthwatch.stages.tracks import FAMILIES, STAND_REACH, distance, size

PICTURES_MAX = 6
TRACKS_MAX = 2
SCENE_PIXELS, CROP_PIXELS_MIN, CROP_PIXELS = 768, 448, 512  # of the longer side
CROP_SHARE_MIN = 0.15  # of the picture's width and height
SAME_CROP = 0.7  # intersection over union of two boxes whose crops would show the same
SURE = 0.6
QUALITIES = 85, 60, 35  # the first that fits into …
JPEG_BYTES_MAX = 200_000
STILL_MIN, STILL_IOU = 6, 0.9  # pictures; boxes of a thing differ by 3 % of its size, those of a person by 10 %
ACTS_NOTED_MAX = 3

Paths = Mapping[int, Sequence[Sighting]]
"""Number of a track → its boxes, in order of time."""
Box = tuple[int, int, int, int]


class Exposure(NamedTuple):
    """A picture to be shown: a scene (`track` is 0) or a crop of one track."""

    frame_id: int
    region: Box
    """x, y, width, height in pixels of the upload."""
    track: int
    detection: int
    note: str
    boxes: tuple[tuple[int, Box], ...] = ()
    """Of a scene: track numbers and boxes to draw."""


class Shown(NamedTuple):
    """A track, as far as it matters whether its pictures show it."""

    number: int
    kind: str
    confidence: float
    """The detector's median."""
    is_plausible: bool
    is_still: bool
    """Whether all its boxes, of several pictures, are one: a person who stands turns and moves the arms."""

    @property
    def is_sure(self) -> bool:
        return self.is_plausible and self.confidence >= 0.75


class Drawn(NamedTuple):
    """A picture as it is sent."""

    shot: Exposure
    jpeg: bytes
    source: str

    def url(self) -> str:
        return "data:image/jpeg;base64," + base64.b64encode(self.jpeg).decode()


Reader = Callable[[int], tuple[Image.Image, str] | None]
"""Frame id → its picture, without black margins, and where it came from; None: it is gone."""


def describe_tracks(paths: Paths, tracks: Sequence[TrackFacts]) -> tuple[Shown, ...]:
    """Return those tracks that the level rests on: all people, else all tracks."""
    people = [t for t in tracks if t.kind == "person"]
    return tuple(
        Shown(
            t.number, t.kind, median(s.confidence for s in path), t.is_plausible,
            len(path) >= STILL_MIN and _sameness(path) >= STILL_IOU,
        )
        for t in people or tracks
        if (path := paths.get(t.number))
    )  # fmt: skip


def _sameness(path: Sequence[Sighting]) -> float:
    """Return how much boxes overlap with their mean, on average."""
    mean = [sum(values) / len(path) for values in zip(*(s[4:8] for s in path), strict=True)]
    return sum(iou(mean, s[4:8]) for s in path) / len(path)


def choose(facts: Facts, paths: Paths, tracks: Sequence[TrackFacts], limit: int = PICTURES_MAX) -> tuple[Exposure, ...]:
    """Return at most `limit` pictures, the scene first, then the crops of each track in order of time."""
    shown = [t for t in tracks if paths.get(t.number)][:TRACKS_MAX]
    if not shown or limit < 1 or not facts.width or not facts.height:
        return ()
    room = min(limit, PICTURES_MAX) - (limit > 1)
    chosen: dict[int, list[tuple[Sighting, str]]] = {t.number: [] for t in shown}
    wanted = [[*_moments(paths[t.number])] for t in shown]
    for turn in range(max(map(len, wanted))):
        for t, moments in zip(shown, wanted, strict=True):
            mine = chosen[t.number]
            if turn < len(moments) and room and not any(_is_same(moments[turn][0], s) for s, _ in mine):
                mine.append(moments[turn])
                room -= 1
    crops = [
        Exposure(s.frame_id, _region(s, facts), t.number, s.id, _note(t, s, why, facts))
        for t in shown
        for s, why in sorted(chosen[t.number])
    ]
    return tuple([_scene(facts, paths, tracks), *crops] if limit > 1 else crops)


def _moments(path: Sequence[Sighting]) -> Iterator[tuple[Sighting, str]]:
    """Yield the boxes of a track that say most, the most important first."""
    yield max(path, key=lambda s: (s.width * s.height, s.confidence, -s.at)), "nearest"
    sure = max(SURE, median(s.confidence for s in path))
    yield next((s for s in path if s.confidence >= sure), path[0]), "first sure sight"
    best: Sequence[Sighting] = ()
    start = 0
    for end, s in enumerate(path):
        while distance(path[start], s) > STAND_REACH:
            start += 1
        if not best or s.at - path[start].at > best[-1].at - best[0].at:
            best = path[start : end + 1]
    if len(best) > 2:
        yield best[len(best) // 2], f"stops for {(best[-1].at - best[0].at) / 1e6:.0f} s"
    yield path[-1], "last sight"


def _is_same(a: Sighting, b: Sighting) -> bool:
    return a.frame_id == b.frame_id or iou(a[4:8], b[4:8]) >= SAME_CROP


def _region(s: Sighting, facts: Facts) -> Box:
    """Return a square around twice the box, as far as the picture has one."""
    side = max(2 * size(s), math.ceil(CROP_SHARE_MIN * max(facts.width, facts.height)))
    width, height = min(side, facts.width), min(side, facts.height)
    x = min(max(0, s.x + s.width // 2 - width // 2), facts.width - width)
    y = min(max(0, s.y + s.height // 2 - height // 2), facts.height - height)
    return x, y, width, height


def _scene(facts: Facts, paths: Paths, tracks: Sequence[TrackFacts]) -> Exposure:
    """Return the picture with the most tracks in it, of equals the surest."""
    found: dict[int, list[tuple[int, Sighting]]] = {}
    for t in tracks:
        for s in paths.get(t.number, ()):
            found.setdefault(s.frame_id, []).append((t.number, s))
    frame = max(found, key=lambda f: (len(found[f]), sum(s.confidence for _, s in found[f]), -f))
    boxes = tuple((n, s[4:8]) for n, s in found[frame])
    second = (found[frame][0][1].at - facts.started_at) / 1e6
    note = f"the whole picture, second {second:.0f}, boxes with track numbers"
    return Exposure(frame, (0, 0, facts.width, facts.height), 0, found[frame][0][1].id, note, boxes)


def _note(t: TrackFacts, s: Sighting, why: str, facts: Facts) -> str:
    acts = [f"{act.what} {act.where}".strip() for act in t.acts if act.at <= s.at][-ACTS_NOTED_MAX:]
    return ", ".join([f"track {t.number}", f"second {(s.at - facts.started_at) / 1e6:.0f}", why, *acts])


def expected(kind: str) -> str:
    """Return what a vision model calls an object of this kind."""
    family = FAMILIES.get(kind, kind)
    return {"cycle": "vehicle"}.get(family, family if family in ("person", "vehicle", "animal") else "object")


# -- drawing


def draw(shots: Sequence[Exposure], facts: Facts, read: Reader) -> list[Drawn]:
    """Draw those whose picture is there; each picture is read once."""
    found: dict[int, tuple[Image.Image, str] | None] = {}
    out = []
    for shot in shots:
        if shot.frame_id not in found:
            found[shot.frame_id] = read(shot.frame_id)
        if picture := found[shot.frame_id]:
            out.append(Drawn(shot, _jpeg(shot, facts, picture[0]), picture[1]))
    return out


def _jpeg(shot: Exposure, facts: Facts, picture: Image.Image) -> bytes:
    across, down = picture.width / facts.width, picture.height / facts.height
    x, y, width, height = shot.region
    edges = (x * across, y * down, (x + width) * across, (y + height) * down)
    longest = max(edges[2] - edges[0], edges[3] - edges[1], 1)
    pixels = min(longest, SCENE_PIXELS) if not shot.track else min(CROP_PIXELS, max(CROP_PIXELS_MIN, longest))
    scale = pixels / longest
    target = max(1, round((edges[2] - edges[0]) * scale)), max(1, round((edges[3] - edges[1]) * scale))
    small = picture.resize(target, Image.Resampling.BICUBIC, box=edges, reducing_gap=2.0)
    pen = ImageDraw.Draw(small)
    for number, (bx, by, bw, bh) in shot.boxes:
        left, top = (bx * across - edges[0]) * scale, (by * down - edges[1]) * scale
        pen.rectangle((left, top, left + bw * across * scale, top + bh * down * scale), outline="yellow", width=2)
        pen.text((left + 3, top + 1), str(number), fill="yellow", font_size=18, stroke_width=2, stroke_fill="black")
    for quality in QUALITIES:
        out = BytesIO()
        small.save(out, "JPEG", quality=quality)
        if out.tell() <= JPEG_BYTES_MAX:
            break
    return out.getvalue()


def as_dict(drawn: Sequence[Drawn]) -> list[dict[str, Any]]:
    """Return which pictures were shown, in their order, for the record."""
    return [
        {"picture": n, "frame_id": d.shot.frame_id, "track": d.shot.track, "region": list(d.shot.region), "note": d.shot.note,
         "source": d.source, "bytes": len(d.jpeg)}
        for n, d in enumerate(drawn, 1)
    ]  # fmt: skip
