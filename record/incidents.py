"""Group events into incidents: what a person would call one visit.

Which events are one incident is a function of the events in the record (camera, times, `carries`) and of what was deleted,
not of the order in which they came, of how they are read or of restarts. Rows, links, the cursor on the feed and what is
published share a transaction.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

from hearthwatch.record import Record, now
from hearthwatch.record.feed import Feed, append
from hearthwatch.record.units import LEVELS, NEVER, SECOND
from hearthwatch.record.witness import Restored, last_restore
from hearthwatch.schemas.items import INCIDENT_EVENTS_MAX, Incident, IncidentType, from_microseconds, risk_level
from hearthwatch.schemas.messages import IncidentMessage

CURSOR = "incident"
ROWS_AT_ONCE = 100  # messages read, incidents closed or old events linked in one transaction: up to 20 ms
UPDATED_EVERY = 600 * SECOND  # of event time: how often a long incident is published
LONGEST_MIN = 600 * SECOND  # how far back an event is searched that may still last; more if the record has longer ones


# -- the pure part: what an incident is


@dataclass(slots=True)
class Activity:
    """An event as incidents see it; times in microseconds by the server's clock."""

    id: int
    camera: str
    start: int
    end: int
    carries: bool
    """Whether the rules ever put it at medium or above: only such events connect others."""
    kept: int | None = None
    """Its incident, if an event of that was deleted: it is not divided any more."""


A = TypeVar("A", bound=Activity)


class Reach(NamedTuple):
    """How far apart the activity of two events may be, in microseconds."""

    same_camera: int = 180 * SECOND
    other_camera: int = 90 * SECOND
    neighbours: Mapping[str, Collection[str]] = {}
    """Camera → its neighbours; all, if it is not there. One of two cameras naming the other is enough."""

    def between(self, a: str, b: str) -> int:
        """Return the greatest gap between events of these cameras; -1: they have nothing to do with each other."""
        if a == b:
            return self.same_camera
        named = self.neighbours
        near = a not in named or b not in named or b in named[a] or a in named[b]
        return self.other_camera if near else -1


def connect(events: Iterable[A], reach: Reach) -> list[list[A]]:
    """Group events into incidents, by definition.

    Carrying events within reach of each other are one incident. A low event belongs to the nearest carrying one within
    reach, of equals to that whose incident has the smallest carrying id; else it is an incident by itself.
    """
    group = {e.id: [e] for e in events}

    def unite(a: int, b: int) -> None:
        small, large = sorted((group[a], group[b]), key=len)
        if small is not large:
            large += small
            group.update((e.id, large) for e in small)

    every = [e for (e,) in group.values()]
    pairs = list(pairs_within(every, reach))
    kept = {e.kept: e.id for e in every if e.kept is not None}
    for e in every:
        if e.kept is not None:
            unite(kept[e.kept], e.id)
    for _, a, b in pairs:
        if a.carries and b.carries:
            unite(a.id, b.id)
    first = {e.id: min((e.id for e in g if e.carries), default=0) for g in _distinct(group) for e in g}
    nearest: dict[int, tuple[int, int, int]] = {}
    for gap, a, b in pairs:
        low, other = (b, a) if a.carries else (a, b)
        if not low.carries and low.kept is None:
            mine = (gap, first[other.id], other.id)
            nearest[low.id] = min(nearest.get(low.id, mine), mine)
    for id, (_, _, other_id) in nearest.items():
        unite(id, other_id)
    return [sorted(g, key=lambda e: (e.start, e.id)) for g in _distinct(group)]


def pairs_within(events: Iterable[A], reach: Reach) -> Iterator[tuple[int, A, A]]:
    """Yield (gap, earlier, later) of all events within reach of each other of which one carries at least."""
    recent: list[A] = []
    longest = max(reach.same_camera, reach.other_camera)
    for b in sorted(events, key=lambda e: e.start):
        recent = [a for a in recent if b.start - a.end <= longest]
        for a in recent:
            gap = b.start - a.end
            if (a.carries or b.carries) and gap <= reach.between(a.camera, b.camera):
                yield max(0, gap), a, b
        recent.append(b)


def _distinct(group: Mapping[int, list[A]]) -> Collection[list[A]]:
    return {id(g): g for g in group.values()}.values()


# -- the record's part

START = "started_at + coalesce(clock_offset_ms, 0) * 1000"
END = "last_at + coalesce(clock_offset_ms, 0) * 1000"
_IDS = "IN (SELECT value FROM json_each(?))"
_EVENTS = f"""
SELECT id, camera_id, {START}, {END}, carries, (SELECT id FROM incidents WHERE id = incident_id AND kept), status, merged_into,
  incident_id, coalesce(risk_score, 0), summary, objects, frame_count, close_at,
  reviewed
FROM events WHERE revision > 0 AND """


@dataclass(slots=True)
class _Event(Activity):
    """A published event."""

    status: str = ""
    merged_into: int | None = None
    incident_id: int | None = None
    risk_score: int = 0
    summary: str = ""
    objects: str = ""
    frame_count: int = 0
    close_at: int = 0
    reviewed: int = 0


class _Row(NamedTuple):
    """A row of `incidents`."""

    id: int
    status: Any
    revision: int
    started_at: int
    last_at: int
    ended_at: int | None
    merged_into: int | None
    risk_score: int
    risk_level: str
    summary: str
    gravest_event_id: int
    cameras: str
    objects: str
    event_count: int
    frame_count: int
    close_at: int
    reviewed: int = 0
    published_at: int | None = None
    kept: int = 0


class Incidents:
    """Keeps incidents in step with the events of the feed. One per process; several processes take turns."""

    def __init__(self, record: Record, reach: Reach | None = None) -> None:
        self.record, self.reach, self.feed = record, reach or Reach(), Feed(record)
        self.feed.cursor(CURSOR)
        (longest,) = record.one("SELECT coalesce(max(last_at - started_at), 0) FROM events")
        self._longest = max(LONGEST_MIN, longest)

    @cached_property
    def _restored(self) -> Restored:
        return last_restore(self.record)

    def is_behind(self) -> bool:
        """Whether the feed has messages that were not read."""
        return self.feed.cursor(CURSOR) < self.feed.last()

    def update(self, limit: int = ROWS_AT_ONCE) -> list[IncidentMessage]:
        """Take in the next messages of the feed, in one transaction; what was published."""
        return self.record.transact(lambda: self._update(limit)) if self.is_behind() else []

    def close_due(self, clock: int) -> list[IncidentMessage]:
        """Close incidents whose time has come by the arrival clock, `clock`; what was published."""
        sql = "SELECT * FROM incidents WHERE status = 'open' AND close_at <= ? ORDER BY close_at, id LIMIT ?"

        def close() -> list[IncidentMessage]:
            due = [_Row(*row) for row in self.record.rows(sql, clock, ROWS_AT_ONCE)]
            ended = [(row, row._replace(status="closed", ended_at=row.last_at)) for row in due]
            return [self._publish(old, new, "incident.closed") for old, new in ended]

        out: list[IncidentMessage] = []
        while self.record.rows(sql, clock, 1):
            out += self.record.transact(close)
        return out

    def link_waiting(self) -> bool:
        """Link some events that are waiting for it, because they are older than incidents or their camera was merged.

        Returns:
            Whether there may be more.
        """
        sql = "SELECT event_id FROM incident_queue ORDER BY event_id DESC LIMIT ?"

        def link() -> None:
            ids = [i for (i,) in self.record.rows(sql, ROWS_AT_ONCE)]
            self._link(ids, waited=True)
            self.record.execute(f"DELETE FROM incident_queue WHERE event_id {_IDS}", json.dumps(ids))

        if self.record.rows(sql, 1):
            self.record.transact(link)
            return True
        return False

    def read_clock(self) -> int:
        """Read the arrival clock, from the heartbeat of what decides frames; 0: there was none."""
        row = self.record.one("SELECT json_extract(counters, '$.clock') FROM heartbeat WHERE chain = 'see'")
        return int(row[0] or 0) if row else 0

    def _update(self, limit: int) -> list[IncidentMessage]:
        seq = self.feed.cursor(CURSOR)
        rows = self.record.rows("SELECT seq, kind, subject_id FROM feed WHERE seq > ? ORDER BY seq LIMIT ?", seq, limit)
        messages = self._link({id for _, kind, id in rows if kind == "event"})
        end = self.feed.last() if len(rows) < limit else rows[-1][0]  # behind the messages that were just added
        self.record.execute("UPDATE cursors SET seq = max(seq, ?) WHERE name = ?", end, CURSOR)
        return messages

    def _link(self, ids: Collection[int], *, waited: bool = False) -> list[IncidentMessage]:
        """Bring the incidents of these events up to date, and those that they joined, left or divided."""
        named = self.record.rows("SELECT id, neighbours FROM cameras WHERE neighbours IS NOT NULL")
        self.reach = self.reach._replace(neighbours={camera: json.loads(names) for camera, names in named})
        events, groups = self._find_affected(set(ids))
        link, of = dict[int, int](), dict[int, list[_Event]]()
        for group in groups:
            incident = min(min(e.id, e.kept or e.id) for e in group)
            of[incident] = group
            link |= {e.id: incident for e in group}
        for e in events.values():
            into = e
            while into.status == "merged" and into.merged_into in events:
                into = events[into.merged_into]
            if into.id in link:
                link[e.id] = link[into.id]
        moved = [(link[i], i) for i in link if events[i].incident_id != link[i]]
        self.record.many("UPDATE events SET incident_id = ? WHERE id = ?", moved)
        were = {e.incident_id for i in link if (e := events[i]).incident_id is not None}
        rows = self.record.rows(f"SELECT * FROM incidents WHERE id {_IDS}", json.dumps([*(were | of.keys())]))
        old = {row.id: row for row in map(_Row._make, rows)}
        out: list[IncidentMessage] = []
        for id in sorted(old.keys() - of.keys()):
            out += self._merge(old[id], link.get(id) or min(link[i] for i in link if events[i].incident_id == id))
        for id in sorted(of):
            before = [old[i] for i in {e.incident_id for e in of[id]} if i in old]
            new = self._describe(id, of[id], old.get(id), before, waited)
            kind = _news(old.get(id), new)
            if kind:
                out.append(self._publish(old.get(id), new, kind))
            else:
                _store(self.record, old.get(id), new)
        return out

    # -- which events are affected

    def _find_affected(self, core: set[int]) -> tuple[dict[int, _Event], list[list[_Event]]]:
        """Return the incidents that these events belong to now, each as a whole, and the events of those they were in.

        From an event on, whatever is within reach of a carrying one is read, until nothing is left that could connect.
        """
        events: dict[int, _Event] = {}
        wide, todo = set[int](), core
        while True:
            self._read(events, todo)
            wide |= todo
            live = [e for e in events.values() if e.status != "merged"]
            todo = {
                y.id
                for _, a, b in pairs_within(live, self.reach)
                for x, y in ((a, b), (b, a))
                if x.id in wide and y.id not in wide and (y.carries or x.id in core)
            }
            if todo:
                continue
            groups = [g for g in connect(live, self.reach) if not core.isdisjoint(e.id for e in g)]
            inside = core.union(e.id for g in groups for e in g)
            merged = [e for e in events.values() if e.merged_into is not None and {e.id, e.merged_into} & inside]
            inside.update(i for e in merged for i in (e.id, e.merged_into) if i is not None)
            incidents = {e.incident_id for i in inside if (e := events.get(i)) and e.incident_id is not None}
            members = f"SELECT id FROM events WHERE incident_id {_IDS}"
            inside.update(i for (i,) in self.record.rows(members, json.dumps([*incidents])))
            if inside == core:
                return {i: events[i] for i in core if i in events}, groups
            core, todo = inside, inside - wide

    def _read(self, events: dict[int, _Event], ids: set[int]) -> None:
        """Read these events, and all that were active within reach of the time of one of them."""
        self._add(events, f"id {_IDS}", json.dumps([*(ids - events.keys())]))
        far = max(self.reach.same_camera, self.reach.other_camera)
        spans: list[tuple[int, int]] = []
        for start, end in sorted((e.start - far, e.end + far) for i in ids if (e := events.get(i))):
            if spans and start - self._longest <= spans[-1][1]:
                spans[-1] = (spans[-1][0], max(spans[-1][1], end))
            else:
                spans.append((start, end))
        for start, end in spans:
            self._add(events, f"{START} BETWEEN ? AND ? AND {END} >= ?", start - self._longest, end, start)

    def _add(self, events: dict[int, _Event], where: str, *args: Any) -> None:
        found = (_Event(*row) for row in self.record.rows(_EVENTS + where, *args))
        events.update((e.id, e) for e in found)
        self._longest = max(self._longest, *(e.end - e.start for e in events.values()), 0)

    # -- rows and messages

    def _describe(self, id: int, events: list[_Event], old: _Row | None, before: list[_Row], waited: bool) -> _Row:
        """Make the row of an incident of these events, oldest first; `before`: the incidents that they were in."""
        is_open = any(e.status == "open" for e in events)
        close_at = NEVER if is_open else max(map(self._done_at, events)) + self.reach.same_camera
        closed = (
            all(b.status == "closed" for b in before) and close_at <= max(b.close_at for b in before)
            if before
            else waited
        )
        row = _summarize(id, events, old)
        row = row._replace(close_at=close_at, status="closed" if closed and not is_open else "open", merged_into=None)
        return row._replace(ended_at=None if row.status == "open" else row.last_at)

    def _done_at(self, event: _Event) -> int:
        """Return when a closed event was over, on the arrival clock: of a backlog, when its last picture arrived."""
        if event.close_at != NEVER:
            return event.close_at
        (arrived,) = self.record.one("SELECT max(arrived_at) FROM frames WHERE event_id = ?", event.id)
        return int(arrived or 0)

    def _merge(self, old: _Row, into: int) -> list[IncidentMessage]:
        """Make an incident part of another one."""
        if old.status == "merged":
            return []
        self.record.execute("UPDATE incidents SET merged_into = ? WHERE merged_into = ?", into, old.id)
        new = old._replace(status="merged", merged_into=into, ended_at=old.last_at)
        if old.revision:
            return [self._publish(old, new, "incident.merged")]
        _store(self.record, old, new)
        return []

    def _publish(self, old: _Row | None, row: _Row, type: IncidentType) -> IncidentMessage:
        """Store the next revision of an incident, and append its message to the feed."""
        restored = self._restored.revision if row.id <= self._restored.frame else 0
        row = row._replace(revision=max(row.revision, restored) + 1, published_at=row.last_at)
        _store(self.record, old, row)
        incident = self._incident(row, type)
        return append(
            self.record, "incident", row.id, row.revision, now(), lambda seq: IncidentMessage(seq, type, incident)
        )

    def _incident(self, row: _Row, type: IncidentType) -> Incident:
        cameras = json.loads(row.cameras)
        names = dict(self.record.rows(f"SELECT id, name FROM cameras WHERE id {_IDS}", row.cameras))
        events = self.record.rows(
            f"SELECT id, delay FROM events WHERE incident_id = ? AND status <> 'merged' ORDER BY {START}, id", row.id
        )
        thumbnail = self.record.one(
            "SELECT json_extract(payload, '$.thumbnail') FROM feed WHERE kind = 'event' AND subject_id = ? "
            "ORDER BY revision DESC LIMIT 1", row.gravest_event_id,
        )  # fmt: skip
        ended = None if row.ended_at is None else from_microseconds(row.ended_at)
        return Incident(
            row.id, type, row.revision, row.status, from_microseconds(row.started_at), from_microseconds(row.last_at), ended,
            row.risk_score, row.summary, tuple(cameras), tuple(names.get(c, c) for c in cameras),
            tuple(i for i, _ in events[-INCIDENT_EVENTS_MAX:]), row.event_count, row.frame_count, json.loads(row.objects),
            row.gravest_event_id, thumbnail and thumbnail[0], events[-1][1] / 1e6 if events else 0.0, row.merged_into,
        )  # fmt: skip


def _summarize(id: int, events: list[_Event], old: _Row | None) -> _Row:
    """Make a row of its events, oldest first; what they do not say is that of the `old` one."""
    gravest = max(events, key=lambda e: (e.risk_score, -e.id))
    objects: dict[str, int] = {}
    for e in events:
        for kind, n in json.loads(e.objects or "{}").items():
            objects[kind] = max(n, objects.get(kind, 0))
    score, level = gravest.risk_score, risk_level(gravest.risk_score)
    return _Row(
        id, old.status if old else "open", old.revision if old else 0, events[0].start, max(e.end for e in events),
        old and old.ended_at, old and old.merged_into, score, level, gravest.summary or "", gravest.id,
        json.dumps(list(dict.fromkeys(e.camera for e in events))), json.dumps(dict(sorted(objects.items()))), len(events),
        sum(e.frame_count for e in events), old.close_at if old else NEVER, int(all(e.reviewed for e in events)),
        old and old.published_at, int((old is not None and old.kept) or any(e.kept is not None for e in events)),
    )  # fmt: skip


def _news(old: _Row | None, new: _Row) -> IncidentType | None:
    """Say as what the new state of an incident is published; None: it is not worth a message."""
    if old is None or not old.revision:
        return "incident.opened" if new.status == "open" else None
    was, level = LEVELS.index(old.risk_level), LEVELS.index(new.risk_level)
    if level > was:
        return "incident.raised"
    is_news = (
        level < was
        or (new.status == "open" and old.status != "open")
        or not set(json.loads(new.cameras)) <= set(json.loads(old.cameras))
        or not json.loads(new.objects).keys() <= json.loads(old.objects).keys()
        or new.last_at >= (old.published_at or 0) + UPDATED_EVERY
    )
    return "incident.updated" if is_news else None


def _store(record: Record, old: _Row | None, new: _Row) -> None:
    if old is None:
        record.execute(f"INSERT INTO incidents VALUES ({','.join('?' * len(new))})", *new)
    elif new != old:
        record.execute(
            f"UPDATE incidents SET ({','.join(new._fields)}) = ({','.join('?' * len(new))}) WHERE id = ?", *new, new.id
        )


def release_events(record: Record, incidents: Iterable[int]) -> None:
    """Bring incidents up to date of which events were deleted, inside that transaction: they are never divided again.

    One that has no events left is deleted with its messages, and so are those that were merged into it.
    """
    for id in incidents:
        row = record.one("SELECT * FROM incidents WHERE id = ?", id)
        left = record.rows(f"{_EVENTS}incident_id = ? AND status <> 'merged' ORDER BY {START}, id", id)
        if row is None:
            continue
        if left:
            _store(record, _Row(*row), _summarize(id, [_Event(*e) for e in left], _Row(*row))._replace(kept=1))
            continue
        gone = [(id,), *record.rows("SELECT id FROM incidents WHERE merged_into = ?", id)]
        record.many("DELETE FROM feed WHERE kind = 'incident' AND subject_id = ?", gone)
        record.many("DELETE FROM notifications WHERE incident_id = ?", gone)
        record.many("DELETE FROM incidents WHERE id = ?", gone)
        record.execute("UPDATE events SET incident_id = NULL WHERE incident_id = ?", id)
