"""Decide what a notifier sends about incidents, and when. Pure: messages, what was sent before, rules and time go in.

One notification for each incident: aloud when it reaches the level, then updated silently under the same tag; aloud again only
if the level rises, a new person appears at high, a graver place is reached, or nothing happened at the level for 30 minutes.
Old news, and what quiet hours or an outage of the receiver held back, is one silent digest when that is over. So every event
at the level is in a notification or in the next digest. Pauses are counted in the time of the events; quiet hours are those
of the delivery, since they are people's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from typing import Literal, NamedTuple, Protocol

from hearthwatch.record.notifications import JUDGE, SENDING, Sent, rank
from hearthwatch.schemas.items import RiskLevel
from hearthwatch.schemas.messages import IncidentMessage, Notification
from hearthwatch.schemas.settings import parse_hours

AGAIN = timedelta(minutes=30)  # without anything at the level: what comes then is news
DIGEST_WAIT = timedelta(seconds=60)  # without more old news: the backlog has ended, and is one digest
DIGEST = "digest-"  # `Sent.held` starts with this while the digest is being sent

Action = Literal["loud", "update", "hold", "nothing"]


@dataclass(frozen=True)
class Rules:
    """The settings of one notifier."""

    level: RiskLevel = "medium"
    camera_levels: Mapping[str, RiskLevel] = field(default_factory=dict)
    """Camera id → its own level."""
    pause_seconds: float = 300
    quiet_hours: str | None = None
    quiet_below: RiskLevel = "high"
    delay_seconds_max: float = 60
    zone: tzinfo | None = None
    hold_seconds: float = 0.0
    """How long what is below critical waits for a verdict of the language model."""

    def is_reached(self, message: IncidentMessage) -> bool:
        """Whether the incident is at the level of one of its cameras."""
        levels = [rank(self.camera_levels.get(camera, self.level)) for camera in message.incident.cameras]
        return risk(message) >= min(levels, default=rank(self.level))

    def is_fresh(self, message: IncidentMessage, waited: float) -> bool:
        """Whether it may ring after it has waited so many seconds."""
        return message.incident.delay_seconds + waited <= self.delay_seconds_max

    def is_quiet(self, risk: int, now: datetime) -> bool:
        """Whether nothing of this rank is sent now."""
        if self.quiet_hours is None or risk >= rank(self.quiet_below):
            return False
        (start, end), at = parse_hours(self.quiet_hours), now.astimezone(self.zone).time()
        return start <= at < end if start <= end else at >= start or at < end


class History(Protocol):
    """Incident id → what was sent about it."""

    def get(self, incident: int, /) -> Sent | None: ...


class Decision(NamedTuple):
    """What to do about a message, and the rows of the history after that."""

    action: Action
    rows: tuple[Sent, ...] = ()


def decide(
    message: IncidentMessage,
    history: History,
    rules: Rules,
    now: datetime,
    waited: float = 0.0,
    *,
    rung: int | None = None,
    newcomer: bool = False,
    graver_place: bool = False,
    waits: bool = False,
) -> Decision:
    """Decide about one message, which has waited so many seconds for its delivery.

    `rung`: the highest rank that rang already of all that waited for the end of an outage; only what is graver rings, too.
    `newcomer`, `graver_place`: a new person appeared; a place of more weight was reached. `waits`: its event is being judged.
    """
    incident, before = message.incident, history.get(message.incident.id) or Sent(message.incident.id)
    is_reached, at, after = rules.is_reached(message), incident.last_at, replace(before, revision=incident.revision)
    if incident.revision <= before.revision or not (is_reached or before.news_at):
        return Decision("nothing")
    if incident.merged_into is not None:
        return _merge(before, after, history.get(incident.merged_into) or Sent(incident.merged_into))
    if is_reached:
        after = replace(after, news_at=max(at, before.news_at or at))
    elif before.held == JUDGE:  # the verdict lowered it before it rang
        return Decision(
            "nothing", (replace(after, news_at=before.rang and before.news_at, held=None, held_at=None, message=None),)
        )
    is_gap = before.news_at is not None and at - before.news_at >= AGAIN
    is_paused = before.loud_at is not None and at - before.loud_at < timedelta(seconds=rules.pause_seconds)
    again = not is_paused and (is_gap or graver_place or (newcomer and risk(message) >= rank("high")))
    rises = risk(message) > rank(before.rang)
    rings = is_reached and (message.type != "incident.closed" or before.held == JUDGE) and (rises or again)
    is_fresh, highest = rules.is_fresh(message, waited), max(before.rang, incident.risk_level, key=rank)
    is_quiet = rules.is_quiet(rank(highest), now)
    if rings and is_fresh and not is_quiet:
        if rung is not None and risk(message) <= rung:
            return Decision("hold", (after.hold(message, "outage", now),))
        if waits and rises and risk(message) < rank("critical") and before.waits(rules.hold_seconds, now):
            return Decision("hold", (after.hold(message, JUDGE, now),))
        return Decision("loud", (replace(after.cover(message), rang=highest, loud_at=at),))
    is_news = before.held or message.type == "incident.raised" or not {*incident.events} <= {*before.events}
    if not is_news and (is_quiet or before.loud_at is None):
        return Decision("nothing", (after,))
    if not is_quiet and (before.loud_at or (is_fresh and not before.held)):
        return Decision("update", (after.cover(message),))
    waiting = None if before.held == JUDGE else before.held
    old = "old" if incident.delay_seconds > rules.delay_seconds_max else "outage"
    return Decision("hold", (after.hold(message, "quiet" if is_quiet else waiting or old, now),))


def _merge(before: Sent, after: Sent, into: Sent) -> Decision:
    """One incident became part of another: what was sent about either was about both."""
    both = replace(
        into,
        rang=max(before.rang, into.rang, key=rank),
        events=(*into.events, *before.events),
        loud_at=into.loud_at or before.loud_at,
        news_at=into.news_at or before.news_at,
    )
    gone = replace(after, held=None, held_at=None, message=None)
    return Decision("update" if before.loud_at else "nothing", (gone, both))


def due(held: Iterable[Sent], rules: Rules, now: datetime) -> list[Sent]:
    """Return what makes a digest now, the gravest first: `held` is its id. One whose sending began is sent again as it was."""
    rows = sorted((row for row in held if row.held), key=lambda row: (-risk(row.message), row.incident_id))
    if begun := sorted(str(row.held) for row in rows if str(row.held).startswith(DIGEST)):
        return [row for row in rows if row.held == begun[0]]
    rows = [
        row
        for row in rows
        if row.held != JUDGE and not (str(row.held).startswith(SENDING) or rules.is_quiet(risk(row.message), now))
    ]
    is_over = [row.held != "old" or row.held_at is None or abs(now - row.held_at) >= DIGEST_WAIT for row in rows]
    if all(row.held == "old" for row in rows) and not all(is_over):
        return []
    return [replace(row, held=f"{DIGEST}{rows[0].incident_id}-{rows[0].revision}") for row in rows]


def digest(rows: Sequence[Sent]) -> IncidentMessage:
    """Return the digest of these rows: the gravest incident's message, with counts of all of them."""
    return _announce(
        [row.message for row in rows if row.message], str(rows[0].held), str(rows[0].held), False, "digest"
    )


def announce(message: IncidentMessage, before: Sent | None, *, loud: bool) -> IncidentMessage:
    """Return the message with what its receiver needs to ring, and to replace what it got before."""
    tag, kind = f"incident-{message.incident.id}", "update" if before and before.loud_at else "new"
    return _announce([message], f"{tag}-{message.incident.revision}", tag, loud, kind)


def _announce(messages: Sequence[IncidentMessage], id: str, tag: str, loud: bool, kind: str) -> IncidentMessage:
    levels: Counter[str] = Counter(message.incident.risk_level for message in messages)
    counts = {"incidents": len(messages), "events": sum(message.incident.event_count for message in messages)} | levels
    ids = tuple(message.incident.id for message in messages)
    return replace(messages[0], notification=Notification(id, tag, loud, kind, counts, ids))


def risk(message: IncidentMessage | None) -> int:
    """Return the number of the level of an incident."""
    return rank(message.incident.risk_level) if message else -1
