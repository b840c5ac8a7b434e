"""Keep what each notifier sent about each incident, and what it holds back for a digest.

A row is written in one transaction with the consumer's cursor, so a kill repeats at most the notification in flight.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, get_args

from hearthwatch.record.feed import Feed, parse_incident
from hearthwatch.schemas.items import RiskLevel, from_microseconds, to_microseconds
from hearthwatch.schemas.messages import IncidentMessage

LEVELS: tuple[RiskLevel, ...] = get_args(RiskLevel)
SENDING = "sending "  # `Sent.held` of what is in flight starts with this, and ends with how it is sent
JUDGE = "judge"  # `Sent.held` of what waits for a verdict of the language model
HELD_MAX = 1000  # in one digest: 2 MB of messages


def rank(level: RiskLevel | None) -> int:
    """Return a level's number, -1 for none."""
    return -1 if level is None else LEVELS.index(level)


@dataclass(frozen=True)
class Sent:
    """What one notifier did about one incident: a row of the table `notifications`, which says what the columns mean."""

    incident_id: int
    revision: int = 0
    rang: RiskLevel | None = None
    events: tuple[int, ...] = ()
    loud_at: datetime | None = None
    news_at: datetime | None = None
    held: str | None = None
    held_at: datetime | None = None
    message: IncidentMessage | None = None

    def cover(self, message: IncidentMessage) -> Sent:
        """Return the row after `message` was sent."""
        return replace(self, events=message.incident.events, held=None, held_at=None, message=None)

    def hold(self, message: IncidentMessage, why: str, now: datetime) -> Sent:
        """Return the row while `message` waits."""
        since = self.held_at if why == self.held == JUDGE else now
        return replace(self, held=why, held_at=since, message=message)

    def waits(self, seconds: float, now: datetime) -> bool:
        """Whether it has not waited for a verdict for so long yet."""
        return self.held != JUDGE or self.held_at is None or abs((now - self.held_at).total_seconds()) < seconds


_COLUMNS = ", ".join(field.name for field in fields(Sent))


class DeliveryHistory:
    """What one consumer sent. One per thread."""

    def __init__(self, feed: Feed, consumer: str) -> None:
        self.feed, self.record, self.consumer = feed, feed.record, consumer
        self.caught_up = -math.inf
        """When everything in the feed was delivered, on the monotonic clock."""

    def get(self, incident: int, /) -> Sent | None:
        """Read what was sent about this incident."""
        return next(iter(self._rows("incident_id = ?", incident)), None)

    def held(self, why: str = "%") -> list[Sent]:
        """Read what waits for a digest, or for this reason."""
        return self._rows(f"held LIKE ? AND held IS NOT NULL ORDER BY incident_id LIMIT {HELD_MAX}", why)

    def camera_levels(self) -> Mapping[str, RiskLevel]:
        """Read the levels of cameras that have their own."""
        cameras = "(SELECT id, notify_level FROM cell_cameras UNION ALL SELECT id, notify_level FROM cameras)"
        return dict(self.record.rows(f"SELECT * FROM {cameras} WHERE notify_level IS NOT NULL"))

    def waited(self, message: IncidentMessage, now: datetime) -> float:
        """Return for how many seconds a message has waited, at most. A step of the wall clock makes nothing old."""
        row = self.record.one("SELECT at FROM feed WHERE seq = ?", message.seq)
        by_clock = (to_microseconds(now) - row[0]) / 1e6 if row else 0.0
        return max(0.0, min(by_clock, time.monotonic() - self.caught_up))

    def save(self, rows: Iterable[Sent], seq: int = 0) -> None:
        """Write rows, and that the consumer has taken all up to `seq`."""
        self.feed.advance(self.consumer, seq, write=lambda: self._write(rows))

    def _write(self, rows: Iterable[Sent]) -> None:
        marks = ",".join("?" * (1 + len(fields(Sent))))
        for row in rows:
            self.record.execute(
                f"INSERT OR REPLACE INTO notifications(consumer, {_COLUMNS}) VALUES ({marks})",
                self.consumer, *map(_encode, vars(row).values()),
            )  # fmt: skip

    def _rows(self, where: str, *args: Any) -> list[Sent]:
        sql = f"SELECT {_COLUMNS} FROM notifications WHERE consumer = ? AND {where}"
        return [_decode(*row) for row in self.record.rows(sql, self.consumer, *args)]


def _decode(
    id: int, revision: int, rang: Any, events: str, loud: Any, news: Any, held: Any, since: Any, waits: Any
) -> Sent:
    loud_at, news_at, held_at = (at and from_microseconds(at) for at in (loud, news, since))
    message = waits and parse_incident(waits)
    return Sent(id, revision, rang, tuple(json.loads(events)), loud_at, news_at, held, held_at, message)


def _encode(value: Any) -> Any:
    if isinstance(value, datetime):
        return to_microseconds(value)
    value = value.as_dict() if isinstance(value, IncidentMessage) else value
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | tuple) else value
