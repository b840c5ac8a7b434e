"""What the cameras upload, by seed: which picture comes when, under which name, how; and what a detector sees on it.

The plan is a function of (seed, time of the start), so an uploader that was killed goes on where it was, and a detector in
the process and one behind HTTP give the same boxes, because both look at nothing but a picture's bytes.
"""

from __future__ import annotations

import io
import json
import random
import zlib
from collections.abc import Iterator
from functools import cache
from hashlib import blake2b
from typing import NamedTuple

from PIL import Image

from hearthwatch.gpu.boxes import DetectionFilter
from hearthwatch.gpu.remote import parse_detections
from hearthwatch.schemas import Detected, Frame, Stage
from tests.support.pipeline import name

SIZE = (320, 288)  # boxes lie anywhere up to (255, 255) and are 20 × 30
TYPES = ("person", "car", "bear")  # a bear connects events into incidents at any hour
CAMERAS = 12
ACTIVE, SLOT_SECONDS = 3, 3.0  # cameras that see something at a time, and for how long
RATE = 4.0  # pictures a second
HOUR = 3600.0
FLOOD_SECONDS, FLOOD = 25.0, 100  # so often one camera sends so many at once, more than may wait of one camera
OLD = (70, 150)  # pictures that are put in while the pipeline is down
FOLDERS = [
    b"Front-Door Camera",
    b"camera#1",
    b"g\xc3\xa4rten",
    b"odd \xff\xfe bytes",
    b"new\nline",
    *(b"cam %d" % n for n in range(7)),
]
assert len(FOLDERS) == CAMERAS
OFF, OFF_SECONDS = FOLDERS[-1], 90.0  # a camera whose clock is slow
NESTED = (b"", b"", b"a/", b"2026/11/22/", "über/".encode(), b"\xff/")


class Planned(NamedTuple):
    """One upload: when (seconds since the start), where (below the base), what, and how."""

    at: float
    path: bytes
    words: str
    kind: str
    how: str

    def data(self) -> bytes:
        return made(self.kind, self.words)


def plan(seed: int, began: float, seconds: float) -> Iterator[Planned]:
    """Everything that is uploaded in so many seconds, in order."""
    rnd, at, n = random.Random(f"{seed} uploads"), 0.0, 0
    buffered: dict[bytes, float] = {}
    words: dict[bytes, str] = {}
    active: list[bytes] = []
    slot, flood = -1, 0
    while (at := at + rnd.expovariate(RATE)) < seconds:
        if slot != int(at / SLOT_SECONDS):
            slot, active = int(at / SLOT_SECONDS), rnd.sample(FOLDERS, ACTIVE)
        if flood != int(at / FLOOD_SECONDS):
            flood = int(at / FLOOD_SECONDS)
            yield from burst(rnd, at, began + at, f"{seed} flood {flood}", FLOOD)
        camera, n = rnd.choice(active), n + 1
        taken = began + at - rnd.choice([0, 0, 0, 0.2, 0.39])  # what comes live comes in some disorder
        if rnd.random() < 0.15:  # the hour that a camera had buffered
            buffered[camera] = buffered.get(camera, began - HOUR) + rnd.choice([0.05, 0.1, 0.3, 0.5, 0.7])
            taken = buffered[camera] - rnd.choice([0, 0, 0.3])
        elif rnd.random() < 0.03:  # late, from anywhere in the past
            taken = began + rnd.uniform(0, at)
        taken -= OFF_SECONDS * (camera == OFF)
        kind = rnd.choices(["jpeg", "png", "parked", "cut", "empty", "prose", "huge"], [80, 6, 8, 2, 0.5, 1, 0.5])[0]
        how = rnd.choices(["move", "write", "slow", "folder"], [50, 40, 5, 5])[0]
        if kind in ("jpeg", "png") and rnd.random() < 0.04 and camera in words:
            kind, text = "jpeg", words[camera]  # the same bytes again
        else:
            text = words[camera] = f"{seed} {n}"
        yield Planned(at, _path(rnd, camera, taken, n, kind), text, kind, how)


def burst(rnd: random.Random, at: float, taken: float, words: str, count: int) -> Iterator[Planned]:
    """So many pictures of one camera at once, the last of which was taken just now."""
    camera, order = rnd.choice(FOLDERS), list(range(count))
    if rnd.random() < 0.5:
        rnd.shuffle(order)
    for n in order:
        file = name(taken - (count - n) * 0.1 - OFF_SECONDS * (camera == OFF), f"{words} {n}".replace(" ", "-"))
        yield Planned(at, camera + b"/" + file.encode(), f"{words} {n}", "jpeg", "move")


def _path(rnd: random.Random, camera: bytes, taken: float, n: int, kind: str) -> bytes:
    file = name(taken, f"{n}").encode()
    file = file.replace(b".jpg", rnd.choice([b".jpg", b".jpg", b".JPG", b".jpeg"]) if kind != "png" else b".png")
    odds = rnd.random()
    if odds < 0.01:
        return file  # in no camera's folder
    if odds < 0.02:
        return b"front_door camera/" + file  # a second folder with the same camera id
    if odds < 0.05:
        file = file.replace(b".", rnd.choice([b" (1).", b"\xff.", b"\t.", b"'\"."]), 1)
    return camera + b"/" + rnd.choice(NESTED) + file


# -- pictures


def made(kind: str, words: str) -> bytes:
    if kind == "png":
        return _png(words)
    whole = _jpeg(words + (" parked" if kind == "parked" else ""))
    return {"cut": whole[:-40], "empty": b"", "prose": b"no picture " + words.encode(), "huge": _huge(words)}.get(
        kind, whole
    )


@cache
def _base(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", SIZE, (90, 120, 60)).save(buffer, kind)
    return buffer.getvalue()


def _jpeg(words: str) -> bytes:
    comment = words.encode()
    return b"\xff\xd8\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + _base("JPEG")[2:]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def _png(words: str) -> bytes:
    whole = _base("PNG")
    return whole[:-12] + _chunk(b"tEXt", b"words\0" + words.encode()) + whole[-12:]


def _huge(words: str) -> bytes:
    header = _chunk(b"IHDR", (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0")
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"tEXt", b"words\0" + words.encode()) + _base("PNG")[-12:]


# -- what is seen on them


def answer(data: bytes) -> bytes:
    """What the RT-DETR service says of a picture: 0 to 3 boxes that its bytes decide; a parked car stands still.

    A picture that was cut short is sent to the service encoded again: each detector finds the same in each of these.
    """
    if data.startswith(b"\x89PNG") and b"words\0" not in data:
        data = b""
    digest = blake2b(data, digest_size=16).digest()
    found = [
        {"class": TYPES[digest[n] % 3], "confidence": 0.9 - n / 10, "bbox": [*digest[n + 3 : n + 5], 20, 30]}
        for n in range(digest[0] % 4)
    ]
    if b" parked" in data:
        found.append({"class": "car", "confidence": 0.55, "bbox": [200, 200, 90, 60]})
    return json.dumps({"detections": found}).encode()


class Look(Stage):
    """The same without HTTP."""

    accepts = Frame
    emits = Detected

    def process(self, items: list[Frame]) -> list[Detected]:
        return [
            Detected(
                f,
                o.width,
                o.height,
                parse_detections(answer(b"" if o.error else o.data), DetectionFilter(), o.width, o.height),
                model="look",
                detect_ms=0.0,
                is_grey=o.is_grey,
            )
            for f in items
            if (o := f.opened) is not None
        ]
