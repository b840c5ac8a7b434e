"""What each object of an event does, from its track and its surroundings. Pure, picture by picture.

An act is what a bystander would report: enters, stops, runs, stands beside a car, takes a bicycle. Times are microseconds
UTC, lengths sizes of the object (`tracks`), so near and far count the same.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hearthwatch.schemas.case import Sighting, Surroundings
from hearthwatch.schemas.zones import Zone, foot_point
from hearthwatch.stages.tracks import FAMILIES, STAND_SECONDS, Stop, Track, Tracker, distance, foot, ids, size

PLACES = (
    "own_door",
    "window",
    "vehicle",
    "private",
    "public",
)  # of several at one point, the first counts; but public ground
# wins against doors, windows and vehicles, whose outlines hide what is behind them
DOOR_HEIGHT, DOOR_WIDTH = (
    0.6,
    0.8,
)  # sizes of a person, its own width: a zone so high is a door in a wall; feet are at its lower end
AT_DOOR, OUT_OF_DOOR, NEAR_DOOR = 0.35, 0.9, 2.0  # sizes from a door: there; first seen there; a few steps from it
BORDER = 0.025  # share of the picture's width or height: a box so near to its edge is cut by it
RUN, RUN_SECONDS = 1.5, 1.8  # sizes a second, for so long; people walk at 0.8
APPROACH = 1.3  # times the size that it had
OTHER_STOP = 0.8  # sizes: farther away it is another stop
LIE_SECONDS, LIE_PICTURES = 6.0, 3
LOW_SECONDS, LOW_PICTURES = 8.0, 4
BEYOND_DOOR, BEYOND_SECONDS = 1.5, 8.0  # sizes from the door, for so long: who was at it went elsewhere
BESIDE_REACH, BESIDE_SPEED = 0.3, 0.6  # sizes of the person, sizes a second
BESIDE_SECONDS = 3.0
STEP_SECONDS = 6.0  # a longer time between two pictures counts as so long
RIDES, RIDDEN = 0.3, 1.0  # of a cycle that never stood, with a person: sizes a second, sizes
NEW_PICTURES = 4  # without it before: a vehicle came
MOVED_AWAY = 0.6  # sizes of the thing
GONE_PICTURES, GONE_SECONDS, GONE_CHANCE = (
    3,
    3.0,
    0.03,
)  # an open view of the place so often, for so long; by misses alone
EDGE = 0.2  # sizes: so near to public ground counts as public
DRIVES, BEHIND_SECONDS = 0.15, 6.0  # sizes a second of a vehicle
FIRST_PICTURES, WALKS = 4, 0.3  # of a person who was first seen near the door; sizes a second
DOORWARD = 0.8  # cosine of the angle between a person's way and that to the door
AWAY_SECONDS = 4.0  # unseen for so long at a border or door: it left
RETURN_SECONDS = 300.0
HIDDEN_SECONDS, RETURN_NEAR = 30.0, 1.5  # away from the border: unseen for so long; sizes from where it was seen last
RUSH_SECONDS, TOGETHER_SECONDS = 5.0, 8.0
STREAK = 5.5  # height by width: a body is no rain drop
SURE, FAINT, STILL = 0.72, 0.62, 0.3  # confidences of one box that is a body, and of all that are none; sizes
BODY, NEAR_HEIGHT = 0.65, 0.3  # a detector is that sure of a body that fills so much of the picture's height
FLICKERS = 4  # objects seen once, and more than those seen longer: rain, leaves, a spider
STATUE_SECONDS, STATUE_REACH = 10.0, 0.14
BEAR_PICTURES = 3  # a bear that is less sure than `SURE` counts in so many
BEFORE_NEAR, BEFORE_SPEED, BEFORE_MAX = (
    0.7,
    0.5,
    5.0,
)  # sizes, sizes a second, sizes: who was there in the last event, and may be here now
BEFORE_SECONDS = 120  # a person seen after a longer time counts as another one
BEFORE_PEOPLE = 12
ENTITIES_MAX, ACTS_MAX, FACTS_MAX = 128, 20, 10


class Act(NamedTuple):
    """Something that an object did."""

    at: int
    what: str
    """`enters`, `leaves`, `stops`, `returns`, `runs`, `approaches`, `crouches`, `lies`, `stands beside`,
    `gets out of`, `follows a vehicle`, `takes`, `leaves behind`."""
    where: str
    """The kind of a zone, a border of the picture, or what it is beside; "": unknown."""
    detections: tuple[int, ...]


class TrackFacts(NamedTuple):
    """What is known of one object. Times in microseconds."""

    number: int
    kind: str
    began: int
    last: int
    detections: tuple[int, ...]
    places: tuple[str, ...]
    acts: tuple[Act, ...]
    is_plausible: bool


class Before(NamedTuple):
    """A person at the end of the camera's last event, as its judge handed it over."""

    last: Sighting
    entered: str
    by_car: bool
    near_door: bool
    visited: bool = False  # whether it came nearer or stopped off public ground, and was last seen elsewhere


class Entity:
    """One object, and what it did."""

    def __init__(self, track: Track, entered: str, before: Before | None = None) -> None:
        self.track, self.before = track, before
        self.entered = entered
        """`own_door`, a border, `middle` of the picture, or "": it was there in the first picture."""
        self.near_door = before.near_door if before else False
        """Whether it was first seen in the middle of the picture, near an own door."""
        self.place = ""
        self.places: Counter[str] = Counter()
        """In how many pictures it was where."""
        self.ways: Counter[str] = Counter()
        """As `places`, but on the way between public ground and an own door it is as if it was at the door."""
        self.at_door = False
        """Whether it ever was."""
        self.beyond_door = 0.0
        """Seconds away from the door after it was there, off public ground."""
        self.seconds_at: Counter[str] = Counter()
        """Place → for how long it was there."""
        self.acts: list[Act] = []
        self.stops: list[tuple[str, Stop]] = []
        """Places where it stood, each at least `OTHER_STOP` from the others."""
        self.beside: Counter[tuple[int, str]] = Counter()
        """(number, kind) of a thing → seconds for which it stood beside it."""
        self.run_at: int | None = None
        """When it ran last."""
        self.ran_off = False
        """Whether it ran after it had been at a door or a thing."""
        self.run_since: Sighting | None = None
        self.followed = False
        """Whether it came onto own ground behind a vehicle."""
        self.cycle = ""
        """The kind of the cycle that it came with."""
        self.alone = 0
        """A thing: pictures of it, at rest, without a person beside it before one came."""
        self.near: tuple[int, Entity] | None = None
        """A thing: when a person was last beside it, and who."""
        self.brought_by: Entity | None = None
        self.open_views: list[int] = []
        """A thing: pictures since it was seen, without anything before its place."""
        self.is_gone = False
        self.is_from_start = False
        """Whether it was there in the event's first picture."""
        self.is_new = False
        """Whether it was not there in the pictures before, and there were some."""

    def act(self, what: str, where: str, *sightings: Sighting) -> None:
        if len(self.acts) < ACTS_MAX:
            self.acts.append(Act(sightings[-1].at, what, where, ids(sightings)))

    def did(self, what: str) -> Act | None:
        """Return the first act of this kind."""
        return next((act for act in self.acts if act.what == what), None)

    @property
    def is_nowhere(self) -> bool:
        """Whether it did not come over a border, nor was in the camera's last event."""
        return self.entered in ("", "middle", "own_door") and not self.before

    @property
    def is_statue(self) -> bool:
        """Whether it never moved since it was first seen, in the middle of the picture."""
        t = self.track
        is_still = t.moved < STATUE_REACH and not t.lying
        return self.is_nowhere and t.seconds >= STATUE_SECONDS and t.seen >= 4 and is_still

    @property
    def has_arrived(self) -> bool:
        """Whether a vehicle came in this event, and stands."""
        t = self.track
        return t.family == "vehicle" and (t.moved > 0.4 or self.is_new) and t.speed < 0.3

    @property
    def is_parked(self) -> bool:
        """Whether a thing stood still all the time."""
        t = self.track
        return t.seen >= 4 and t.moved < 0.35 and not self.is_new

    @property
    def is_of_house(self) -> bool:
        return self.entered == "own_door" or self.near_door

    @property
    def is_from_car(self) -> bool:
        """Whether it arrived by a vehicle or cycle."""
        return bool((self.before and self.before.by_car) or self.did("gets out of") or self.cycle)

    @property
    def is_doubtful(self) -> bool:
        """Whether what was seen of a person so far may be a bush: once, weakly, or always at one point."""
        t = self.track
        is_still = self.is_nowhere and t.moved < STILL
        return t.surest.confidence < SURE and (t.seen < 2 or t.surest.confidence < FAINT or is_still)

    @property
    def is_bear(self) -> bool:
        """Whether most pictures say so, and it does not stand still like a carved one."""
        t = self.track
        is_sure = t.seen >= BEAR_PICTURES or t.surest.confidence >= SURE
        is_carved = self.is_nowhere and t.seconds >= STATUE_SECONDS and t.moved < STATUE_REACH
        return 2 * t.kinds["bear"] > t.seen and is_sure and not is_carved

    @property
    def is_plausible(self) -> bool:
        t = self.track
        if t.family != "person":
            return t.seen >= 2
        is_solid = t.seen >= 3 or (t.seen == 2 and t.surest.confidence >= 0.5)
        return is_solid and t.upright and not self.is_statue and t.surest.height < STREAK * t.surest.width


class Entities:
    """All objects of an event."""

    def __init__(self, surroundings: Surroundings) -> None:
        self.surroundings = surroundings
        self.tracker = Tracker(surroundings.width)
        self.all: dict[int, Entity] = {}
        self.pictures = 0
        self.together: Counter[int] = Counter()
        """How many people off public ground, at once → in how many pictures."""
        self.is_flicker = False
        """Whether most objects were seen once: rain, leaves, a spider."""
        self.is_house_out = False
        """Whether a person came from the own door or from near it."""
        self._at = 0
        self._drove_at = -1 << 62
        zones = surroundings.zones
        public = [y for zone in zones if zone.kind == "public" for _, y in zone.points]
        self._public = [zone for zone in zones if zone.kind == "public"]
        self._beyond = min(public, default=-1.0)  # farther away than all public ground nothing is the owner's
        self._doors = [
            (
                min(x for x, _ in z.points),
                min(y for _, y in z.points),
                max(x for x, _ in z.points),
                max(y for _, y in z.points),
            )
            for z in zones
            if z.kind == "own_door"
        ]
        self._others = "private" if public else ""
        self._before = [Before(Sighting(*last), *rest) for last, *rest in json.loads(surroundings.before or "[]")]
        """People of the camera's last event who were not seen again yet."""

    def add(self, at: int, boxes: Sequence[Sighting]) -> int:
        """Take in the next picture; return how many pairs were compared."""
        seconds = min((at - self._at) / 1e6, STEP_SECONDS) if self.pictures else 0.0
        seen, compared = self.tracker.add(at, boxes)
        present = [self._observe(track, seconds) for track in seen]
        people = [a for a in present if a.track.family == "person"]
        self._sum_up()
        things = [
            self.all[t.number]
            for t in self.tracker.live
            if t.family in ("vehicle", "cycle", "bag") and t.number in self.all
        ]
        for thing in things:
            self._relate(thing, people, at, seconds)
        n = sum(a.is_plausible and a.place != "public" and not self.is_at_home(a) for a in people)
        if n > 1:
            self.together[n] += 1
        self.pictures += 1
        self._at = at
        if len(self.all) > ENTITIES_MAX:
            self._forget()
            self._sum_up()
        return compared + len(things) * len(people)

    def _sum_up(self) -> None:
        single = sum(a.track.seen == 1 for a in self.all.values())
        self.is_flicker = single >= FLICKERS and 2 * single > len(self.all)
        self.is_house_out = any(p.is_of_house for p in self.people())

    @property
    def has_public(self) -> bool:
        """Whether public ground is known."""
        return bool(self._public)

    def is_body(self, a: Entity) -> bool:
        """Check whether a person is one, and no spider, rain or shadow."""
        if not a.is_plausible or a.track.surest.confidence >= BODY:
            return a.is_plausible
        height = self.surroundings.height
        return not self.is_flicker and not (height and a.track.sizes[1] >= NEAR_HEIGHT * height)

    def has_bear(self) -> bool:
        """Check whether a bear that was seen is one."""
        seen_as = [a for a in self.all.values() if a.track.kinds["bear"]]
        return not seen_as or any(a.is_bear for a in seen_as)

    def is_at_home(self, a: Entity) -> bool:
        """Check whether a person came from the own door or from near it, or joins such a person."""
        return a.is_of_house or (a.entered == "middle" and self.is_house_out)

    def people(self) -> Iterator[Entity]:
        return (a for a in self.all.values() if a.track.family == "person")

    def at_once(self) -> int:
        """Return how many people were off public ground in each of at least two pictures."""
        total = 0
        for n in sorted(self.together, reverse=True):
            total += self.together[n]
            if total >= 2:
                return n
        return 1

    def place_of(self, s: Sighting) -> str:
        """Return the place where it stands; "": not known."""
        known, zones = self.surroundings, self.surroundings.zones
        if not zones or not known.width:
            return ""
        point = foot_point((s.x, s.y, s.width, s.height), known.width, known.height)
        kinds = {zone.kind for zone in zones if _contains(zone, point)}
        if self._public and not kinds & {"own_door", "window"}:
            x, y, far = *point, EDGE * size(s)
            around = (
                (x, y - far / known.height),
                (x, y + far / known.height),
                (x - far / known.width, y),
                (x + far / known.width, y),
            )
            if any(_contains(zone, p) for zone in self._public for p in around):
                return "public"
        if "public" in kinds and "private" not in kinds:
            return "public"
        for kind in PLACES:
            if kind in kinds:
                return kind
        if point[1] < self._beyond:
            return "public"
        return self._others

    def is_near_door(self, s: Sighting, reach: float) -> bool:
        """Check whether it stands within so many sizes of an own door, in the picture."""
        known = self.surroundings
        if not self._doors or not known.width:
            return False
        x, y = foot_point((s.x, s.y, s.width, s.height), known.width, known.height)
        far = reach * size(s)
        for left, top, right, bottom in self._doors:
            dx = max(left - x, x - right, 0.0) * known.width
            tall = (bottom - top) * known.height
            if tall >= DOOR_HEIGHT * size(s) and tall >= DOOR_WIDTH * (right - left) * known.width:
                top = bottom
            dy = max(top - y, y - bottom, 0.0) * known.height
            if dx * dx + dy * dy <= far * far and self.place_of(s) != "public":
                return True
        return False

    def _trace_back(self, a: Entity) -> None:
        """Note that a person's way leads back to an own door."""
        t, known = a.track, self.surroundings
        if t.family != "person" or t.speed < WALKS or not self._doors:
            return
        (x, y), (vx, vy) = foot(t.first), t.velocity
        for step in (0.5, 1.0):
            seconds = step * min(max(self.tracker.interval, 1.5), 5.0)
            w, h = t.first.width, t.first.height
            back = t.first._replace(x=round(x - vx * seconds - w / 2), y=round(y - vy * seconds - h))
            if known.width and self.is_near_door(back, AT_DOOR):
                a.entered = "own_door"
                a.act("enters", "own_door", t.first)
                return

    def _is_doorward(self, a: Entity) -> bool:
        """Check whether a person who came over public ground goes straight to an own door, is there, or goes away from it."""
        if not self._public or not self._doors:
            return False
        if self.is_near_door(a.track.last, OUT_OF_DOOR):
            return True
        return any(along >= DOORWARD or (a.at_door and along <= -DOORWARD) for along in self._headings(a.track))

    def _headings(self, track: Track) -> Iterator[float]:
        """Yield the cosine of the angle between its way and that to each own door."""
        (x, y), (vx, vy) = foot(track.last), track.velocity
        width, height = self.surroundings.width, self.surroundings.height
        for left, top, right, bottom in self._doors:
            dx = min(max(x, left * width), right * width) - x
            dy = min(max(y, top * height), bottom * height) - y
            yield (vx * dx + vy * dy) / max(1e-6, math.hypot(vx, vy) * math.hypot(dx, dy))

    def border_of(self, s: Sighting) -> str:
        """Return which border of the picture cuts it, or ""."""
        width, height = self.surroundings.width, self.surroundings.height
        if not width or not height:
            return ""
        near = {
            "left": s.x / width,
            "right": 1 - (s.x + s.width) / width,
            "bottom": 1 - (s.y + s.height) / height,
            "top": s.y / height,
        }
        border = min(near, key=near.__getitem__)
        return border if near[border] <= BORDER else ""

    def facts(self) -> tuple[TrackFacts, ...]:
        """Return what is known of each object, those with the most acts first."""
        chosen = sorted(
            self.all.values(),
            key=lambda a: (
                not a.is_plausible, a.track.family != "person", -len(a.acts), -a.track.seen, a.track.number,
            ),
        )[:FACTS_MAX]  # fmt: skip
        return tuple(self._facts(a) for a in chosen)

    def has_left(self, a: Entity) -> bool:
        """Check that it was not seen in the last picture."""
        return a.track.last.at < self._at

    def left(self, a: Entity) -> str:
        """Return the door or border at which it was seen last, if it is not there any more."""
        if not self.has_left(a):
            return ""
        return "own_door" if self.is_near_door(a.track.last, AT_DOOR) else self.border_of(a.track.last)

    def _facts(self, a: Entity) -> TrackFacts:
        t, acts = a.track, a.acts
        if where := self.left(a):
            acts = [*acts, Act(t.last.at, "leaves", where, (t.last.id,))]
        return TrackFacts(
            t.number, t.kind, t.first.at, t.last.at, ids([t.first, t.surest, t.last]),
            tuple(place for place in a.places if place), tuple(acts), a.is_plausible,
        )  # fmt: skip

    # -- one object in one picture

    def _observe(self, track: Track, seconds: float) -> Entity:
        s, a = track.last, self.all.get(track.number)
        if a is None:
            a = self.all[track.number] = self._enter(track)
        a.place = place = self.place_of(s)
        a.places[place] += 1
        if track.seen == 2 and a.entered in ("", "middle"):
            self._trace_back(a)
        if track.family == "person":
            a.at_door = a.at_door or self.is_near_door(s, AT_DOOR)
            if a.near_door and track.seen <= FIRST_PICTURES and track.speed > WALKS:
                a.near_door = max(self._headings(track), default=0.0) < DOORWARD  # else it goes to the door
            a.ways["own_door" if place == "private" and self._is_doorward(a) else place] += 1
        if track.family == "vehicle" and track.speed > DRIVES and place != "public":
            self._drove_at = s.at
        if track.family == "person":
            self._watch(a, s)
            self._clock(a, s, seconds if track.seen > 1 else 0.0)
        return a

    def _clock(self, a: Entity, s: Sighting, seconds: float) -> None:
        """Add up for how long a person was where."""
        a.seconds_at[a.place] += seconds  # type: ignore[assignment]
        if a.at_door and a.place != "public" and not self.is_near_door(s, BEYOND_DOOR):
            a.beyond_door += seconds

    def _enter(self, track: Track) -> Entity:
        s = track.first
        if before := self._was_before(track):
            a = Entity(track, before.entered, before)
            a.is_new = track.family == "vehicle"
            if before.visited and self._is_return(before.last, s, self.border_of(s)):
                a.act("returns", self.border_of(s) or "middle", before.last, s)
            return a
        border = self.border_of(s)
        is_out = self.is_near_door(s, AT_DOOR if border else OUT_OF_DOOR)
        entered = "own_door" if is_out else border or ("middle" if self.pictures else "")
        a = Entity(track, entered)
        a.is_from_start = not self.pictures
        a.is_new = self.pictures >= NEW_PICTURES
        a.near_door = not border and self.is_near_door(s, NEAR_DOOR)
        if entered and track.family in ("person", "vehicle", "cycle"):
            a.act("enters", entered, s)
        if track.family == "person":
            self._recognise_return(a, border)
        return a

    def _was_before(self, track: Track) -> Before | None:
        """Return who of the last event this is: the nearest that may have come here since."""
        s = track.first
        speed = BEFORE_SPEED if track.family == "person" else 0.0
        far = [
            (gap, n)
            for n, b in enumerate(self._before)
            if track.family == FAMILIES.get(b.last.object_type)
            and s.at - b.last.at <= BEFORE_SECONDS * 1e6
            and (gap := distance(b.last, s)) <= min(BEFORE_MAX, BEFORE_NEAR + speed * (s.at - b.last.at) / 1e6)
        ]
        return self._before.pop(min(far)[1]) if far else None

    def handover(self) -> str:
        """Return the people, and the vehicles that arrived, who may be in the camera's next event, too."""
        known = (a for a in self.all.values() if a.is_plausible or a.before)
        there = (a for a in known if a.track.family == "person" or a.has_arrived)
        people = [Before(a.track.last, a.entered, a.is_from_car, a.near_door, self._visited(a)) for a in there]
        people += [b for b in self._before if b.visited and b.last.at >= self._at - RETURN_SECONDS * 1e6]
        return json.dumps(sorted(people, key=lambda b: -b.last.at)[:BEFORE_PEOPLE])

    def _visited(self, a: Entity) -> bool:
        """Check that it is a visitor that came nearer or stopped off public ground, and was last seen away from the door."""
        came = a.did("approaches") or any(place != "public" for place, _ in a.stops)
        return bool(came and not (a.is_of_house or a.is_from_car)) and not self.is_near_door(a.track.last, AT_DOOR)

    def _recognise_return(self, a: Entity, border: str) -> None:
        """Note that a person comes from where one went away before."""
        others = [p for p in self.people() if p.is_plausible]
        went = [p.track.last for p in others if border and self.left(p) == border]
        visited = [p.track.last for p in others if self._visited(p)]
        for last in [*went, *visited, *(b.last for b in self._before if b.visited)]:
            if self._is_return(last, a.track.first, border):
                a.act("returns", border or "middle", last, a.track.first)
                return

    def _is_return(self, last: Sighting, s: Sighting, border: str) -> bool:
        """Check that who is first seen now may be who was last seen there."""
        gone = (s.at - last.at) / 1e6
        if border and self.border_of(last) == border:
            return AWAY_SECONDS <= gone <= RETURN_SECONDS
        return HIDDEN_SECONDS <= gone <= RETURN_SECONDS and distance(last, s) <= RETURN_NEAR

    def _watch(self, a: Entity, s: Sighting) -> None:
        """Note what a person does alone."""
        t = a.track
        if t.speed < RUN or t.seen < 3:
            a.run_since = None
        elif a.run_since is None:
            a.run_since = t.window_start
        if a.run_since and (s.at - a.run_since.at) / 1e6 >= RUN_SECONDS:
            a.ran_off = (
                a.ran_off or a.at_door or any(s >= BESIDE_SECONDS for s in a.beside.values()) or bool(a.did("takes"))
            )
            if a.run_at is None:
                a.act("runs", a.place, a.run_since, s)
            a.run_at = s.at
        if size(s) >= APPROACH * t.sizes[0] and t.upright and foot(s)[1] > foot(t.first)[1] and not a.did("approaches"):
            a.act("approaches", a.place, t.first, s)
        if (
            a.place != "public"
            and not a.followed
            and (s.at - self._drove_at) / 1e6 <= BEHIND_SECONDS
            and t.speed > 0.4
            and t.seen > 1
            and not a.did("gets out of")
        ):
            a.followed = True
            a.act("follows a vehicle", a.place, s)
        if t.stands and all(distance(stop.first, t.stop.first) > OTHER_STOP for _, stop in a.stops):
            a.stops.append((a.place, t.stop))
            a.act("stops", a.place, t.stop.first, s)
        if t.low and t.low.seen >= LOW_PICTURES and t.low.seconds >= LOW_SECONDS and not a.did("crouches"):
            a.act("crouches", a.place, t.low.first, s)
        if t.lying and t.upright and not a.did("lies"):
            enough = t.lying.seen >= LIE_PICTURES and t.lying.seconds >= LIE_SECONDS
            hidden = any(
                v.family == "vehicle" and _covers(s, v.last) for v in self.tracker.live
            )  # a person at work in a car shows only a part
            if enough and t.stands and not hidden and not self.border_of(s):
                a.act("lies", a.place, t.lying.first, s)

    # -- people and things

    def _relate(self, thing: Entity, people: Sequence[Entity], at: int, seconds: float) -> None:
        t = thing.track
        near = [p for p in people if is_beside(p.track.last, t)]
        is_seen = t.last.at == at
        if is_seen:
            thing.open_views.clear()
            if not near and not thing.near and t.family != "vehicle":
                thing.alone += 1
            if t.seen == 1 and near and self.pictures and t.family == "bag":
                thing.brought_by = near[0]
        elif people and not thing.is_gone and not any(_covers(p.track.last, t.last) for p in people):
            thing.open_views.append(at)
        for p in near:
            self._beside(p, thing, seconds)
        if t.family != "vehicle" and not thing.is_gone:
            self._taken(thing, near, at)
        if near:
            thing.near = at, min(near, key=lambda p: (distance(p.track.last, t.last), p.track.number))
        by = thing.brought_by
        if by and t.stands and not near and not by.did("leaves behind"):
            by.act("leaves behind", t.kind, t.first, t.last)

    def _beside(self, p: Entity, thing: Entity, seconds: float) -> None:
        t, person = thing.track, p.track
        key = t.number, t.kind
        if (
            thing.has_arrived
            and p.entered in ("", "middle")
            and not p.did("gets out of")
            and is_beside(person.first, t)
        ):
            p.act("gets out of", t.kind, t.last, person.last)
        if t.family == "cycle" and not t.stops and t.speed > RIDES and min(t.moved, person.moved) > RIDDEN:
            p.cycle = t.kind
        if person.seen > 1 and person.speed < BESIDE_SPEED and t.speed < BESIDE_SPEED:
            before = p.beside[key]
            p.beside[key] += seconds  # type: ignore[assignment]
            if before < BESIDE_SECONDS <= p.beside[key]:
                p.act("stands beside", t.kind, t.last, person.last)

    def _taken(self, thing: Entity, near: Sequence[Entity], at: int) -> None:
        """Note that a thing which was at rest moves away with a person, or is gone after one was beside it."""
        t = thing.track
        if not t.stops or thing.alone < 2 or thing.brought_by:
            return
        rest = t.stops[0]
        by = near[0] if near else thing.near[1] if thing.near and (at - thing.near[0]) / 1e6 <= STEP_SECONDS else None
        if thing.near and not thing.is_from_start and thing.near[1].track.first.at <= t.first.at:
            return  # it came with this person, or was not seen before
        if by and t.last.at == at and distance(rest.first, t.last) > MOVED_AWAY and t.speed > 0.2:
            thing.is_gone = True
            by.act("takes", t.kind, rest.last, by.track.last)
        elif thing.near and len(thing.open_views) >= GONE_PICTURES:
            span = (at - thing.open_views[0]) / 1e6
            chance = 1 - t.seen / max(1, t.seen + self._misses(thing))
            who, when = thing.near[1], thing.near[0]
            is_close = abs(when - t.last.at) / 1e6 <= STEP_SECONDS or when > t.last.at
            if span >= GONE_SECONDS and is_close and chance ** len(thing.open_views) <= GONE_CHANCE:
                thing.is_gone = True
                who.act("takes", t.kind, t.last, who.track.last)

    def _misses(self, thing: Entity) -> int:
        """Return in how many pictures it was missed while it was there, about."""
        span = thing.track.seconds / max(self.tracker.interval, 0.2)
        return max(0, round(span) + 1 - thing.track.seen)

    def _forget(self) -> None:
        """Keep the objects that matter most."""
        live = {t.number for t in self.tracker.live}
        worst = sorted(self.all.values(), key=lambda a: (a.track.number in live, len(a.acts), a.track.seen))
        for a in worst[: len(self.all) - ENTITIES_MAX]:
            del self.all[a.track.number]


def is_beside(person: Sighting, thing: Track) -> bool:
    """Check whether a person is within reach of a thing, and as near to the camera."""
    t, reach = thing.last, BESIDE_REACH * size(person)
    gap = max(person.x - (t.x + t.width), t.x - (person.x + person.width))
    below = person.y + person.height - (t.y + t.height)
    if thing.family == "vehicle":
        return (
            gap <= reach and -0.8 * t.height <= below <= 1.5 * reach and 0.4 <= person.height / max(1, t.height) <= 3.5
        )
    return gap <= reach and abs(below) <= 1.5 * reach


def _covers(person: Sighting, thing: Sighting) -> bool:
    return (
        person.x < thing.x + thing.width
        and thing.x < person.x + person.width
        and person.y < thing.y + thing.height
        and thing.y < person.y + person.height
    )


def _contains(zone: Zone, point: tuple[float, float]) -> bool:
    ys = [y for _, y in zone.points]
    return min(ys) <= point[1] <= max(ys) and zone.contains(point)


__all__ = ["STAND_SECONDS", "Act", "Entities", "Entity", "TrackFacts", "is_beside"]
