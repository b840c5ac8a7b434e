"""What a judge is given: an event with its boxes, and what else is known about it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import NamedTuple

from hearthwatch.schemas.items import PER_FRAME, Attribute, Event, Verdict
from hearthwatch.schemas.zones import Zone, ZoneKind


class Sighting(NamedTuple):
    """One detection of an event: its id, when it was captured (microseconds), what and where."""

    id: int
    at: int
    object_type: str
    confidence: float
    x: int
    y: int
    width: int
    height: int
    attributes_json: str | None = None

    @property
    def frame_id(self) -> int:
        return self.id // PER_FRAME

    @property
    def attributes(self) -> dict[str, Attribute]:
        """What stages found out about it, by name."""
        return dict(json.loads(self.attributes_json)) if self.attributes_json else {}


class Facts(NamedTuple):
    """What a judge is given about an event. Times in microseconds UTC, pixels of a picture of `width` x `height`."""

    event_id: int
    camera_id: str
    camera_name: str
    started_at: int
    last_at: int
    frame_count: int
    width: int
    height: int
    sightings: tuple[Sighting, ...]

    @property
    def objects(self) -> dict[str, int]:
        """Return the most of each kind in one frame, the surest count that still pictures give."""
        most: Counter[str] = Counter()
        for (_, kind), n in Counter([(s.id // PER_FRAME, s.object_type) for s in self.sightings]).items():
            most[kind] = max(most[kind], n)
        return dict(sorted(most.items()))


class Term(NamedTuple):
    """A number of the score, and its reason in words."""

    points: int
    why: str
    is_hard: bool = False
    """A sign that neither what is normal, nor the owner's answers, nor a language model can cancel."""


class Signature(NamedTuple):
    """What makes two events alike to their owner."""

    camera_id: str
    place: ZoneKind | None
    """The gravest place that the object was in; None: in no zone."""
    kind: str
    """Of the gravest object."""
    from_own_door: bool
    hour: int
    workday: bool


def _nothing(_: Signature) -> Term | None:
    return None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Of one event. Times in microseconds UTC; the size is that of its first picture, in pixels."""

    camera_id: str
    started_at: int
    width: int = 0
    height: int = 0
    is_grey: bool | None = None
    """Whether its first picture has no colour, as infrared light gives at night; None: not known."""
    zones: tuple[Zone, ...] = ()
    """Those that mean something to a judge: all but `ignore`."""
    normal: Callable[[Signature], Term | None] = _nothing
    """The term for what is normal for such an event at this hour; None: not known, or neither rare nor usual."""
    learned: Callable[[Signature], Term | None] = _nothing
    """The term for what the owner answered about such events; None: nothing."""
    hints: Hashable = None
    """What `normal` and `learned` are made of: where it is the same, so are they."""
    camera_name: str = ""
    before: str = ""
    """Who was there at the end of the camera's last event, if that was just before: what its judge handed over."""


class Usual(NamedTuple):
    """How usual a kind of object is at an hour: on how many of the watched days it was seen, and what that is worth."""

    visits: int
    of_days: int
    words: str
    points: int


class EarlierEvent(NamedTuple):
    """An event of the same incident that began before. Times in microseconds."""

    camera: str
    started_at: int
    last_at: int
    level: str


@dataclass(frozen=True, slots=True)
class Case:
    """An event to be judged, with all that the judge is given."""

    event: Event
    facts: Facts
    attempts: int = 0
    notes: str = ""
    usual: Usual | None = None
    """How usual a person, else what it has most of, is at this hour; None: not known."""
    surroundings: Surroundings | None = None
    before: tuple[EarlierEvent, ...] = ()
    """The incident so far, the newest last."""

    def with_verdict(self, verdict: Verdict) -> Event:
        """Return the revision that this verdict makes, if the event is unchanged."""
        e = self.event
        return replace(e, type="event.analyzed", revision=e.revision + 1, verdict=verdict, analysis_status="done")
