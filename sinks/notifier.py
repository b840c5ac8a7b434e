"""What all notifiers have in common: manners. One walk through the garden is one notification, and nights are quiet.

At least once, in order: `notify` that raises is asked again with the same message, and what was told before it is not
told twice. An event is told once, and again only if its level has risen; old news is left alone. After a restart the feed
says what was told before; only the pause of a camera begins anew.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime, time
from typing import Annotated, get_args
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, PrivateAttr

from hearthwatch.schemas import Consumer, Message
from hearthwatch.schemas.items import RiskLevel
from hearthwatch.schemas.settings import from_settings

LEVELS: tuple[RiskLevel, ...] = get_args(RiskLevel)
EVENTS_MAX = 10_000  # remembered, x 100 bytes: days of events, and their late revisions come within minutes


def _hours(text: str | None) -> str | None:
    if text is not None:
        hours(text)
    return text


def hours(text: str) -> tuple[time, time]:
    """`22:00-06:30` -> its two ends. Raises ValueError."""
    try:
        start, end = (time.fromisoformat(part) for part in re.split(r"\s*[-–]\s*", text.strip()))
    except ValueError:
        raise ValueError(f"{text!r} is not a span of hours: write 22:00-06:30") from None
    return start, end


class Notifier(Consumer):
    """A consumer with manners: implement `notify(message)`, which tells one message or raises."""

    quiet_hours: Annotated[str | None, AfterValidator(_hours)] = None
    """Tell nothing between these times of day, such as `22:00-06:30`; unset: there is no night."""
    quiet_below: RiskLevel = "critical"
    """What reaches this level is told in quiet hours, too."""
    pause_seconds: Annotated[float, Field(ge=0)] = 60
    """After a notification, a camera's next ones are left out for so long, unless their level is higher."""
    delay_seconds_max: Annotated[float, Field(gt=0)] = 60
    """Pictures that arrived later than this after they were taken are old news: nothing is told about them."""
    timezone: str | None = from_settings("hearthwatch_timezone")
    """Zone of `quiet_hours`, such as `Europe/Berlin`; unset: the system's."""

    _manners: Manners = PrivateAttr(default_factory=lambda: Manners())

    def notify(self, message: Message) -> None:
        """Tell this one. Raise to be asked again after a while."""
        raise NotImplementedError(f"{type(self).__name__} is a notifier: it needs `notify(message)`")

    def resume(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._manners.recall(message, self)

    def deliver(self, messages: Sequence[Message]) -> None:
        for message in messages:
            now = datetime.now(UTC)
            if self._manners.wants(message, self, now):
                self.notify(message)
                self._manners.told(message, now)


class Manners:
    """What was told, and so what is worth telling. Time comes in from outside."""

    def __init__(self) -> None:
        self._events: OrderedDict[int, int] = OrderedDict()
        """Event id -> the highest level that was told, or left out."""
        self._cameras: dict[str, tuple[datetime, int]] = {}
        """Camera id -> when it was told last, and which level."""

    def wants(self, message: Message, options: Notifier, now: datetime) -> bool:
        """Whether to tell this one."""
        event, level = message.event, _rank(message)
        if message.type == "event.merged":
            self._merge(event.id, event.merged_into)
            return False
        if level <= self._events.get(event.id, -1) or is_old(message, options):
            return False
        night = level < LEVELS.index(options.quiet_below) and is_quiet(options, now)
        if night or self._pauses(event.camera_id, level, options.pause_seconds, now):
            self._remember(event.id, level)  # left out for good, unless its level rises
            return False
        return True

    def told(self, message: Message, now: datetime) -> None:
        """It was told."""
        level = _rank(message)
        self._remember(message.event.id, level)
        self._cameras[message.event.camera_id] = (now, level)

    def recall(self, message: Message, options: Notifier) -> None:
        """It was told, or left out, by an earlier run."""
        event, level = message.event, _rank(message)
        if message.type == "event.merged":
            self._merge(event.id, event.merged_into)
        elif level > self._events.get(event.id, -1) and not is_old(message, options):
            self._remember(event.id, level)

    def _remember(self, event: int, level: int) -> None:
        self._events[event] = level
        if len(self._events) > EVENTS_MAX:
            self._events.popitem(last=False)

    def _pauses(self, camera_id: str, level: int, seconds: float, now: datetime) -> bool:
        last, told = self._cameras.get(camera_id, (now, -1))
        return level <= told and 0 <= (now - last).total_seconds() < seconds

    def _merge(self, event: int, into: int | None) -> None:
        """Two were one: who was told of either was told of both."""
        level = self._events.get(event, -1)
        if into is not None and level > self._events.get(into, -1):
            self._remember(into, level)


def is_old(message: Message, options: Notifier) -> bool:
    """Whether its pictures arrived long after they were taken: a backfill, a camera that was offline."""
    return message.delay_seconds > options.delay_seconds_max


def is_quiet(options: Notifier, now: datetime) -> bool:
    """Whether it is night for this notifier."""
    if options.quiet_hours is None:
        return False
    start, end = hours(options.quiet_hours)
    at = now.astimezone(ZoneInfo(options.timezone) if options.timezone else None).time()
    return start <= at < end if start <= end else at >= start or at < end


def title(message: Message) -> str:
    """`High: person at Front Door`, for who reads nothing else."""
    event = message.event
    seen = ", ".join(f"{count} {label}" if count > 1 else label for label, count in event.objects.items())
    return f"{event.verdict.risk_level.capitalize()}: {seen or 'something'} at {event.camera_name or event.camera_id}"


def _rank(message: Message) -> int:
    return LEVELS.index(message.event.verdict.risk_level)
