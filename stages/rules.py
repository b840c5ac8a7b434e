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
from typing import NamedTuple, get_args

from hearthwatch.schemas.case import Facts, Sighting, Signature, Surroundings, Term
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.items import Verdict, from_microseconds
from hearthwatch.schemas.zones import ZoneKind
from hearthwatch.stages.acts import (
    BEYOND_DOOR,
    BEYOND_SECONDS,
    RUSH_SECONDS,
    TOGETHER_SECONDS,
    Act,
    Entities,
    Entity,
    TrackFacts,
)
from hearthwatch.stages.darkness import Darkness, by_picture, darkness
from hearthwatch.stages.own_rules import OwnRule

KIND = {
    "person": 20, "car": 10, "truck": 10, "bus": 8, "motorcycle": 12, "bicycle": 8, "package": 10, "backpack": 8,
    "handbag": 8, "suitcase": 10, "dog": 8, "cat": 4, "bird": 2, "horse": 8, "bear": 65,
}  # fmt: skip
OTHER = 5
DARK = {"private": 37, "window": 39, "vehicle": 37, "own_door": 20, "": 28, "public": 3}
"""A person in the dark, by place."""
ASLEEP_FROM, ASLEEP_UNTIL = 24, 6  # hours
ASLEEP, ASLEEP_ANYWHERE = 6, 4  # points in the dark; where there are no zones
PUBLIC = -10
SOFT = 80  # what is above counts a fifth without a hard sign: not critical
PAUSE_SECONDS = 8.0  # of a stop that is none to let others pass
AT_DOOR_SECONDS = 40.0  # who rings at night or finds the key is gone by then
BAGS = ("backpack", "handbag", "suitcase")
GATHERING = 5  # people at once, as guests and neighbours are
DAY_PLACE = {"window": 14, "vehicle": 12, "private": 9, "own_door": 5, "": 0}
LINGERS_SECONDS = 30.0
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


def judge_by_rules(context: Context) -> Callable[[Surroundings], RulesJudge]:
    """Return what makes the judge of an event."""
    own = [OwnRule(name, context.failures) for name in context.rules]
    return partial(
        RulesJudge, zone=context.zone, darkness=darkness(context), own=own, is_built_in=context.built_in_rules
    )


def replay(facts: Facts, rules: RulesJudge, paths: dict[int, list[Sighting]] | None = None) -> RulesJudge:
    """Let a judge take in all pictures of an event; note in `paths` the boxes of each track by its number."""
    for picture in [list(boxes) for _, boxes in groupby(facts.sightings, key=lambda s: s.frame_id)]:
        rules.add(picture[0].at, Counter(s.object_type for s in picture), lambda: picture)  # noqa: B023 (called at once)
        if paths is not None:
            for track in rules.entities.tracker.live:
                if track.last.frame_id == picture[0].frame_id:
                    paths.setdefault(track.number, []).append(track.last)
    return rules


class _Person(NamedTuple):
    """The terms of one person, and what they depend on that changes from picture to picture."""

    entity: Entity
    place: str
    is_body: bool
    terms: list[Term]
    order: tuple[int, int, int]
    state: tuple[object, ...]


def surroundings_of(facts: Facts) -> Surroundings:
    """Return surroundings of which nothing is known."""
    return Surroundings(facts.camera_id, facts.started_at, facts.width, facts.height)


class RulesJudge:
    """Judges one event while it grows.

    `zone` is that of the camera's clock; None: the system's. `darkness`: whether it is dark; None: a grey picture, else the clock.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        zone: tzinfo | None = None,
        darkness: Darkness | None = None,
        own: Sequence[OwnRule] = (),
        is_built_in: bool = True,
    ) -> None:
        self.surroundings, self.zone = surroundings, zone
        self.own, self.is_built_in = own, is_built_in
        self._taken: list[Sighting] = []
        self._pictures = 0
        self._own_terms: tuple[int, list[Term]] = (0, [])
        """After how many pictures, and the terms of own rules."""
        self.darkness = darkness or partial(by_picture, zone=zone)
        self.objects: dict[str, int] = {}
        self.entities = Entities(surroundings)
        self._paid_until = 0
        self._hints: dict[Signature, list[Term]] = {}
        self._people: dict[int, _Person] = {}

    def add(self, at: int, objects: Mapping[str, int], boxes: Callable[[], Sequence[Sighting]]) -> None:
        """Take in the next picture; of a crowd all are counted, and some are followed."""
        if not self.objects:
            moment = from_microseconds(at).astimezone(self.zone)
            self.hour, self.is_workday = moment.hour, moment.weekday() < 5
            self.is_deep = is_between(self.hour, ASLEEP_FROM, ASLEEP_UNTIL)
            self.is_dark = self.darkness(at, self.surroundings.is_grey)
        self._pictures += 1
        for kind, n in objects.items():
            self.objects[kind] = max(n, self.objects.get(kind, 0))
        if at < self._paid_until:
            return
        seen = boxes()
        if self.own:
            self._taken += seen
        pairs = self.entities.add(at, seen)
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
            f"{listed or 'nothing'}: {score} of 100, by the rules",
            evidence(facts.sightings, decisive),
        )

    # -- the sum

    def _judged(self) -> tuple[Entity | None, list[Term], Signature]:
        """Return the gravest object, the terms, and what such events have in common."""
        people = [self._judged_person(a) for a in self.entities.people()]
        self._people = {p.entity.track.number: p for p in people}
        first = max(people, key=lambda person: person.order, default=None)
        kind, terms = self._others()
        gravest, place = None, ""
        if first and not (kind != "person" and first.order[0] <= total(terms)):
            gravest, place, terms = first.entity, first.place, [*first.terms, *self._group(people)]
        signature = Signature(
            self.surroundings.camera_id, place if place in get_args(ZoneKind) else None,  # type: ignore[arg-type]
            "person" if gravest else kind, bool(gravest and gravest.entered == "own_door"), self.hour, self.is_workday,
        )  # fmt: skip
        terms = [term for term in [*terms, *self._hint(signature)] if term.points] if self.is_built_in else []
        terms += self._judge_by_own()
        if (
            self.is_built_in
            and (above := min(points(terms), 100) - SOFT) > 0
            and not any(term.is_hard for term in terms)
        ):
            terms.append(Term(min(100, points(terms)) - points(terms) - above * 4 // 5, "without a hard sign"))
        return gravest, terms, signature

    def _judge_by_own(self) -> list[Term]:
        """Return the terms of own rules, which are asked once for each picture."""
        if self.own and self._own_terms[0] != self._pictures:
            s, taken = self.surroundings, tuple(self._taken)
            facts = Facts(
                min(one.frame_id for one in taken), s.camera_id, s.camera_name or s.camera_id, s.started_at, taken[-1].at,
                self._pictures, s.width, s.height, taken,
            )  # fmt: skip
            self._own_terms = self._pictures, [term for rule in self.own for term in rule(facts, s)]
        return self._own_terms[1]

    def _hint(self, signature: Signature) -> list[Term]:
        """Return the terms of what is normal here, and of what the owner answered."""
        if signature not in self._hints:
            found = self.surroundings.normal(signature), self.surroundings.learned(signature)
            self._hints[signature] = [term._replace(is_hard=False) for term in found if term]
        return self._hints[signature]

    def _others(self) -> tuple[str, list[Term]]:
        """Return the gravest kind but people, and its terms."""
        kinds = set(self.objects) if self.objects.keys() <= {"person"} else self.objects.keys() - {"person"}
        if "bear" in kinds and not self.entities.has_bear():
            kinds = kinds - {"bear"} or {"dog"}  # a dog that was taken for one now and then
        kind = max(kinds, key=lambda kind: (KIND.get(kind, OTHER), kind))
        terms = [Term(KIND.get(kind, OTHER), kind, kind == "bear")]
        wheels = [a for a in self.entities.all.values() if a.track.family == "vehicle" and a.track.moved > 0.3]
        private = [a for a in wheels if a.is_plausible and _gravest(a) not in ("public", "")]
        if kind != "person" and private and self.is_dark:
            terms.append(Term(14 if self.is_deep else 6, "a vehicle on own ground in the dark"))
        return kind, terms

    def _judged_person(self, a: Entity) -> _Person:
        """Return the terms of one person; those of the picture before if nothing changed that they depend on."""
        there, t = self.entities, a.track
        state = (t.seen, len(a.acts), there.has_left(a), there.is_flicker, there.is_house_out)
        known = self._people.get(t.number)
        if known and known.state == state and not a.beside:  # things change without it
            return known
        place, is_body = _gravest(a), there.is_body(a)
        terms = [*self._person(a, place, is_body)]
        return _Person(a, place, is_body, terms, (total(terms), points(terms), -t.number), state)

    def _person(self, a: Entity, place: str, is_body: bool) -> Iterator[Term]:
        """Yield the terms of one person."""
        dark = self.is_dark
        yield Term(KIND["person"], "person")
        if a.track.seen >= 3 and not is_body:
            yield Term(-12, "does not look or move like a person")
            return
        doubt = a.is_doubtful
        if doubt:
            yield Term(-14, "may be no person")
        own = place != "public"
        if dark:
            yield Term(DARK[place] // (1 + doubt), f"{WORDS[place]} in the dark")
            if self.is_deep:
                yield Term((ASLEEP if place else ASLEEP_ANYWHERE) // (1 + doubt), "while people are asleep")
        elif own:
            yield Term(DAY_PLACE.get(place, 0), WORDS[place])
        else:
            yield Term(PUBLIC, "on public ground by day")
        yield from self._residents(a, place)
        if own and not doubt:
            yield from self._movement(a)
        if not doubt and a.did("lies"):
            yield Term(45, "lies down", True)
        yield from self._handling(a)

    def _residents(self, a: Entity, place: str) -> Iterator[Term]:
        if a.entered == "own_door":
            yield Term(-32, "comes from the own door")
        elif a.near_door and place != "public":
            yield Term(-18, "comes from near the own door")
        elif a.is_from_car:
            yield Term(-14 if self.is_dark else 0, f"arrives by {a.cycle or 'car'}")
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
        at_door = a.seconds_at["own_door"]
        if not dark and at_door >= AT_DOOR_SECONDS and not (a.is_from_car or self.entities.is_at_home(a)):
            yield Term(20, f"at the door for {_duration(at_door)}")

    def _prowling(self, a: Entity) -> Iterator[Term]:
        dark, stops = self.is_dark, sum(where not in ("own_door", "public") for where, _ in a.stops)
        if dark:
            yield Term(16 if a.followed else 0, "comes in behind a vehicle")
            yield Term(4 if a.did("approaches") else 0, "comes nearer")
            yield Term(10 if a.did("returns") else 0, "returns")
            yield Term(6 if stops else 0, "stops")
            lingers = sum(a.seconds_at[place] for place in ("private", "window", "vehicle")) >= LINGERS_SECONDS
            yield Term(8 if lingers else 0, "stays about")
            yield Term(12 if a.did("crouches") else 0, "crouches")
        yield Term(16 if a.beyond_door >= BEYOND_SECONDS else 0, "goes elsewhere from the door")
        if a.at_door and any(where == "window" for where, _ in a.stops):
            yield Term(10 if dark else 30, "at the door and at a window")
        # where it stood when the camera's last event was cut is no other place
        places = stops - (a.before is not None)
        if places > 1:
            yield Term(min(15, 5 * (places - 1)) if dark else min(8, 4 * (places - 1)), f"stops at {places} places")

    def _handling(self, a: Entity) -> Iterator[Term]:
        there, taken = self.entities, a.did("takes")
        at_door = there.is_near_door(a.track.last, BEYOND_DOOR) and not there.has_left(a)
        if taken and not (at_door and taken.where in BAGS):  # it may go in with it
            home = a.entered == "own_door" or there.left(a) == "own_door"
            yield Term(0 if home else 45, f"takes a {taken.where}", not home)
        things = self.entities.all
        wheels = [
            n
            for (n, kind), s in a.beside.items()
            if s >= 3 and kind not in BAGS and n in things and things[n].is_parked
        ]
        if len(wheels) > 1 and a.entered != "own_door" and not a.is_from_car:
            night = self.is_dark and self.is_deep
            yield Term(40 if night else 15, f"at {len(wheels)} vehicles", night)

    def _group(self, people: Sequence[_Person]) -> Iterator[Term]:
        """Yield what several people at once say."""
        bodies = [p for p in people if p.place != "public" and p.is_body]
        n = self.entities.at_once()
        if not self.is_dark and sum(p.is_body for p in people) > 1:
            yield Term(-8, "in company by day")
        if n >= GATHERING:
            yield Term(-15, f"a gathering of {n} people")
        if self.objects.get("person", 0) >= GATHERING:
            return
        comers = [p.entity for p in bodies if p.place != "own_door" and not self.entities.is_at_home(p.entity)]
        near = [a.did("approaches") for a in comers]
        n = most_within([act.at for act in near if act], TOGETHER_SECONDS)
        if n > 2 and self.is_dark:
            yield Term(25, f"{n} people come nearer together")
        rush = most_within([p.entity.run_at for p in bodies if p.entity.run_at is not None], RUSH_SECONDS)
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
    found = next((place for place in GRAVITY if where[place] >= least), a.place)
    if found == "own_door" and any(place == "private" and stop.seconds >= PAUSE_SECONDS for place, stop in a.stops):
        return "private"  # who only goes to the door does not stand about on the way
    return found


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
