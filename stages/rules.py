"""Judge an event by rules: a pure fold over its pictures: what was seen, how many, for how long, at what hour and how it moved.

The score is a sum, every number of it stands in the tables below (docs/judgement.md says where they come from):
the gravest kind of object (`KIND`), `MORE` for each further one of that kind at once, `STAY` for how long it is in view,
`NIGHT` in the dark hours, `LOITER` for people who stop at several places or do not leave, more so at night, and `PACKAGE_TAKEN` for
a package that is gone after a person stood beside it. It never says more than was detected: the summary counts,
the reasoning names each term, the evidence are ids of the surest detections and of those that a term rests on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from functools import partial
from heapq import nsmallest
from itertools import groupby
from typing import NamedTuple

from hearthwatch.record.events import Facts, Sighting
from hearthwatch.record.surroundings import Surroundings
from hearthwatch.schemas.items import Verdict, from_microseconds
from hearthwatch.stages.darkness import Darkness, by_picture
from hearthwatch.stages.movement import CREDIT_MICROSECONDS, PAIR_MICROSECONDS, PICTURE_PAIRS, Packages, Tracks, tallest

KIND = {
    "person": 22, "car": 10, "truck": 12, "bus": 10, "motorcycle": 12, "bicycle": 10, "package": 15, "backpack": 12,
    "handbag": 12, "suitcase": 15, "dog": 8, "cat": 4, "bird": 2, "horse": 8, "bear": 60,
}  # fmt: skip
OTHER = 5
MORE, MORE_MAX = 4, 12
STAY = ((60, 12), (30, 9), (10, 4))  # seconds at least in view, one and the same; points
NIGHT_PERSON, NIGHT_VEHICLE = 25, 10
VEHICLES = {"car", "truck", "bus", "motorcycle", "bicycle"}
LOITER, LOITER_MORE, LOITER_MAX = (
    10,
    2,
    16,
)  # stops at 2 places, or one and the same person in view for …; each further place
LOITER_SECONDS = 50  # … so long
LOITER_NIGHT = 15
PACKAGE_TAKEN = 45
EVIDENCE_PER_KIND = 3

PLURAL = {"person": "people", "bus": "buses"}


class Features(NamedTuple):
    """What the score depends on."""

    objects: dict[str, int]
    worst: str
    """The gravest kind among them."""
    seconds: float
    """How long one and the same object of that kind was in view."""
    stops: int
    """The most places at which one and the same person stood still."""
    loiters: bool
    """Whether a person stops at several places, or does not leave."""
    taken: tuple[Sighting, Sighting] | None
    """A package that is gone, and the person who stood beside it."""
    is_night: bool


def judge(
    facts: Facts,
    zone: tzinfo | None = None,
    darkness: Darkness | None = None,
    surroundings: Surroundings | None = None,
) -> Verdict:
    """Score, summary and reasons for one event; the other arguments are those of `RulesJudge`."""
    surroundings = surroundings or Surroundings(facts.camera_id, facts.started_at, facts.width, facts.height)
    rules = RulesJudge(surroundings, zone, darkness)
    for picture in [list(boxes) for _, boxes in groupby(facts.sightings, key=lambda s: s.frame_id)]:
        rules.add(picture[0].at, Counter(s.object_type for s in picture), lambda: picture)  # noqa: B023 (called at once)
    return rules.verdict(facts)


class RulesJudge:
    """Judges one event while it grows. `zone` is that of the camera's clock; None: the system's.

    `darkness`: whether it is dark; None: a grey picture, else the clock.
    """

    def __init__(
        self, surroundings: Surroundings, zone: tzinfo | None = None, darkness: Darkness | None = None
    ) -> None:
        self.surroundings = surroundings
        self.zone = zone
        self.darkness = darkness or partial(by_picture, zone=zone)
        self.objects: dict[str, int] = {}
        self.worst = ""
        self._people = self._same = Tracks()
        self._packages = Packages()
        self._paid_until = 0

    def add(self, at: int, objects: Mapping[str, int], boxes: Callable[[], Sequence[Sighting]]) -> None:
        """Take in the next picture; of a crowd all are counted, and some are followed."""
        if not self.objects:
            self.is_night = self.darkness(at, self.surroundings.is_grey)
        for kind, n in objects.items():
            if kind not in self.objects and _gravity(kind) > _gravity(self.worst):  # so nothing of it was missed
                self.worst, self._same = kind, self._people if kind == "person" else Tracks()
            self.objects[kind] = max(n, self.objects.get(kind, 0))
        if at < self._paid_until:
            return
        seen = boxes()
        people = tallest(seen, "person")
        pairs = self._people.add(people)
        if self._same is not self._people:
            pairs += self._same.add(tallest(seen, self.worst))
        self._packages.add(tallest(seen, "package"), people)
        paid = max(self._paid_until, at - CREDIT_MICROSECONDS)
        self._paid_until = paid + (PICTURE_PAIRS + pairs) * PAIR_MICROSECONDS

    def score(self) -> int:
        """Return the score of the pictures so far."""
        return min(100, sum(n for n, _ in score_terms(self.features())))

    def verdict(self, facts: Facts) -> Verdict:
        """Return the verdict on the pictures so far; `facts` are theirs."""
        features, score = self.features(), self.score()
        start = from_microseconds(facts.started_at).astimezone(self.zone)
        describe = theft_summary if features.taken else summary
        return Verdict(
            score,
            describe(facts.objects, (facts.last_at - facts.started_at) / 1e6, facts.camera_name, start),
            f"{', '.join(f'{why} +{n}' for n, why in score_terms(features))}: {score} of 100, by the rules",
            evidence(facts.sightings, features.taken or ()),
        )

    def features(self) -> Features:
        """Return the features of the pictures so far."""
        people = self._people
        return Features(
            self.objects,
            self.worst,
            self._same.seconds,
            people.stops,
            people.stops >= 2 or people.seconds >= LOITER_SECONDS,
            self._packages.taken(),
            self.is_night,
        )


def _gravity(kind: str) -> tuple[int, str]:
    return (KIND.get(kind, OTHER), kind) if kind else (-1, "")


def score_terms(features: Features) -> list[tuple[int, str]]:
    """Return the terms of the score, each with its reason."""
    more = features.objects[features.worst] - 1
    stays = next((n for least, n in STAY if features.seconds >= least), 0)
    loiter = min(LOITER_MAX, LOITER + LOITER_MORE * max(0, features.stops - 2)) if features.loiters else 0
    night = _night(features) if features.is_night else 0
    terms = [
        (KIND.get(features.worst, OTHER), features.worst),
        (min(MORE_MAX, MORE * more), f"{more} more at once"),
        (stays, f"stays {_duration(features.seconds)}"),
        (loiter, f"stops at {features.stops} places" if features.stops >= 2 else "does not leave"),
        (night, "in the dark"),
        (LOITER_NIGHT if loiter and night else 0, "loiters in the dark"),
        (PACKAGE_TAKEN if features.taken else 0, "a package is gone after a person stood beside it"),
    ]
    return [term for term in terms if term[0]]


def _night(features: Features) -> int:
    return NIGHT_PERSON if "person" in features.objects else NIGHT_VEHICLE if VEHICLES & set(features.objects) else 0


def theft_summary(objects: dict[str, int], seconds: float, camera: str, start: datetime) -> str:
    """`Package taken at the front door, 12:00 (1 person, 27 s)`."""
    return f"Package taken {place(camera)}, {start:%H:%M} ({_count('person', objects['person'])}, {_duration(seconds)})"


def summary(objects: dict[str, int], seconds: float, camera: str, start: datetime) -> str:
    """`2 people and 1 dog for 45 s at the front door, 02:13`: only what was counted."""
    seen = [
        _count(kind, n) for kind, n in sorted(objects.items(), key=lambda item: (-KIND.get(item[0], OTHER), item[0]))
    ]
    listed = seen[0] if len(seen) == 1 else f"{', '.join(seen[:-1])} and {seen[-1]}"
    lasting = f" for {_duration(seconds)}" if seconds >= 1 else ""
    return f"{listed}{lasting} {place(camera)}, {start:%H:%M}"


def place(camera: str) -> str:
    """`Front_Door` → `at the front door`; a name that is no plain words stays as it is."""
    words = camera.replace("_", " ").replace("-", " ").strip()
    return f"at the {words.lower()}" if words.replace(" ", "").isalpha() else f"at {camera}"


def evidence(sightings: Sequence[Sighting], decisive: Sequence[Sighting] = ()) -> tuple[int, ...]:
    """Return the surest detections of each kind, at most three, and the decisive ones, as ids in order."""
    chosen = {s.id for s in decisive}
    for kind in {s.object_type for s in sightings}:
        surest = nsmallest(
            EVIDENCE_PER_KIND, (s for s in sightings if s.object_type == kind), key=lambda s: (-s.confidence, s.id)
        )
        chosen.update(s.id for s in surest)
    return tuple(sorted(chosen))


def _count(kind: str, n: int) -> str:
    return f"{n} {kind if n == 1 else PLURAL.get(kind, kind + 's')}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
