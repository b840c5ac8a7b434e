"""Group events, and alerts of stages, into incidents: what a person would call one visit.

An alert counts like an event of one moment. Which events are one incident is a function of the events in the record (camera, times, `carries`) and of what was deleted,
not of the order in which they came, of how they are read or of restarts. Links, rows, the cursor on the feed and the messages
share a transaction. Events of other cells are members like its own, by a copy of their rows (`cell_members`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from hearthwatch.record import Record, now
from hearthwatch.record.feed import Feed, append
from hearthwatch.record.surroundings import neighbours_of
from hearthwatch.record.units import ALERT_IDS, CELL_BITS, LEVEL_OF_SCORE, LEVELS, NEVER, SECOND
from hearthwatch.record.witness import last_restore
from hearthwatch.schemas.items import INCIDENT_EVENTS_MAX, Incident, IncidentType, from_microseconds
from hearthwatch.schemas.messages import IncidentMessage

T = TypeVar("T")

CURSOR = "incident"
ROWS_AT_ONCE = 100  # messages read, incidents closed or old events linked in one transaction: up to 20 ms
UPDATED_EVERY = 600 * SECOND  # of event time: how often a long incident is published
LINKED_MAX = 10_000  # events whose last state is remembered: some MB
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
    """Its incident, if another event of that was deleted: it is not divided any more."""
    merged_into: int | None = None
    incident_id: int | None = None


class Reach(NamedTuple):
    """How far apart the activity of two events may be, in microseconds."""

    same_camera: int = 180 * SECOND
    other_camera: int = 90 * SECOND
    neighbours: Mapping[str, Collection[str]] = {}
    """Camera → its neighbours; all, if it is not there. One of two cameras naming the other is enough."""

    def between(self, a: str, b: str) -> int:
        """Return the greatest gap between events of these cameras; -1: they are never one incident because of each other."""
        named = self.neighbours
        near = a not in named or b not in named or b in named[a] or a in named[b]
        return self.same_camera if a == b else self.other_camera if near else -1


def connect(events: Iterable[Activity], reach: Reach) -> list[list[Activity]]:
    """Group events into incidents, by definition.

    Carrying events within reach of each other are one incident. A low event belongs to the nearest carrying one within
    reach, of equals to that whose incident has the smallest carrying id; else it is an incident by itself.
    """
    every = list(events)
    group = {e.id: [e] for e in every}

    def unite(a: int, b: int) -> None:
        small, large = sorted((group[a], group[b]), key=len)
        if small is not large:
            large += small
            group.update((e.id, large) for e in small)

    pairs = list(pairs_within(every, reach))
    kept = {e.kept: e.id for e in every if e.kept is not None}
    for e in every:
        if e.kept is not None:
            unite(kept[e.kept], e.id)
    for _, a, b in pairs:
        if a.carries and b.carries:
            unite(a.id, b.id)
    lead = {id(g): min((e.id for e in g if e.carries), default=0) for g in _distinct(group)}
    nearest: dict[int, tuple[int, int, int]] = {}
    for gap, a, b in pairs:
        low, other = (b, a) if a.carries else (a, b)
        if not low.carries and low.kept is None:
            mine = (gap, lead[id(group[other.id])], other.id)
            nearest[low.id] = min(nearest.get(low.id, mine), mine)
    for low_id, (_, _, carrying) in nearest.items():
        unite(low_id, carrying)
    return list(_distinct(group))


def number_of(group: Iterable[Activity]) -> int:
    """Return the smallest id that events of an incident ever had; of several cells' the one that started first."""
    firsts: dict[int, tuple[int, int]] = {}
    for e in group:
        for id, start in ((e.id, e.start), *([(e.kept, 0)] if e.kept else [])):  # whose first event is gone
            firsts[id >> CELL_BITS] = min(firsts.get(id >> CELL_BITS, (id, start)), (id, start))
    return min(firsts.values(), key=lambda first: (first[1], first[0]))[0]


def pairs_within(events: Iterable[Activity], reach: Reach) -> Iterator[tuple[int, Activity, Activity]]:
    """Yield (gap, earlier, later) of all events within reach of each other of which one carries at least."""
    recent: list[Activity] = []
    far = max(reach.same_camera, reach.other_camera)
    for b in sorted(events, key=lambda e: e.start):
        recent = [a for a in recent if b.start - a.end <= far]
        for a in recent:
            gap = max(0, b.start - a.end)  # of events at the same time, too, it is not below that of strangers
            if (a.carries or b.carries) and gap <= reach.between(a.camera, b.camera):
                yield gap, a, b
        recent.append(b)


def _distinct(group: Mapping[int, list[Activity]]) -> Collection[list[Activity]]:
    return {id(g): g for g in group.values()}.values()


def _grew(was: Activity, e: Activity) -> bool:
    """Whether an event can only have gained connections since."""
    return (was.camera, was.incident_id) == (e.camera, e.incident_id) and (
        e.start <= was.start and e.end >= was.end and e.carries >= was.carries
    )


# -- the record's part

_START, _END = (f"{column} + coalesce(clock_offset_ms, 0) * 1000" for column in ("started_at", "last_at"))
_IDS = "IN (SELECT value FROM json_each(?))"
_EVENTS = f"""
SELECT id, camera_id, {_START}, {_END}, carries, (SELECT id FROM incidents WHERE id = incident_id AND kept), merged_into, incident_id
FROM {{}} WHERE revision > 0 AND {{}}"""
_OF_INCIDENT = "e WHERE incident_id = ?1 AND status <> 'merged'"
_MEMBERS = f"FROM incident_members {_OF_INCIDENT}"
_CAMERAS = "(SELECT id, name, neighbours FROM cameras UNION ALL SELECT id, name, neighbours FROM cell_cameras)"
_WAITING = f"SELECT {ALERT_IDS} + id FROM alerts WHERE incident_id IS NULL LIMIT ?"
# of a backlog's event, whose `close_at` is no time, when its last picture arrived
_DESCRIBE = f"""
UPDATE incidents SET
  (started_at, last_at, event_count, frame_count, reviewed, close_at) = (
    SELECT min({_START}), max({_END}), count(frame_count), total(frame_count), min(reviewed), CASE WHEN max(status = 'open') THEN {NEVER}
      ELSE max(CASE close_at WHEN {NEVER} THEN (SELECT max(arrived_at) FROM frames WHERE event_id = e.id) ELSE close_at END) END
    {_MEMBERS}),
  (risk_score, risk_level, summary) = (
    SELECT risk_score, {LEVEL_OF_SCORE}, summary {_MEMBERS} ORDER BY risk_score DESC, {_START}, camera_id, id LIMIT 1),
  gravest_event_id = (SELECT id {_MEMBERS} AND kind IS NULL ORDER BY risk_score DESC, {_START}, camera_id, id LIMIT 1),
  cameras = (SELECT json_group_array(camera_id) FROM (
    SELECT camera_id {_MEMBERS} GROUP BY 1 ORDER BY min({_START}), camera_id)),
  objects = (SELECT json_group_object(key, n) FROM (
    SELECT key, max(value) AS n FROM (SELECT objects {_MEMBERS}), json_each(coalesce(objects, '{{}}')) GROUP BY 1 ORDER BY 1)),
  alert_counts = (SELECT json_group_object(kind, n) FROM (
    SELECT kind, count(*) AS n {_MEMBERS} AND kind IS NOT NULL GROUP BY 1 ORDER BY 1)),
  kept = max(kept, ?2)
WHERE id = ?1"""

_TABLES = "events", "alert_members", "cell_members"
_LINK = 7  # the column `incident_id` of `cell_members`

Row = dict[str, Any]


class Incidents:
    """Keeps incidents in step with the events of the feed. Its cursor is in the record: processes may take turns."""

    def __init__(self, record: Record, reach: Reach | None = None) -> None:
        self.record, self.reach, self.feed = record, reach or Reach(), Feed(record)
        self.feed.cursor(CURSOR)
        (longest,) = record.one("SELECT coalesce(max(last_at - started_at), 0) FROM incident_members")
        self._longest, self._restored = max(LONGEST_MIN, longest), last_restore(record)
        self._linked: dict[int, Activity] = {}
        """Events as they were when they were linked: a cache, for `_find_incident`."""

    def is_behind(self) -> bool:
        """Whether the feed has messages that were not read, or an alert waits."""
        return self.feed.cursor(CURSOR) < self.feed.last() or self.record.one(_WAITING, 1) is not None

    def update(self, limit: int = ROWS_AT_ONCE) -> list[IncidentMessage]:
        """Take in the next messages of the feed, in one transaction; return what was published."""

        def take() -> list[IncidentMessage]:
            sql = "SELECT seq, kind, subject_id FROM feed WHERE seq > ? ORDER BY seq LIMIT ?"
            rows = self.record.rows(sql, self.feed.cursor(CURSOR), limit)
            alerts = {id for (id,) in self.record.rows(_WAITING, limit)}
            messages = self._link({id for _, kind, id in rows if kind == "event"} | alerts)
            end = self.feed.last() if len(rows) < limit else rows[-1][0]  # behind the messages that were just added
            self.record.execute("UPDATE cursors SET seq = max(seq, ?) WHERE name = ?", end, CURSOR)
            return messages

        return self._transact(take) if self.is_behind() else []

    def take_in(
        self, ids: Collection[int], members: Sequence[tuple[Any, ...]], *, old_news: bool = False
    ) -> list[IncidentMessage]:
        """Write events and alerts of another cell as they are now, in one transaction; return what was published.

        `members`: the rows of its `own_members` that have these ids. Those without one were deleted.
        """

        def take() -> list[IncidentMessage]:
            gone = json.dumps([*({*ids} - {id for id, *_ in members})])
            of = self.record.rows(
                f"SELECT DISTINCT incident_id FROM cell_members WHERE id {_IDS} AND status <> 'merged'", gone
            )
            self.record.execute(f"DELETE FROM cell_members WHERE id {_IDS}", gone)
            release_events(self.record, [id for (id,) in of if id])
            linked = "(SELECT incident_id FROM cell_members WHERE id = ?1)"
            for row in members:
                marks = ",".join(linked if n == _LINK else f"?{n + 1}" for n in range(len(row)))
                self.record.execute(f"INSERT OR REPLACE INTO cell_members VALUES ({marks})", *row)
            return self._link([id for id, *_ in members], old_news=old_news)

        return self._transact(take)

    def close_due(self, clock: int) -> list[IncidentMessage]:
        """Close incidents whose time has come by the arrival clock, `clock`; return what was published."""
        sql = "SELECT id FROM incidents WHERE status = 'open' AND close_at <= ? ORDER BY close_at, id LIMIT ?"

        def close() -> list[IncidentMessage]:
            due = self.record.rows(sql, clock - self.reach.same_camera, ROWS_AT_ONCE)
            return [message for (id,) in due for message in self._set(id, "closed", "incident.closed")]

        out: list[IncidentMessage] = []
        while self.record.rows(sql, clock - self.reach.same_camera, 1):
            out += self.record.transact(close)
        return out

    def link_waiting(self) -> bool:
        """Link some events that no message leads to: older than incidents, or of a merged camera; whether there were any."""
        sql = f"SELECT event_id FROM incident_queue ORDER BY event_id DESC LIMIT {ROWS_AT_ONCE}"
        ids = [id for (id,) in self.record.rows(sql)]

        def link() -> None:
            self._link(ids, old_news=True)
            self.record.execute(f"DELETE FROM incident_queue WHERE event_id {_IDS}", json.dumps(ids))

        if ids:
            self._transact(link)
        return bool(ids)

    def _transact(self, link: Callable[[], T]) -> T:
        try:
            return self.record.transact(link)
        except BaseException:  # nothing of it was written
            self._linked.clear()
            raise

    def _link(self, ids: Collection[int], *, old_news: bool = False) -> list[IncidentMessage]:
        """Bring the incidents of these events up to date, and those that they joined, left or divided."""
        named = self.record.rows(f"SELECT id, neighbours FROM {_CAMERAS} WHERE neighbours IS NOT NULL")
        known = {camera: names for camera, text in named if (names := neighbours_of(text)) is not None}
        reach = self.reach._replace(neighbours=known)
        if old_news or reach != self.reach or len(self._linked) > LINKED_MAX:
            self._linked.clear()
        self.reach = reach
        events: dict[int, Activity] = {}
        self._add(events, f"id {_IDS}", json.dumps([*ids]))
        joined, rest, out = set[int](), set[int](), list[IncidentMessage]()
        for e in sorted(events.values(), key=lambda e: (e.start, e.id)):
            if (into := None if old_news else self._find_incident(e)) is None:
                rest.add(e.id)
                continue
            if e.incident_id != into:
                self._write_links([(into, e.id)])
                e.incident_id = into
            self._linked[e.id] = e
            joined.add(into)
        if rest:
            done, out = self._link_anew(rest, old_news)
            joined -= done
        for id in sorted(joined):
            before = self.record.dicts("SELECT * FROM incidents WHERE id = ?", id)
            out += self._describe(id, next(iter(before), None), before, kept=False)
        return out

    def _find_incident(self, e: Activity) -> int | None:
        """Return the incident of an event that is new or only grew, if those around it leave no doubt; None: ask `connect`.

        They do if all that it connects to, and all low events that might now belong to it, are in one incident already: then
        nothing else changes, and a long incident need not be read.
        """
        was = self._linked.get(e.id)
        if e.merged_into is not None or (e.incident_id is not None and not (was and _grew(was, e))):
            return None
        near: dict[int, Activity] = {}
        far = max(self.reach.same_camera, self.reach.other_camera)
        first, last = e.start - far, e.end + far
        self._add(near, f"{_START} BETWEEN ? AND ? AND {_END} >= ?", first - self._longest, last, first)
        carrying, low = set[int | None](), set[int | None]()
        for o in near.values():
            gap = max(0, o.start - e.end, e.start - o.end)
            if (
                o.id != e.id
                and o.merged_into is None
                and o.incident_id
                and gap <= self.reach.between(e.camera, o.camera)
            ):
                (carrying if o.carries else low).add(o.incident_id)
        into = min((id for id in carrying if id), default=e.id)
        is_clear = len(carrying) <= 1 and not (e.carries and low - carrying)
        if not is_clear or e.incident_id not in (None, into):
            return None
        first = e.id >> CELL_BITS << CELL_BITS
        earlier = "SELECT 1 FROM incident_members WHERE incident_id = ? AND id >= ? AND id < ?"
        return into if into == e.id or first <= into < e.id or self.record.one(earlier, into, first, e.id) else None

    def _link_anew(self, ids: set[int], old_news: bool) -> tuple[set[int], list[IncidentMessage]]:
        """Connect these events and all that depends on them by definition; return which incidents that concerned, and the news."""
        events, groups = self._find_affected(ids)
        incidents = {number_of(group): group for group in groups}
        link = {e.id: incident for incident, group in incidents.items() for e in group}
        for e in events.values():
            into = e
            while into.merged_into in events:
                into = events[into.merged_into]
            link |= {e.id: link[into.id]} if into.id in link else {}
        moved = [(new, id) for id, new in link.items() if events[id].incident_id != new]
        self._write_links(moved)
        were = {was for id in link if (was := events[id].incident_id)} | incidents.keys()
        rows = self.record.dicts(f"SELECT * FROM incidents WHERE id {_IDS}", json.dumps([*were]))
        old, out = {row["id"]: row for row in rows}, list[IncidentMessage]()
        for id in sorted(old.keys() - incidents.keys()):
            into_id = link.get(id) or min(new for i, new in link.items() if events[i].incident_id == id)
            if old[id]["status"] != "merged":
                self.record.execute("UPDATE incidents SET merged_into = ? WHERE merged_into = ?", into_id, id)
                out += self._set(id, "merged", "incident.merged" if old[id]["revision"] else None, into_id)
            # events that became part of one which then became part of another before it was ever published
            self._write_links([(into_id, e.id) for e in events.values() if e.incident_id == id and e.id not in link])
        for id, group in sorted(incidents.items()):
            before = [old[was] for was in {e.incident_id for e in group} if was in old]
            out += self._describe(id, old.get(id), before, any(e.kept for e in group), old_news)
        for id, new in link.items():
            events[id].incident_id = new
            self._linked[id] = events[id]
        return were, out

    def _describe(
        self, id: int, old: Row | None, before: list[Row], kept: bool, old_news: bool = False
    ) -> list[IncidentMessage]:
        """Write the row of an incident from its events; `before`: the rows of the incidents that they were in."""
        self.record.execute("INSERT OR IGNORE INTO incidents(id) VALUES (?)", id)
        self.record.execute(_DESCRIBE, id, kept)
        (new,) = self.record.dicts("SELECT * FROM incidents WHERE id = ?", id)
        known = max((row["close_at"] for row in before), default=NEVER - 1 if old_news else 0)
        is_over = new["close_at"] <= known and all(row["status"] == "closed" for row in before)
        new["status"] = "closed" if is_over else "open"
        return self._set(id, new["status"], _news(old, new))

    # -- which events are affected

    def _find_affected(self, core: set[int]) -> tuple[dict[int, Activity], list[list[Activity]]]:
        """Return the incidents that these events belong to now, each as a whole, and the events of those they were in.

        Around an event, whatever is within reach of a carrying one is read, until nothing is left that could connect.
        """
        events: dict[int, Activity] = {}
        wide, todo = set[int](), core
        while True:
            wide |= self._read_around(events, todo)
            live = [e for e in events.values() if e.merged_into is None]
            both = ((x, y) for _, a, b in pairs_within(live, self.reach) for x, y in ((a, b), (b, a)))
            if todo := {y.id for x, y in both if x.id in wide and (y.carries or x.id in core)} - wide:
                continue
            groups = [g for g in connect(live, self.reach) if not core.isdisjoint(e.id for e in g)]
            inside = core.union(e.id for g in groups for e in g)
            merged = [(e.id, into) for e in events.values() if (into := e.merged_into) and {e.id, into} & inside]
            inside.update(id for ids in merged for id in ids)
            incidents = {e.incident_id for id in inside if (e := events.get(id)) and e.incident_id}
            inside.update(e.id for e in events.values() if e.incident_id in incidents)
            if inside == core:
                return {id: events[id] for id in core if id in events}, groups
            core, todo = inside, inside - wide

    def _read_around(self, events: dict[int, Activity], ids: set[int]) -> set[int]:
        """Read these events, those of their incidents, and all that were active within reach of the time of one; not the last."""
        self._add(events, f"id {_IDS}", json.dumps([*(ids - events.keys())]))
        incidents = {e.incident_id for id in ids if (e := events.get(id)) and e.incident_id}
        ids = ids | self._add(events, f"incident_id {_IDS}", json.dumps([*incidents]))
        far = max(self.reach.same_camera, self.reach.other_camera)
        spans: list[list[int]] = []
        for start, end in sorted((e.start - far, e.end + far) for id in ids if (e := events.get(id))):
            if spans and start - self._longest <= spans[-1][1]:
                spans[-1][1] = max(spans[-1][1], end)
            else:
                spans.append([start, end])
        for start, end in spans:
            self._add(events, f"{_START} BETWEEN ? AND ? AND {_END} >= ?", start - self._longest, end, start)
        return ids

    def _add(self, events: dict[int, Activity], where: str, *args: Any) -> set[int]:
        sql = " UNION ALL ".join(_EVENTS.format(members, where) for members in _TABLES)
        found = {row[0]: Activity(*row) for row in self.record.rows(sql, *args * len(_TABLES))}
        events.update(found)
        self._longest = max([self._longest, *(e.end - e.start for e in found.values())])
        return set(found)

    # -- rows and messages

    def _write_links(self, links: Iterable[tuple[int, int]]) -> None:
        """Write which incident each member belongs to: (incident, member)."""
        for incident, id in links:
            table, own = ("alerts", id - ALERT_IDS) if id & ALERT_IDS else ("events", id)
            for name, row in ((table, own), ("cell_members", id)):
                if self.record.execute(f"UPDATE {name} SET incident_id = ? WHERE id = ?", incident, row).rowcount:
                    break

    def _set(self, id: int, status: str, news: IncidentType | None, into: int | None = None) -> list[IncidentMessage]:
        """Set the status of an incident; if that or something else is news, append its next revision to the feed."""
        sql = "UPDATE incidents SET status = ?1, merged_into = ?2, ended_at = iif(?1 = 'open', NULL, last_at) WHERE id = ?3"
        self.record.execute(sql, status, into, id)
        if news is None:
            return []
        is_known = id <= self._restored.frame or id >> CELL_BITS != self._restored.frame >> CELL_BITS
        restored = self._restored.revision if is_known else 0
        sql = "UPDATE incidents SET revision = max(revision, ?) + 1, published_at = last_at WHERE id = ?"
        self.record.execute(sql, restored, id)
        (row,) = self.record.dicts("SELECT * FROM incidents WHERE id = ?", id)
        cameras = json.loads(row["cameras"])
        names = dict(self.record.rows(f"SELECT id, name FROM {_CAMERAS} WHERE id {_IDS}", row["cameras"]))
        members = self.record.rows(f"SELECT id, delay {_MEMBERS} ORDER BY {_START}, id", id)
        events = [member for member, _ in members if not member & ALERT_IDS]
        sql = "SELECT json_extract(payload, '$.thumbnail') FROM feed WHERE kind = 'event' AND subject_id = ? ORDER BY revision DESC"
        copied = "SELECT thumbnail FROM cell_members WHERE id = ?"
        thumbnail = self.record.one(sql, row["gravest_event_id"]) or self.record.one(copied, row["gravest_event_id"])
        ended = None if row["ended_at"] is None else from_microseconds(row["ended_at"])
        incident = Incident(
            id, news, row["revision"], row["status"], from_microseconds(row["started_at"]), from_microseconds(row["last_at"]),
            ended, row["risk_score"], row["summary"], tuple(cameras), tuple(names.get(c, c) for c in cameras),
            tuple(events[-INCIDENT_EVENTS_MAX:]), row["event_count"], row["frame_count"],
            json.loads(row["objects"]), row["gravest_event_id"], thumbnail and thumbnail[0],
            members[-1][1] / 1e6 if members else 0.0, into, json.loads(row["alert_counts"]),
        )  # fmt: skip
        return [
            append(self.record, "incident", id, row["revision"], now(), lambda n: IncidentMessage(n, news, incident))
        ]


def _news(old: Row | None, new: Row) -> IncidentType | None:
    """Return the type under which the new state of an incident is published; None: it is not worth a message."""
    if old is None or not old["revision"]:
        return "incident.opened" if new["status"] == "open" else None
    rise = LEVELS.index(new["risk_level"]) - LEVELS.index(old["risk_level"])
    is_news = (
        rise < 0
        or (new["status"] == "open" and old["status"] != "open")
        or any(
            not set(json.loads(new[key])) <= set(json.loads(old[key])) for key in ("cameras", "objects", "alert_counts")
        )
        or new["last_at"] >= old["published_at"] + UPDATED_EVERY
    )
    return "incident.raised" if rise > 0 else "incident.updated" if is_news else None


def read_arrival_clock(record: Record) -> int:
    """Read the arrival clock from the heartbeat of what decides frames; 0: there was none."""
    row = record.one("SELECT json_extract(counters, '$.clock') FROM heartbeat WHERE chain = 'see'")
    return int((row and row[0]) or 0)


def release_events(record: Record, incidents: Iterable[int]) -> None:
    """Bring incidents up to date of which events or alerts were deleted, inside that transaction: they are never divided again.

    One that has none left is deleted with its messages, and so are those that were merged into it.
    """
    for id in incidents:
        if record.one(f"SELECT 1 {_MEMBERS} LIMIT 1", id):
            record.execute(_DESCRIBE, id, 1)
            continue
        gone = [(id,), *record.rows("SELECT id FROM incidents WHERE merged_into = ?", id)]
        record.many("DELETE FROM feed WHERE kind = 'incident' AND subject_id = ?", gone)
        record.many("DELETE FROM notifications WHERE incident_id = ?", gone)
        record.many("DELETE FROM incidents WHERE id = ?", gone)
        for table in ("events", "cell_members"):
            record.execute(f"UPDATE {table} SET incident_id = NULL WHERE incident_id = ?", id)
