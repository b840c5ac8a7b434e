"""Judge an event by rules: a pure fold over its pictures: who did what, where, in which light, and what is normal here.

The score is a sum of terms, each printed with its points (docs/judgement.md lists them): those of the gravest object and what it
did, and those of several people at once. Hard terms are signs that neither what is normal, nor the owner's answers can cancel:
the score is at least what they and the kind of the object give. It never says more than was detected: the summary counts,
the reasoning names each term, the evidence are ids of the surest detections and of those that a term rests on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from functools import partial
from heapq import nsmallest
from itertools import groupby
from typing import get_args

from hearthwatch.record.events import Facts, Sighting
from hearthwatch.record.surroundings import Signature, Surroundings, Term
from hearthwatch.schemas.items import Verdict, from_microseconds
from hearthwatch.schemas.zones import ZoneKind
from hearthwatch.stages.acts import RUSH_SECONDS, TOGETHER_SECONDS, Act, Entities, Entity, TrackFacts
from hearthwatch.stages.darkness import Darkness, by_picture

KIND = {
    "person": 20, "car": 10, "truck": 10, "bus": 8, "motorcycle": 12, "bicycle": 8, "package": 10, "backpack": 8,
    "handbag": 8, "suitcase": 10, "dog": 8, "cat": 4, "bird": 2, "horse": 8, "bear": 65,
}  # fmt: skip
OTHER = 5
DARK = {"private": 33, "window": 35, "vehicle": 33, "own_door": 20, "": 28, "public": 3}
"""A person in the dark, by place."""
ASLEEP_FROM, ASLEEP_UNTIL = 24, 6  # hours
ASLEEP, ASLEEP_ANYWHERE = 13, 4  # points in the dark in a zone that is not public; where there are no zones
PUBLIC = -10
SOFT = 80  # what is above counts a fifth without a hard sign: not critical
PAUSE_SECONDS = 8.0  # of a stop that is none to let others pass
AT_DOOR_SECONDS = 40.0  # who rings at night or finds the key is gone by then
BAGS = ("backpack", "handbag", "suitcase")
GATHERING = 5  # people at once, as guests and neighbours are
DAY_PLACE = {"window": 10, "vehicle": 8, "private": 4, "own_door": 0, "": 0}
EVIDENCE_PER_KIND = 3
GRAVITY = (
    "window",
    "vehicle",
    "private",
    "own_door",
    "",
    "public",
)  # of several places that a person was at, the first counts
WORDS = {
    "private": "on own ground", "window": "at a window", "vehicle": "at the parking place", "own_door": "at the own door",
    "": "near the house", "public": "on public ground",
}  # fmt: skip

# What uncounted crowds may cost: a picture pays for the pairs compared with capture time, and until that has passed pictures
# are only counted. 7,500 pairs in 90 seconds are some milliseconds of work.
PAIR_MICROSECONDS = 12_000
PICTURE_PAIRS = 12  # what a picture costs besides, in pairs
CREDIT_MICROSECONDS = 45_000_000  # at most, and at first: 3,750 pairs, 9 pictures of 20 boxes one after the other

PLURAL = {"person": "people", "bus": "buses"}


def judge(
    facts: Facts,
    zone: tzinfo | None = None,
    darkness: Darkness | None = None,
    surroundings: Surroundings | None = None,
) -> Verdict:
    """Score, summary and reasons for one event; the other arguments are those of `RulesJudge`."""
    return replay(facts, RulesJudge(surroundings or surroundings_of(facts), zone, darkness)).verdict(facts)


def replay(facts: Facts, rules: RulesJudge) -> RulesJudge:
    """Let a judge take in all pictures of an event."""
    for picture in [list(boxes) for _, boxes in groupby(facts.sightings, key=lambda s: s.frame_id)]:
        rules.add(picture[0].at, Counter(s.object_type for s in picture), lambda: picture)  # noqa: B023 (called at once)
    return rules


def surroundings_of(facts: Facts) -> Surroundings:
    """Return surroundings of which nothing is known."""
    return Surroundings(facts.camera_id, facts.started_at, facts.width, facts.height)


class RulesJudge:
    """Judges one event while it grows.

    `zone` is that of the camera's clock; None: the system's. `darkness`: whether it is dark; None: a grey picture, else the clock.
    """

    def __init__(
        self, surroundings: Surroundings, zone: tzinfo | None = None, darkness: Darkness | None = None
    ) -> None:
        self.surroundings, self.zone = surroundings, zone
        self.darkness = darkness or partial(by_picture, zone=zone)
        self.objects: dict[str, int] = {}
        self.entities = Entities(surroundings)
        self._paid_until = 0
        self._hints: dict[Signature, list[Term]] = {}

    def add(self, at: int, objects: Mapping[str, int], boxes: Callable[[], Sequence[Sighting]]) -> None:
        """Take in the next picture; of a crowd all are counted, and some are followed."""
        if not self.objects:
            moment = from_microseconds(at).astimezone(self.zone)
            self.hour, self.is_workday = moment.hour, moment.weekday() < 5
            self.is_deep = is_between(self.hour, ASLEEP_FROM, ASLEEP_UNTIL)
            self.is_dark = self.darkness(at, self.surroundings.is_grey)
        for kind, n in objects.items():
            self.objects[kind] = max(n, self.objects.get(kind, 0))
        if at < self._paid_until:
            return
        pairs = self.entities.add(at, boxes())
        paid = max(self._paid_until, at - CREDIT_MICROSECONDS)
        self._paid_until = paid + (PICTURE_PAIRS + pairs) * PAIR_MICROSECONDS

    def tracks(self) -> tuple[TrackFacts, ...]:
        """Return what is known of each object, the most important first."""
        return self.entities.facts()

    def terms(self) -> list[Term]:
        """Return the terms of the score of the pictures so far."""
        return self._judged()[1]

    def signature(self) -> Signature:
        """Return what makes the pictures so far alike to others, for the owner's answers."""
        return self._judged()[2]

    def handover(self) -> str:
        """Return who may be in the camera's next event, too."""
        return self.entities.handover()

    def score(self) -> int:
        """Return the score of the pictures so far."""
        return total(self.terms())

    def verdict(self, facts: Facts) -> Verdict:
        """Return the verdict on the pictures so far; `facts` are theirs."""
        gravest, terms, _ = self._judged()
        score = total(terms)
        acts = gravest.acts if gravest else []
        decisive = {i for act in acts[:6] for i in act.detections}
        taken = next((act for act in acts if act.what == "takes"), None)
        start, seconds = from_microseconds(facts.started_at).astimezone(self.zone), facts.last_at - facts.started_at
        listed = ", ".join(f"{term.why} {term.points:+d}".replace("-", "−") for term in terms)
        return Verdict(
            score,
            summary(facts.objects, seconds / 1e6, facts.camera_name, start, taken),
            f"{listed}: {score} of 100, by the rules",
            evidence(facts.sightings, decisive),
        )

    # -- the sum

    def _judged(self) -> tuple[Entity | None, list[Term], Signature]:
        """Return the gravest object, the terms, and what such events have in common."""
        people = [(a, [*self._person(a)]) for a in self.entities.people()]
        gravest, terms = max(
            people,
            key=lambda pair: (total(pair[1]), points(pair[1]), -pair[0].track.number),
            default=(None, [Term(0, "")]),
        )
        kind, other = self._others()
        if gravest is None or (kind != "person" and total(terms) <= total(other)):
            gravest, terms = None, other
        else:
            terms += self._group(people)
        place = _gravest(gravest) if gravest else ""
        signature = Signature(
            self.surroundings.camera_id, place if place in get_args(ZoneKind) else None,  # type: ignore[arg-type]
            "person" if gravest else kind, bool(gravest and gravest.entered == "own_door"), self.hour, self.is_workday,
        )  # fmt: skip
        terms = [term for term in [*terms, *self._hint(signature)] if term.points]
        if (above := min(points(terms), 100) - SOFT) > 0 and not any(term.is_hard for term in terms):
            terms.append(Term(min(100, points(terms)) - points(terms) - above * 4 // 5, "without a hard sign"))
        return gravest, terms, signature

    def _hint(self, signature: Signature) -> list[Term]:
        """Return the terms of what is normal here, and of what the owner answered."""
        if signature not in self._hints:
            found = self.surroundings.normal(signature), self.surroundings.learned(signature)
            self._hints[signature] = [term._replace(is_hard=False) for term in found if term]
        return self._hints[signature]

    def _others(self) -> tuple[str, list[Term]]:
        """Return the gravest kind but people, and its terms."""
        kinds = self.objects if self.objects.keys() <= {"person"} else self.objects.keys() - {"person"}
        kind = max(kinds, key=lambda kind: (KIND.get(kind, OTHER), kind))
        terms = [Term(KIND.get(kind, OTHER), kind, kind == "bear")]
        wheels = [a for a in self.entities.all.values() if a.track.family == "vehicle" and a.is_plausible]
        private = [a for a in wheels if _gravest(a) not in ("public", "") and a.track.moved > 0.3]
        if kind != "person" and private and self.is_dark:
            terms.append(Term(14 if self.is_deep else 6, "a vehicle on own ground in the dark"))
        return kind, terms

    def _person(self, a: Entity) -> Iterator[Term]:
        """Yield the terms of one person."""
        place, dark = _gravest(a), self.is_dark
        yield Term(KIND["person"], "person")
        if a.track.seen >= 3 and not self.entities.is_body(a):
            yield Term(-12, "does not look or move like a person")
            return
        doubt = a.is_doubtful
        if doubt:
            yield Term(-14, "may be no person")
        own = place != "public"
        if dark:
            yield Term(DARK[place] // (1 + doubt), f"{WORDS[place]} in the dark")
            if own and self.is_deep:
                yield Term((ASLEEP if place else ASLEEP_ANYWHERE) // (1 + doubt), "while people are asleep")
        elif own:
            yield Term(DAY_PLACE.get(place, 0), WORDS[place])
        else:
            yield Term(PUBLIC, "on public ground by day")
        yield from self._residents(a)
        if own and not doubt:
            yield from self._movement(a)
        yield from self._handling(a)

    def _residents(self, a: Entity) -> Iterator[Term]:
        if a.entered == "own_door":
            yield Term(-32, "comes from the own door")
        elif a.near_door and _gravest(a) != "public":
            yield Term(-18, "comes from near the own door")
        elif a.is_from_car:
            yield Term(-14, "arrives by car")
        elif self.entities.is_at_home(a):
            yield Term(-14, "joins people of the house")
        if a.entered != "own_door" and self.entities.left(a) == "own_door" and a.track.seconds < 40:
            yield Term(-15, "goes in at the own door")

    def _movement(self, a: Entity) -> Iterator[Term]:
        """Yield what a person's way says, off public ground."""
        dark = self.is_dark
        if a.run_at and a.ran_off and a.entered != "own_door":
            yield Term(15 if dark else 25, "runs away")
        if not (a.is_of_house or a.is_from_car):  # who lives here may stand about
            yield from self._prowling(a)
        at_door = sum(stop.seconds for where, stop in a.stops if where == "own_door")
        if dark and self.is_deep and at_door >= AT_DOOR_SECONDS and not self.entities.is_at_home(a):
            yield Term(20, f"at the door for {_duration(at_door)}", True)
        if a.did("lies"):
            yield Term(45, "lies down", True)

    def _prowling(self, a: Entity) -> Iterator[Term]:
        dark, stops = self.is_dark, sum(where not in ("own_door", "public") for where, _ in a.stops)
        if dark:
            yield Term(16 if a.followed else 0, "comes in behind a vehicle")
            yield Term(4 if a.did("approaches") else 0, "comes nearer")
            yield Term(10 if a.did("returns") else 0, "returns")
            yield Term(6 if stops else 0, "stops")
        # where it stood when the camera's last event was cut is no other place
        places = stops - (a.before is not None)
        if places > 1:
            yield Term(min(15, 5 * (places - 1)) if dark else min(8, 4 * (places - 1)), f"stops at {places} places")

    def _handling(self, a: Entity) -> Iterator[Term]:
        taken = a.did("takes")
        if taken:
            home = a.entered == "own_door" or self.entities.left(a) == "own_door"
            yield Term(10 if home else 45, f"takes a {taken.where}", not home)
        things = self.entities.all
        wheels = [
            n
            for (n, kind), s in a.beside.items()
            if s >= 3 and kind not in BAGS and n in things and things[n].is_parked
        ]
        if len(wheels) > 1 and a.entered != "own_door" and not a.is_from_car:
            night = self.is_dark and self.is_deep
            yield Term(40 if night else 15, f"at {len(wheels)} vehicles", night)

    def _group(self, people: Sequence[tuple[Entity, list[Term]]]) -> Iterator[Term]:
        """Yield what several people at once say."""
        bodies = [a for a, _ in people if self.entities.is_body(a) and _gravest(a) != "public"]
        n = self.entities.at_once()
        if n >= GATHERING:
            yield Term(-15, f"a gathering of {n} people")
        if self.objects.get("person", 0) >= GATHERING:
            return
        near = [a.did("approaches") for a in bodies if not self.entities.is_at_home(a) and _gravest(a) != "own_door"]
        n = most_within([act.at for act in near if act], TOGETHER_SECONDS)
        if n > 2 and self.is_dark:
            yield Term(25, f"{n} people come nearer together")
        rush = most_within([a.run_at for a in bodies if a.run_at is not None], RUSH_SECONDS)
        if rush > 1 and self.is_dark:
            yield Term(20, f"{rush} people run together", True)


def points(terms: Sequence[Term]) -> int:
    return sum(term.points for term in terms)


def most_within(times: Sequence[int], seconds: float) -> int:
    """Return how many of these times (microseconds), at most, lie within so many seconds."""
    return max((sum(0 <= other - at <= seconds * 1e6 for other in times) for at in times), default=0)


def total(terms: Sequence[Term]) -> int:
    """Return the score: the sum, at least what the kind and the hard terms give."""
    hard = [term for term in terms if term.is_hard]
    least = points(hard) + (terms[0].points if hard and not terms[0].is_hard else 0)
    return max(0, min(100, max(points(terms), least)))


def _gravest(a: Entity) -> str:
    """Return the gravest place that it was at in at least two pictures, or in half of them."""
    least = min(2, (a.track.seen + 1) // 2)
    where = a.ways if a.track.family == "person" else a.places
    if where["own_door"] and any(place == "private" and stop.seconds >= PAUSE_SECONDS for place, stop in a.stops):
        return "private"  # who only goes to the door does not stand about on the way
    return next((place for place in GRAVITY if where[place] >= least), a.place)


def is_between(hour: int, start: int, until: int) -> bool:
    """Check whether an hour lies in a span around midnight."""
    return hour >= start or hour < until


def summary(objects: dict[str, int], seconds: float, camera: str, start: datetime, taken: Act | None = None) -> str:
    """`2 people and 1 dog for 45 s at the front door, 02:13`: only what was counted, and what was taken."""
    if taken:
        count, what = _count("person", objects["person"]), taken.where.capitalize()
        return f"{what} taken {place(camera)}, {start:%H:%M} ({count}, {_duration(seconds)})"
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


def evidence(sightings: Sequence[Sighting], decisive: Collection[int] = ()) -> tuple[int, ...]:
    """Return the surest detections of each kind, at most three, and the decisive ones, as ids in order."""
    chosen = {s.id for s in sightings if s.id in decisive}
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
