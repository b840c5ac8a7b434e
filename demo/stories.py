"""Labelled stories from the drawn yard: what really happened, and what the detector saw of it.

Pure data, pure functions. A label comes from the story alone (its plot, what plays beside it, the hour), by `LABELS`
below, never from a score or from a box. What a judge gets to see are the boxes that the packaged detector found on the
drawn pictures, one picture a second; they are kept in `stories.jsonl`, which `python -m bench.stories` makes again.
Rules are tuned on the split `tune` and reported on `test`: no seed is in both, and the detector was trained on neither.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple, get_args

from hearthwatch.schemas.items import Detection

Label = Literal["routine", "odd", "alarming"]
Split = Literal["tune", "test"]

NIGHT_FROM, NIGHT_UNTIL = 22, 5  # the dark hours of the yard, when a household sleeps or is about to


class Meaning(NamedTuple):
    """What a plot means to the people who live there, by day and by night, and why."""

    day: Label
    night: Label
    why: str


LABELS: Mapping[str, Meaning] = {
    "thief": Meaning("alarming", "alarming", "somebody takes what was delivered, whatever the hour"),
    "lingers": Meaning("odd", "alarming", "a stranger walks up and down by the house; in the dark a reason to get up"),
    "garden": Meaning("routine", "alarming", "people stay behind the house: their owner by day, nobody's guest by night"),
    "courier": Meaning("routine", "odd", "a delivery, which nobody makes at night"),
    "visitor": Meaning("routine", "odd", "somebody comes to the door, waits and leaves; unusual at night"),
    "passers": Meaning("routine", "odd", "people pass and do not stop; worth a look at night"),
    "dog_walk": Meaning("routine", "odd", "a walk with a dog; worth a look at night"),
    "car_parks": Meaning("routine", "odd", "a car comes home; late, it may be somebody else's"),
    "car_leaves": Meaning("routine", "odd", "a car leaves; at night it may not be its owner who drives"),
    "cars_pass": Meaning("routine", "routine", "traffic, at any hour"),
    "cat": Meaning("routine", "routine", "a cat, at any hour"),
    "dog": Meaning("routine", "routine", "a dog, at any hour"),
    "quiet": Meaning("routine", "routine", "nothing happens"),
}  # fmt: skip

KINDS = {"p": "person", "c": "car", "d": "dog", "k": "cat", "b": "package"}
LETTERS = {kind: letter for letter, kind in KINDS.items()}


class Story(NamedTuple):
    """One clip of a drawn camera, one picture a second from `start` (the camera's clock) on."""

    camera: str
    seed: int
    split: Split
    plots: tuple[str, ...]
    """The plot, then what plays beside it by chance."""
    start: datetime
    frames: tuple[tuple[Detection, ...], ...]
    """What the detector found in each picture of 640 x 360 pixels."""

    @property
    def night(self) -> bool:
        return self.start.hour >= NIGHT_FROM or self.start.hour < NIGHT_UNTIL

    @property
    def label(self) -> Label:
        """The gravest of what plays."""
        meanings = (LABELS[plot] for plot in self.plots)
        return max((m.night if self.night else m.day for m in meanings), key=get_args(Label).index)


@cache
def stories(split: Split) -> tuple[Story, ...]:
    """All stories of a split, in a fixed order."""
    lines = files(__package__).joinpath("stories.jsonl").read_text().splitlines()
    return tuple(story for story in map(parse, lines) if story.split == split)


def parse(line: str) -> Story:
    """One line of the file -> its story."""
    camera, seed, split, plots, start, seen = json.loads(line)
    frames = tuple(tuple(_boxes(frame)) for frame in seen.split("|"))
    return Story(camera, seed, split, tuple(plots.split()), datetime.fromisoformat(start), frames)


def write(story: Story) -> str:
    """A story -> its line: `p93 312 140 22 61` is a person, 0.93, at x 312, y 140, 22 wide, 61 tall."""
    seen = "|".join(",".join(map(_box, frame)) for frame in story.frames)
    start = story.start.isoformat(timespec="seconds")
    return json.dumps([story.camera, story.seed, story.split, " ".join(story.plots), start, seen])


def _box(d: Detection) -> str:
    return " ".join([LETTERS[d.object_type] + f"{min(99, round(d.confidence * 100))}", *map(str, d.bbox)])


def _boxes(frame: str) -> Iterator[Detection]:
    for box in filter(None, frame.split(",")):
        what, x, y, width, height = box.split()
        yield Detection(KINDS[what[0]], int(what[1:]) / 100, (int(x), int(y), int(width), int(height)))
