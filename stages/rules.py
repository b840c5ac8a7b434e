"""The rules' verdict: a pure function of what was seen, how many, for how long, at what hour and how it moved.

The score is a sum, every number of it stands in the tables below (docs/judgement.md says where they come from):
the gravest kind of object (`KIND`), `MORE` for each further one of that kind at once, `STAYS` for how long it is in view,
`NIGHT` in the dark hours, `ABOUT` for people who stop at several places or do not leave, more so at night, and `TAKEN` for
a package that is gone after somebody stood beside it. It never says more than was detected: the summary counts,
the reasoning names each term, the evidence are ids of the surest detections and of those that a term rests on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo
from heapq import nsmallest
from typing import NamedTuple

from hearthwatch.record.events import Facts, Sighting
from hearthwatch.schemas.items import Verdict, from_microseconds
from hearthwatch.stages.movement import seconds, stops, taken, thinned, tracks

KIND = {
    "person": 22, "car": 10, "truck": 12, "bus": 10, "motorcycle": 12, "bicycle": 10, "package": 15, "backpack": 12,
    "handbag": 12, "suitcase": 15, "dog": 8, "cat": 4, "bird": 2, "horse": 8, "bear": 60,
}  # fmt: skip
OTHER = 5
MORE, MORE_MAX = 4, 12
STAYS = ((60, 12), (30, 9), (10, 4))  # seconds at least in view, one and the same; points
NIGHT_FROM, NIGHT_UNTIL = 22, 5  # hours of the camera's clock
NIGHT_PERSON, NIGHT_VEHICLE = 25, 10
VEHICLES = {"car", "truck", "bus", "motorcycle", "bicycle"}
ABOUT, ABOUT_MORE, ABOUT_MAX = (
    10,
    2,
    16,
)  # stops at 2 places, or one and the same person so long in view; each further place
ABOUT_SECONDS = 50
ABOUT_NIGHT = 15
TAKEN = 45
EVIDENCE_PER_KIND = 3

PLURAL = {"person": "people", "bus": "buses"}


class Signs(NamedTuple):
    """What the rules look at."""

    objects: dict[str, int]
    worst: str
    """The gravest kind among them."""
    seconds: float
    """How long one and the same object of that kind was in view."""
    stops: int
    """The most places at which one and the same person stood still."""
    about: bool
    """Whether somebody stops at several places, or does not leave."""
    taken: tuple[Sighting, Sighting] | None
    """A package that is gone, and who stood beside it."""
    night: bool


def judge(facts: Facts, zone: tzinfo | None = None) -> Verdict:
    """Score, summary and reasons for one event. `zone` is that of the camera's clock; None: the system's."""
    start = from_microseconds(facts.started_at).astimezone(zone)
    signs = look(facts, start)
    terms = points(signs)
    score = min(100, sum(n for n, _ in terms))
    gone = ", a package is gone" if signs.taken else ""
    return Verdict(
        score,
        summary(signs.objects, (facts.last_at - facts.started_at) / 1e6, facts.camera_name, start) + gone,
        f"{', '.join(f'{why} +{n}' for n, why in terms)}: {score} of 100, by the rules",
        evidence(facts.sightings, signs.taken or ()),
    )


def look(facts: Facts, start: datetime) -> Signs:
    """Facts -> signs; `start` is the event's begin on the camera's clock."""
    objects = facts.objects
    worst = max(objects, key=lambda kind: (KIND.get(kind, OTHER), kind))
    seen = thinned(facts.sightings)
    people = [s for s in seen if s.object_type == "person"]
    walkers = tracks(people)
    same = walkers if worst == "person" else tracks(s for s in seen if s.object_type == worst)
    places = max((stops(track) for track in walkers), default=0)
    return Signs(
        objects,
        worst,
        max((seconds(track) for track in same), default=0.0),
        places,
        places >= 2 or any(seconds(track) >= ABOUT_SECONDS for track in walkers),
        taken([s for s in seen if s.object_type == "package"], people),
        start.hour >= NIGHT_FROM or start.hour < NIGHT_UNTIL,
    )


def points(signs: Signs) -> list[tuple[int, str]]:
    """The terms of the score, each with its reason."""
    more = signs.objects[signs.worst] - 1
    stays = next((n for least, n in STAYS if signs.seconds >= least), 0)
    about = min(ABOUT_MAX, ABOUT + ABOUT_MORE * max(0, signs.stops - 2)) if signs.about else 0
    night = _night(signs) if signs.night else 0
    terms = [
        (KIND.get(signs.worst, OTHER), signs.worst),
        (min(MORE_MAX, MORE * more), f"{more} more at once"),
        (stays, f"stays {_duration(signs.seconds)}"),
        (about, f"stops at {signs.stops} places" if signs.stops >= 2 else "does not leave"),
        (night, f"at night ({NIGHT_FROM}–{NIGHT_UNTIL} h)"),
        (ABOUT_NIGHT if about and night else 0, "stays about in the dark"),
        (TAKEN if signs.taken else 0, "a package is gone after somebody stood beside it"),
    ]
    return [term for term in terms if term[0]]


def _night(signs: Signs) -> int:
    return NIGHT_PERSON if "person" in signs.objects else NIGHT_VEHICLE if VEHICLES & set(signs.objects) else 0


def summary(objects: dict[str, int], seconds: float, camera: str, start: datetime) -> str:
    """`2 people and 1 dog for 45 s at the front door, 02:13`: only what was counted."""
    seen = [f"{n} {kind if n == 1 else PLURAL.get(kind, kind + 's')}" for kind, n in _by_weight(objects)]
    listed = seen[0] if len(seen) == 1 else f"{', '.join(seen[:-1])} and {seen[-1]}"
    lasting = f" for {_duration(seconds)}" if seconds >= 1 else ""
    return f"{listed}{lasting} {place(camera)}, {start:%H:%M}"


def place(camera: str) -> str:
    """`Front_Door` → `at the front door`; a name that is no plain words stays as it is."""
    words = camera.replace("_", " ").replace("-", " ").strip()
    return f"at the {words.lower()}" if words.replace(" ", "").isalpha() else f"at {camera}"


def evidence(sightings: Sequence[Sighting], decisive: Sequence[Sighting] = ()) -> tuple[int, ...]:
    """The surest detections of each kind, at most three, and the decisive ones, as ids in order."""
    chosen = {s.id for s in decisive}
    for kind in {s.object_type for s in sightings}:
        surest = nsmallest(
            EVIDENCE_PER_KIND, (s for s in sightings if s.object_type == kind), key=lambda s: (-s.confidence, s.id)
        )
        chosen.update(s.id for s in surest)
    return tuple(sorted(chosen))


def _by_weight(objects: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(objects.items(), key=lambda item: (-KIND.get(item[0], OTHER), item[0]))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
