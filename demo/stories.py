"""Labelled stories of the drawn cameras, with the boxes that the packaged detector found in their pictures.

A label follows from the story's script and the sun at `PLACE` when it happens (`LABELS` below), never from a score, a box or
a constant of the rules; the moment is drawn from the whole year among those with the light that the pictures have. The boxes
of one picture a second are stored in `stories.jsonl`, which `python -m bench.stories` writes. Rules are tuned on the
split `tune` and reported on `test`: no seed is in both, and the detector was trained on neither.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import Literal, NamedTuple, get_args

from PIL import Image

from hearthwatch.schemas.items import Detection

Label = Literal["routine", "odd", "alarming"]
Split = Literal["tune", "test"]

PLACE = 51.48, 0.0  # Greenwich: the yard's clock is UTC
CIVIL_DARK = -6.0  # degrees of the sun: from here on one sees nothing outdoors without a lamp
LIGHTS: Mapping[str, tuple[float, float, range]] = {
    "day": (3, 90, range(24)), "rain": (3, 90, range(24)), "dusk": (-6, 3, range(24)), "night": (-90, -6, range(24)),
    "dark evening": (-12, -6, range(12, 24)), "dark morning": (-12, -6, range(12)), "midnight": (-90, -6, range(1)),
}  # fmt: skip
"""Light → the lowest and highest sun, and the hours: how the pictures are drawn, and three kinds of darkness to compare."""


class Meaning(NamedTuple):
    """The label of a plot by day and in the dark, and why."""

    day: Label
    dark: Label
    why: str


LABELS: Mapping[str, Meaning] = {
    "thief": Meaning("alarming", "alarming", "a person takes what was delivered, at any hour"),
    "lingers": Meaning("odd", "alarming", "a stranger walks up and down by the house; in the dark a reason to get up"),
    "garden": Meaning("routine", "alarming", "people stay behind the house: residents by day, intruders by night"),
    "courier": Meaning("routine", "odd", "a delivery; unusual at night"),
    "visitor": Meaning("routine", "odd", "a person comes to the door, waits and leaves; unusual at night"),
    "passers": Meaning("routine", "odd", "people pass and do not stop; worth checking at night"),
    "dog_walk": Meaning("routine", "odd", "a walk with a dog; worth checking at night"),
    "car_parks": Meaning("routine", "odd", "a car comes home; at night it may be a stranger's"),
    "car_leaves": Meaning("routine", "odd", "a car leaves; at night it may not be its owner who drives"),
    "cars_pass": Meaning("routine", "routine", "traffic, at any hour"),
    "cat": Meaning("routine", "routine", "a cat, at any hour"),
    "dog": Meaning("routine", "routine", "a dog, at any hour"),
    "quiet": Meaning("routine", "routine", "nothing happens"),
}  # fmt: skip

KINDS = {"p": "person", "c": "car", "d": "dog", "k": "cat", "b": "package"}
LETTERS = {kind: letter for letter, kind in KINDS.items()}


class Story(NamedTuple):
    """One clip of a drawn camera, one picture a second from `start` on (the camera's clock)."""

    camera: str
    seed: int
    split: Split
    plots: tuple[str, ...]
    """The plot, then those that happen beside it."""
    start: datetime
    frames: tuple[tuple[Detection, ...], ...]
    """The detections of each picture of 640 x 360 pixels."""

    @property
    def is_dark(self) -> bool:
        return sun(self.start) < CIVIL_DARK

    @property
    def label(self) -> Label:
        """Return the gravest label of its plots."""
        meanings = (LABELS[plot] for plot in self.plots)
        return max((m.dark if self.is_dark else m.day for m in meanings), key=get_args(Label).index)


@cache
def sun(moment: datetime) -> float:
    """Return the sun's height over the yard's horizon in degrees."""
    from astral import Observer
    from astral.sun import elevation

    return elevation(Observer(*PLACE), moment.replace(tzinfo=UTC))


def draw_start(light: str, key: str) -> datetime:
    """Draw a moment of 2026 with this light; `key` seeds it."""
    low, high, hours = LIGHTS[light]
    r = random.Random(key)
    while True:
        moment = datetime(2026, 1, 1) + timedelta(seconds=r.randrange(365 * 86_400))
        if moment.hour in hours and low <= sun(moment) < high:
            return moment


@cache
def stories(split: Split) -> tuple[Story, ...]:
    """Return all stories of a split, in a fixed order."""
    lines = files(__package__).joinpath("stories.jsonl").read_text().splitlines()
    return tuple(story for story in map(parse, lines) if story.split == split)


def draw_picture(story: Story, second: float) -> Image.Image:
    """Draw the picture that was taken at this second of a story again, as it was uploaded."""
    from hearthwatch.demo.scenes import story as play

    # what bench/stories.py asks for by plot and light has seeds from 1000 on
    asked = (story.plots[0], None if story.plots[0] == "thief" else "night") if story.seed % 1_000_000 >= 1000 else ()
    return Image.open(BytesIO(play(story.camera, story.seed, *asked).frame(second).jpeg())).convert("RGB")


def parse(line: str) -> Story:
    """Parse one line of the file."""
    camera, seed, split, plots, start, seen = json.loads(line)
    frames = tuple(tuple(_boxes(frame)) for frame in seen.split("|"))
    return Story(camera, seed, split, tuple(plots.split()), datetime.fromisoformat(start), frames)


def write(story: Story) -> str:
    """Format a story as its line: `p93 312 140 22 61` is a person, 0.93, at x 312, y 140, 22 wide, 61 tall."""
    seen = "|".join(",".join(map(_box, frame)) for frame in story.frames)
    start = story.start.isoformat(timespec="seconds")
    return json.dumps([story.camera, story.seed, story.split, " ".join(story.plots), start, seen])


def _box(d: Detection) -> str:
    return " ".join([LETTERS[d.object_type] + f"{min(99, round(d.confidence * 100))}", *map(str, d.bbox)])


def _boxes(frame: str) -> Iterator[Detection]:
    for box in filter(None, frame.split(",")):
        what, x, y, width, height = box.split()
        yield Detection(KINDS[what[0]], int(what[1:]) / 100, (int(x), int(y), int(width), int(height)))
