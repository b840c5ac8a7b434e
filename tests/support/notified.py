"""A house whose incidents are written to a real feed, a receiver that may be down, and a notifier that may be killed at any
commit. Time is simulated. `check` says what a notifier promises: nothing lost, nothing doubled, no ring for old news."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hearthwatch.record.feed import Feed, append
from hearthwatch.record.notifications import DeliveryHistory, Sent, rank
from hearthwatch.schemas import Incident, IncidentMessage
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.items import to_microseconds
from hearthwatch.sinks.notifier import DeliveryError, Notifier, NotifierWorker
from tests.support.memory_record import MemoryRecord

EVENING = datetime(2026, 11, 22, 20, tzinfo=UTC)
SCORES = {"low": 10, "medium": 40, "high": 70, "critical": 90}
LEVELS = list(SCORES)


class Killed(BaseException):
    """The process is killed."""


class Phone(Notifier):
    """What the worker is built of."""

    accepts = IncidentMessage


@dataclass
class Delivered:
    at: datetime
    message: IncidentMessage
    events: frozenset[int]
    waited: float

    @property
    def id(self) -> str:
        assert self.message.notification
        return self.message.notification.id


class HouseWorker(NotifierWorker):
    """Hands what it sends to the house."""

    house: House

    def notify(self, message: Any) -> bool:
        self.house.hear(message)
        return True


class MortalHistory(DeliveryHistory):
    """Dies at a commit, before or after it: what was sent before is sent, what was not written is not."""

    house: House

    def save(self, rows: Iterable[Sent], seq: int = 0) -> None:
        self.house.commits += 1
        dies = self.house.commits == self.house.dies_at
        if dies and not self.house.after:
            raise Killed
        super().save(rows, seq)
        if dies:
            raise Killed

    def waited(self, message: IncidentMessage, now: datetime) -> float:
        self.caught_up = -1e18  # the time is simulated, so is how long messages wait
        return super().waited(message, now)


@dataclass
class House:
    """The feed, the receiver and the notifier."""

    options: dict[str, Any] = field(default_factory=dict)
    notifier: Notifier | None = None
    """A real one, whose receiver is elsewhere."""
    now: datetime = EVENING
    is_up: bool = True
    commits: int = 0
    dies_at: int = 0
    after: bool = False
    kills: int = 0

    def __post_init__(self) -> None:
        self.record = MemoryRecord()
        self.phone: list[Delivered] = []
        self.incidents: dict[int, Incident] = {}
        self.merged: set[int] = set()
        self.last_event = 0
        self.cursor = 0
        self.start()

    def start(self) -> None:
        """Start the notifier, as after a kill."""
        here = Context(Path(":memory:"), Path("nowhere"), Path("nowhere"), UTC, analysis=True)
        self.worker: Any = self.notifier.build(here) if self.notifier else HouseWorker(Phone(**self.options), here)
        self.worker.house, self.worker.clock = self, lambda: self.now
        self.worker.open()
        history = MortalHistory(Feed(self.record), "phone")
        history.house = self
        self.worker.history = history
        self.cursor = Feed(self.record).cursor("phone")

    # -- what happens

    def see(self, level: str, incident: int = 0, delay: float = 0.4, new: bool = True) -> int:
        """An event at this level, in a new incident or in one that is open; or, if not `new`, only its level rises."""
        self.last_event += new
        before = self.incidents.get(incident)
        events = (*(before.events if before else ()), *([self.last_event] if new else []))
        score = max(SCORES[level], before.risk_score if before else 0)
        type = "updated" if before and score == before.risk_score else "raised" if before else "opened"
        self._publish(incident or self.last_event, type, events, score, delay)
        return incident or self.last_event

    def end(self, incident: int) -> None:
        """Nothing happens there any more."""
        before = self.incidents[incident]
        self._publish(incident, "closed", before.events, before.risk_score, before.delay_seconds, at=before.last_at)

    def merge(self, gone: int, into: int) -> None:
        """Two incidents turn out to be one; which message comes first depends on the case."""
        a, b = self.incidents[gone], self.incidents[into]
        both = tuple(sorted({*a.events, *b.events}))
        self._publish(gone, "merged", a.events, a.risk_score, a.delay_seconds, into, at=a.last_at)
        self._publish(
            into, "updated", both, max(a.risk_score, b.risk_score), a.delay_seconds, at=max(a.last_at, b.last_at)
        )
        self.merged.add(gone)

    def _publish(
        self, id: int, type: str, events: tuple[int, ...], score: int, delay: float, into: int | None = None,
        at: datetime | None = None,
    ) -> None:  # fmt: skip
        before = self.incidents.get(id)
        when = at or self.now - timedelta(seconds=delay)
        made = Incident(
            id, f"incident.{type}", before.revision + 1 if before else 1,  # type: ignore[arg-type]
            type if type in ("closed", "merged") else "open", before.started_at if before else when,  # type: ignore[arg-type]
            max(when, before.last_at) if before else when, None, score, "words", ("porch",), ("Porch",), events, len(events), 3,
            {"person": 1}, events[-1], None, delay, into,
        )  # fmt: skip
        self.incidents[id] = made
        message = partial_message(made)
        self.record.transact(
            lambda: append(self.record, "incident", id, made.revision, to_microseconds(self.now), message)
        )

    # -- what the notifier does

    def hear(self, message: IncidentMessage) -> None:
        """The receiver gets a notification, unless it is down."""
        if not self.is_up:
            raise DeliveryError("down")
        assert message.notification
        events = set(message.incident.events)
        if message.notification.kind == "digest":
            for id in message.notification.incidents:
                row = self.worker.history.get(id)
                assert row and row.message, "a digest is about what is held"
                events |= {*row.message.incident.events}
        waited = self.worker.history.waited(message, self.now)
        self.phone.append(Delivered(self.now, message, frozenset(events), waited))

    def run(self, dies_in: int = 0, after: bool = False) -> None:
        """Let the notifier deliver what there is, as its thread does; it is killed at the commit after so many."""
        self.dies_at, self.after = (self.commits + dies_in if dies_in else 0), after
        feed = Feed(self.record)
        try:
            with suppress(DeliveryError):
                while messages := feed.after(self.cursor, 100):
                    self.worker.deliver(messages)
                    feed.advance("phone", messages[-1].seq)
                    self.cursor = messages[-1].seq
                self.worker.send_digest()
        except Killed:
            self.kills += 1
            self.dies_at = 0
            self.start()

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def rest(self) -> None:
        """Everything gets time to come to its end."""
        self.is_up, self.dies_at = True, 0
        for _ in range(30):
            self.run()
            self.wait(3600)

    # -- what it promises

    def check(self) -> None:
        """Nothing lost, nothing doubled, no ring for old news, quiet in quiet hours, one ring in a pause."""
        rules = self.worker.rules
        told = frozenset[int]().union(*(d.events for d in self.phone))
        lost = {e for i in self.incidents.values() if rank(i.risk_level) >= rank(rules.level) for e in i.events} - told
        assert not lost, f"events {lost} are in no notification"
        assert not self.worker.history.held(), "nothing waits for ever"
        twice = Counter(d.id for d in self.phone)
        assert sum(twice.values()) - len(twice) <= self.kills, f"doubled: {twice.most_common(3)}"
        rang: dict[int, list[Delivered]] = {}
        once: dict[str, Delivered] = {}
        for d in self.phone:
            once.setdefault(d.id, d)
        for d in once.values():
            incident, sent = d.message.incident, d.message.notification
            assert sent
            if not sent.loud:
                continue
            assert incident.delay_seconds + d.waited <= rules.delay_seconds_max, f"{d} is old"
            assert not rules.is_quiet(rank(incident.risk_level), d.at), f"{d} rings in quiet hours"
            for other in rang.get(incident.id, ()):
                apart = abs((incident.last_at - other.message.incident.last_at).total_seconds())
                risen = rank(incident.risk_level) > rank(other.message.incident.risk_level)
                assert risen or apart >= rules.pause_seconds, f"{d} rings again after {apart} s"
            rang.setdefault(incident.id, []).append(d)


def partial_message(incident: Incident) -> Any:
    return lambda seq: IncidentMessage(seq, incident.type, incident)


def torture(seed: int, steps: int = 60) -> House:
    """A random schedule of events, raises, merges, outages, quiet hours, downtime and kills."""
    chance = random.Random(seed)
    quiet = chance.choice([None, "22:00-06:30", "20:10-20:40"])
    house = House({"quiet_hours": quiet, "level": chance.choice(["low", "medium", "high"])})
    for _ in range(steps):
        living = [i.id for i in house.incidents.values() if i.status == "open"]
        some = chance.choice(living) if living else 0
        match chance.randrange(12):
            case 0 | 1 | 2:
                house.see(chance.choice(LEVELS), delay=chance.choice([0.4, 0.4, 5, 9000]))
            case 3 | 4 | 5:
                house.see(chance.choice(LEVELS), some, new=chance.random() < 0.6 or not some)
            case 6 if some:
                house.end(some)
            case 7 if len(living) > 1:
                into, gone = sorted(chance.sample(living, 2))
                house.merge(gone, into)
            case 8:
                house.is_up = not house.is_up
            case 9:
                house.wait(chance.choice([60, 600, 3600, 30_000]))
            case 10:
                house.start()
        house.wait(chance.choice([0, 0.1, 1, 5, 30]))
        if chance.random() < 0.8:
            house.run(dies_in=chance.choice([0, 0, 0, 1, 2]), after=chance.random() < 0.5)
    house.rest()
    return house
