"""Write and delete events. An event is one row with numbered revisions: row, history row and feed row share a transaction.

`RevisionWriter` is the only writer of revisions. It asks a judge (the rules, passed in) for a verdict, computes the level,
and adds the message to the feed, which consumers read. The judge of an open event takes in each picture that joins it, and
is kept in memory: a cache, rebuilt from the record after a restart, a rollback, a re-cut, a picture out of order, or a change of
what it knows besides pictures, such as zones. So the
same pictures in the same order give the same revisions.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import groupby
from typing import Any, Protocol

from hearthwatch.record import Record, now
from hearthwatch.record.feed import append
from hearthwatch.record.incidents import release_events
from hearthwatch.record.surroundings import previous_event, read_surroundings
from hearthwatch.record.thumbnails import path, url
from hearthwatch.record.units import BOXES_OF_FRAME, DAY, box_ids
from hearthwatch.record.witness import Restored, last_restore
from hearthwatch.schemas.case import Facts, Sighting, Signature, Surroundings
from hearthwatch.schemas.items import (
    ATTRIBUTES_MAX,
    RISK_FLOORS,
    AnalysisStatus,
    Attribute,
    Event,
    EventType,
    Verdict,
    from_microseconds,
    risk_level,
)
from hearthwatch.schemas.messages import Message

BATCHES = uuid.UUID("6f1f5a0e-8f0b-5c5e-9d1c-2b6a4a3f7d10")  # name space of batch ids: UUIDv5 of the first frame's uid


class Judge(Protocol):
    """Judges one event while it grows: a pure fold over its pictures in order of (captured_at, id)."""

    def add(self, at: int, objects: Mapping[str, int], boxes: Callable[[], Sequence[Sighting]]) -> None:
        """Take in the next picture: when it was captured, how many of each kind it shows, and how to read its boxes.

        Of a crowd for minutes not every picture has to be read.
        """

    def score(self) -> int:
        """Return the score of the pictures so far."""

    def verdict(self, facts: Facts) -> Verdict:
        """Return the verdict on the pictures so far; `facts` are theirs."""

    def signature(self) -> Signature:
        """Return what makes the pictures so far alike to others, for the owner's answers."""

    def handover(self) -> str:
        """Return what the judge of the camera's next event has to know, as JSON of some kB; "": nothing."""


@dataclass(slots=True)
class _Judged:
    judge: Judge
    last: tuple[int, int]
    """(captured_at, id) of the last picture that it has taken in."""
    floor: int
    """Of the level of the standing verdict."""
    camera: str
    started_at: int


JUDGED_MAX = 1000  # open events whose judges are kept: some kB each

# Two statements and no upsert: inside triggers, SQLite lets the outer statement's conflict clause override their own.
EVENT_AGAIN = """
UPDATE events SET started_at = ?, frame_count = ?, last_at = ?, close_at = ?, delay = ?, status = 'open', ended_at = NULL,
  merged_into = NULL WHERE id = ?"""
EVENT_NEW = """
INSERT INTO events(started_at, frame_count, last_at, close_at, delay, id, batch_id, camera_id, clock_offset_ms, status)
VALUES (?,?,?,?,?,?,?,?,?,'open')"""

_ROW = (
    "id, batch_id, camera_id, revision, started_at, ended_at, status, frame_count, objects, risk_score, summary, reasoning, "
    "evidence, analyzer, model, prompt_version, analysis_status, merged_into, delay, incident_id, picture_verdict"
)


class RevisionWriter:
    """Publishes revisions of events inside the caller's transaction."""

    def __init__(self, record: Record, judge: Callable[[Surroundings], Judge], *, analysis: bool = False) -> None:
        """`judge` makes the judge of an event in these surroundings."""
        self.record, self.judge = record, judge
        self.verdict_due: AnalysisStatus = "pending" if analysis else "disabled"
        self._judged: dict[int, _Judged] = {}
        self._newest: dict[str, int] = {}
        """Camera → when the newest of its events started whose judge is kept."""
        self._judged_by = ""
        self.is_committed = False
        """Whether the last transaction was; set by the caller."""
        self.begin()

    def begin(self) -> None:
        """Begin a new transaction, without revisions."""
        (judged_by,) = self.record.one("SELECT value FROM meta WHERE key = 'judged_by'")
        if not self.is_committed or len(self._judged) > JUDGED_MAX or judged_by != self._judged_by:
            self._judged.clear()
            self._newest.clear()
        self._judged_by = judged_by
        self.is_committed = False
        self.revisions: list[Event] = []
        self.born = 0
        self._later: list[Callable[[], None]] = []

    @cached_property
    def _restored(self) -> Restored:
        return last_restore(self.record)

    @staticmethod
    def batch_id(uid: str) -> str:
        return str(uuid.uuid5(BATCHES, uid))

    def open(self, event: int, *, early: bool = True) -> None:
        """Publish a new event at the next `flush`, or, if not `early`, only when it closes."""
        self.born += 1
        self._later.append(lambda: self._opened(event) if early else self._hold_back(event))

    def merge(self, event: int, into: int) -> None:
        """Publish at the next `flush` that a re-cut merged this event, which was never closed, into another."""
        self.born -= 1
        self._later.append(lambda: self._merged(event, into))

    def flush(self, event: int, boxes: Sequence[Sighting]) -> None:
        """Publish what was asked for since the last flush; the frame that caused it is in the record by now.

        `boxes` are those of this frame, which joined `event`: it is judged again.
        """
        judged = self._judged.get(event)
        for publish in self._later:
            publish()
        self._later.clear()
        if self._judged.get(event) is judged:  # else it was just read from the record, with this frame
            self._judge_again(event, boxes)

    def recut(self, event: int) -> None:
        """Judge this event again at the next `flush`, because a re-cut changed its frames."""
        if judged := self._judged.pop(event, None):
            self._forget_later(judged.camera, judged.started_at)
        sql = "UPDATE events SET analysis = json_remove(analysis, '$.frames') WHERE id = ?"  # of other pictures
        self.record.execute(sql, event)
        self._later.append(lambda: self._judge_again(event))

    def _judge_again(self, event: int, boxes: Sequence[Sighting] = ()) -> None:
        """Publish that the level of an open event rose, if it did; `boxes` are those of the frame that joined it."""
        judged = self._judged.get(event)
        if judged is None or (boxes[0].at, boxes[0].frame_id) < judged.last:
            sql = "SELECT opened_at, camera_id, started_at FROM events WHERE id = ?"
            opened_at, camera, started_at = self.record.one(sql, event)
            if opened_at is None:
                self._forget_later(camera, started_at)
                return  # held back until it closes
            judged = self._read_judged(event)
        else:
            judged.judge.add(boxes[0].at, Counter(s.object_type for s in boxes), lambda: boxes)
            judged.last = boxes[0].at, boxes[0].frame_id
            self._forget_later(judged.camera, judged.started_at)
        floor, sql = (
            _floor(judged.judge.score()),
            "SELECT analyzer = 'nemotron' AND risk_score >= ? FROM events WHERE id = ?",
        )
        if floor > judged.floor and not self.record.one(sql, floor, event)[0]:
            facts = self.facts(event)
            self._publish(facts, "event.raised", judged.judge.verdict(facts), "analysis_status = ?", self.verdict_due)

    def _read_judged(self, event: int, seen: Sequence[Sighting] = ()) -> _Judged:
        """Let a new judge take in the pictures of an event; `seen`: their boxes, if they were read already."""
        seen = seen or self._sightings(event)
        surroundings = read_surroundings(self.record, event)
        camera, started_at = surroundings.camera_id, surroundings.started_at
        self._forget_later(camera, started_at)
        before = previous_event(self.record, camera, started_at)
        if before and before[1] == "open":
            judged = self._judged.get(before[0]) or self._read_judged(before[0])
            surroundings = replace(surroundings, before=judged.judge.handover())
        judge = self.judge(surroundings)
        for (at, _), group in groupby(seen, key=lambda s: (s.at, s.frame_id)):
            boxes = tuple(group)
            judge.add(at, Counter(s.object_type for s in boxes), partial(tuple, boxes))
        by_rules = self.record.one(
            "SELECT risk_score FROM event_history WHERE event_id = ? AND NOT shadow AND analyzer = 'rules' ORDER BY revision DESC", event
        )  # fmt: skip
        score = by_rules[0] if by_rules else 0
        self._judged[event] = judged = _Judged(
            judge, (seen[-1].at, seen[-1].frame_id), _floor(score), camera, started_at
        )
        self._newest[camera] = max(started_at, self._newest.get(camera, started_at))
        return judged

    def _forget_later(self, camera: str, at: int) -> None:
        """Drop the judges of a camera's later events: what was handed over to them changes."""
        if self._newest.get(camera, at) <= at:
            return
        for event in [event for event, j in self._judged.items() if j.camera == camera and j.started_at > at]:
            del self._judged[event]
        self._newest[camera] = at

    def _verdict(self, facts: Facts) -> Verdict:
        """Return the rules' verdict over all of an event's frames."""
        judged = self._judged.get(facts.event_id) or self._read_judged(facts.event_id, facts.sightings)
        return judged.judge.verdict(facts)

    def close(self, event: int, *, seal: bool = True) -> None:
        """Close an event that no frame can join on time any more, with the rules' verdict over the whole batch.

        Unless sealed, a frame that comes out of order can re-cut it.
        """
        if self.record.one("SELECT opened_at FROM events WHERE id = ?", event)[0] is None:
            self._opened(event)
        sql = "SELECT analyzer, analysis_status = 'done' AND json_extract(analysis, '$.frames') = frame_count FROM events WHERE id = ?"
        analyzer, is_judged = self.record.one(sql, event)
        keep = analyzer == "nemotron" and self.verdict_due == "pending"  # judged before: kept until judged again
        facts = self.facts(event)
        rules = (self._judged.get(event) or self._read_judged(event, facts.sightings)).judge
        self._publish(
            facts, "event.closed", None if keep else rules.verdict(facts),
            "status = 'closed', sealed = max(sealed, ?), ended_at = last_at, closed_at = ?, analysis_status = ?, attempts = 0, "
            "retry_at = 0, carries = max(carries, ?), handover = ?, signature = ?",
            seal, now(), "done" if keep and is_judged else self.verdict_due, rules.score() >= RISK_FLOORS["medium"], rules.handover() or None,
            json.dumps(rules.signature()._asdict()),
        )  # fmt: skip
        self._judged.pop(event, None)
        if keep and is_judged:
            from hearthwatch.record.feedback import note_ghosts  # it needs the names above

            note_ghosts(self.record, event, self.revisions[-1].verdict.picture_verdict, now())

    def analyzed(self, event: int, verdict: Verdict) -> None:
        """Publish the language model's verdict."""
        changes = "analysis_status = 'done', analyzed_at = ?, attempts = attempts + 1"
        self._publish(self.facts(event), "event.analyzed", verdict, changes, now())

    def failed(self, event: int, *, unverified: bool = False) -> None:
        """Publish that the language model gave no verdict: the current one is final. `unverified`: pictures were asked about."""
        changes = "analysis_status = 'failed', picture_verdict = iif(?, 'unverified', picture_verdict)"
        self._publish(self.facts(event), "event.failed", None, changes, unverified)

    def _opened(self, event: int) -> None:
        facts, changes = self.facts(event), "opened_at = ?, analysis_status = ?"
        self._publish(facts, "event.opened", self._verdict(facts), changes, now(), self.verdict_due)

    def _hold_back(self, event: int) -> None:
        sql = "UPDATE events SET opened_at = NULL WHERE id = ? RETURNING camera_id, started_at"
        self._forget_later(*self.record.one(sql, event))

    def _merged(self, event: int, into: int) -> None:
        sql = "SELECT revision, camera_id, started_at FROM events WHERE id = ?"
        revision, camera, started_at = self.record.one(sql, event)
        self._forget_later(camera, started_at)
        merged = [event]
        if revision == 0:  # never published: those that were merged into it follow it
            sql = "SELECT id FROM events WHERE started_at BETWEEN ? AND ? AND merged_into = ?"
            merged = [id for (id,) in self.record.rows(sql, started_at - DAY, started_at + DAY, event)]
            self.record.execute("DELETE FROM events WHERE id = ?", event)
        for id in merged:
            self._add_revision(
                id, "event.merged", None, (), "status = 'merged', frame_count = 0, merged_into = ?", into
            )

    def facts(self, event: int) -> Facts:
        """Read what the record knows about an event."""
        camera_id, name, first, last, n = self.record.one(
            "SELECT e.camera_id, coalesce(c.name, e.camera_id), e.started_at, e.last_at, e.frame_count "
            "FROM events e LEFT JOIN cameras c ON c.id = e.camera_id WHERE e.id = ?", event,
        )  # fmt: skip
        width, height = self.record.one(
            "SELECT width, height FROM frames WHERE event_id = ? ORDER BY captured_at DESC LIMIT 1", event
        )
        return Facts(event, camera_id, name, first, last, n, width or 0, height or 0, self._sightings(event))

    def _sightings(self, event: int) -> tuple[Sighting, ...]:
        """Read the boxes of an event's frames, in order."""
        rows = self.record.rows(
            "SELECT d.id, f.captured_at, d.object_type, d.confidence, d.bbox_x, d.bbox_y, d.bbox_width, d.bbox_height, d.attributes "
            f"FROM frames f JOIN detections d ON {BOXES_OF_FRAME} WHERE f.event_id = ? ORDER BY f.captured_at, d.id", event,
        )  # fmt: skip
        return tuple(map(Sighting._make, rows))

    def _publish(self, facts: Facts, type: EventType, verdict: Verdict | None, changes: str, *args: Any) -> None:
        """Publish the next revision of an event; without a verdict, the current one stays."""
        judged, values = self._judge(facts.event_id, verdict) if verdict else ("", ())
        changes, values = f"{judged}objects = ?, {changes}", (*values, json.dumps(facts.objects), *args)
        self._add_revision(facts.event_id, type, verdict, facts.sightings, changes, *values)

    def _add_revision(
        self, event: int, type: EventType, verdict: Verdict | None, seen: Sequence[Sighting], changes: str, *args: Any
    ) -> None:
        row = self.record.one(
            f"UPDATE events SET revision = max(revision, ?) + 1, {changes} WHERE id = ? RETURNING {_ROW}",
            self._restored.revision if event <= self._restored.frame else 0, *args, event,
        )  # fmt: skip
        name = self.record.one("SELECT coalesce((SELECT name FROM cameras WHERE id = ?), ?)", row[2], row[2])[0]
        revised = _event(row, type, name, seen, verdict)
        self._append(revised)
        self.revisions.append(revised)

    def _judge(self, event: int, v: Verdict) -> tuple[str, tuple[Any, ...]]:
        """Return what the verdict changes in the row; a reviewed event is unreviewed again only if its level rose."""
        signature = None
        if judged := self._judged.get(event):
            judged.floor = _floor(v.risk_score)
            signature = json.dumps(judged.judge.signature()._asdict()) if v.analyzer == "rules" else None
        changes = (
            "reviewed = reviewed AND ? <= coalesce(risk_score, 100), risk_score = ?, risk_level = ?, summary = ?, "
            "reasoning = ?, evidence = ?, analyzer = ?, model = ?, prompt_version = ?, carries = max(carries, ?), "
            "picture_verdict = ?, analysis = ?, signature = coalesce(?, signature), "
        )
        return changes, (
            _floor(v.risk_score), v.risk_score, v.risk_level, v.summary, v.reasoning, json.dumps(list(v.evidence)),
            v.analyzer, v.model, v.prompt_version, v.analyzer == "rules" and v.risk_score >= RISK_FLOORS["medium"],
            v.picture_verdict, dump_analysis(v), signature,
        )  # fmt: skip

    def _append(self, e: Event) -> None:
        v, at = e.verdict, now()
        append(self.record, "event", e.id, e.revision, at, lambda seq: Message(seq, e.type, e.delay_seconds, e))
        self.record.execute(
            "INSERT INTO event_history(event_id, revision, type, risk_score, risk_level, summary, reasoning, evidence, analyzer, "
            "model, prompt_version, analysis_status, frame_count, latency_ms, at, picture_verdict, analysis) "
            "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            e.id, e.revision, e.type, v.risk_score, v.risk_level, v.summary, v.reasoning, json.dumps(list(v.evidence)), v.analyzer,
            v.model, v.prompt_version, e.analysis_status, e.frame_count, v.latency_ms, at, v.picture_verdict, dump_analysis(v),
        )  # fmt: skip


def delete_events(record: Record, events: Sequence[int], frames: Sequence[int], *, pruned: bool = False) -> None:
    """Delete events with their history and messages, and the boxes of these frames; inside a transaction.

    The frames stay in the ledger, without event and thumbnail; `pruned` marks them as deleted by retention.
    """
    ranges, keys = [box_ids(i) for i in frames], [(event,) for event in events]
    boxes = record.many("DELETE FROM detections WHERE id BETWEEN ? AND ?", ranges)
    record.many("DELETE FROM suppressed WHERE id BETWEEN ? AND ?", ranges)
    changes = "pruned = 1, event_id = NULL" if pruned else "event_id = NULL"
    record.many(f"UPDATE frames SET {changes}, thumbnail_path = NULL WHERE id = ?", [(i,) for i in frames])
    (merged,) = record.one(
        "SELECT count(*) FROM events WHERE id IN (SELECT value FROM json_each(?)) AND status = 'merged'",
        json.dumps(list(events)),
    )
    record.many("DELETE FROM feed WHERE kind = 'event' AND subject_id = ?", keys)
    record.many("DELETE FROM notifications WHERE incident_id = ?", [(-event,) for event in events])
    record.many("DELETE FROM event_history WHERE event_id = ? AND NOT shadow", keys)
    record.many("DELETE FROM event_history WHERE event_id = ? AND shadow", keys)  # each half has its own index
    incidents = record.rows(
        "SELECT DISTINCT incident_id FROM events WHERE id IN (SELECT value FROM json_each(?)) AND status <> 'merged' "
        "AND incident_id IS NOT NULL", json.dumps(list(events)),
    )  # fmt: skip
    record.many("DELETE FROM events WHERE id = ?", keys)
    release_events(record, [i for (i,) in incidents])
    record.count(detections=-max(0, boxes), events=merged - len(events))


def dump_analysis(verdict: Verdict) -> str | None:
    """Return the JSON of what was shown, seen and used."""
    return json.dumps(dict(verdict.analysis), ensure_ascii=False) if verdict.analysis else None


def _floor(score: int) -> int:
    """Return the lowest score of the same level: an earlier score at or above it had this level or a higher one."""
    return RISK_FLOORS[risk_level(score)]


def best_picture(sightings: Sequence[Sighting], evidence: Collection[int]) -> str | None:
    """Return the URL of the thumbnail with the surest evidence, else with the surest detection."""
    cited = [s for s in sightings if s.id in evidence]
    best = max(cited or sightings, key=lambda s: s.confidence, default=None)
    return None if best is None else url(path(best.frame_id, best.at))


def current_revision(record: Record, facts: Facts) -> Event:
    """Read the event of these facts as its last revision was published."""
    row = record.one(f"SELECT {_ROW} FROM events WHERE id = ?", facts.event_id)
    (type,) = record.one(
        "SELECT type FROM event_history WHERE event_id = ? AND revision = ? AND NOT shadow", facts.event_id, row[3]
    )
    return _event(row, type, facts.camera_name, facts.sightings, None)


def _attributes(sightings: Sequence[Sighting]) -> dict[str, tuple[Attribute, ...]]:
    """Return the different values of each attribute, both in the order of first sight and at most `ATTRIBUTES_MAX`."""
    found: dict[str, list[Attribute]] = {}
    for attributes in map(json.loads, dict.fromkeys(s.attributes_json for s in sightings if s.attributes_json)):
        for name, value in attributes.items():
            if len(found) < ATTRIBUTES_MAX or name in found:
                values = found.setdefault(name, [])
                if value not in values and len(values) < ATTRIBUTES_MAX:
                    values.append(value)
    return {name: tuple(values) for name, values in found.items()}


def _event(
    row: tuple[Any, ...], type: EventType, name: str, sightings: Sequence[Sighting], verdict: Verdict | None
) -> Event:
    (id, batch_id, camera_id, revision, started_at, ended_at, status, frame_count, objects, score, summary, reasoning,
     evidence, analyzer, model, prompt_version, analysis_status, merged_into, delay, incident, seen) = row  # fmt: skip
    current = verdict or Verdict(
        score,
        summary,
        reasoning,
        tuple(json.loads(evidence or "[]")),
        analyzer,
        model,
        prompt_version,
        picture_verdict=seen,
    )
    return Event(
        id, batch_id, camera_id, type, revision, from_microseconds(started_at),
        None if ended_at is None else from_microseconds(ended_at), status, frame_count, json.loads(objects or "{}"),
        current, tuple(s.id for s in sightings), camera_name=name, analysis_status=analysis_status, merged_into=merged_into,
        delay_seconds=delay / 1e6, thumbnail=best_picture(sightings, current.evidence), incident_id=incident,
        attributes=_attributes(sightings),
    )  # fmt: skip
