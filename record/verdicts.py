"""Queue events for the language model, and write its verdicts.

The queue is the record itself (closed, or open for long enough; pending, due), so it survives a kill. A verdict applies only to the revision it was
asked for; of two, the first wins. Failed attempts are counted and capped; then the rules' verdict is final.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from urllib.parse import quote

from hearthwatch.record import Record, now
from hearthwatch.record.baselines import read_baseline
from hearthwatch.record.events import Judge, RevisionWriter, current_revision, dump_analysis
from hearthwatch.record.feedback import note_ghosts
from hearthwatch.record.surroundings import read_surroundings
from hearthwatch.record.units import CELL_BITS, SECOND
from hearthwatch.schemas.case import Case, EarlierEvent, Facts, Surroundings, Usual
from hearthwatch.schemas.items import RISK_FLOORS, DeadLetter, Event, from_microseconds

OFF = "NEMOTRON_URL is not set: rules alone judge"
PAGE = 50  # cases read at once when all are judged again: a few MB
FAR_BEHIND = 100  # events waiting: beyond it the newest come first, the oldest are old news anyway
WAIT_MAX = 60 * SECOND  # for the next attempt; one that is further away was stamped before the clock was set back

BEFORE_MAX = 4  # events of an incident before the one that is judged
FIRST_SECONDS = 0.1  # that an event waits for the record of the first cell, which is seldom locked for readers
_MEMBER = "SELECT id, camera_id, started_at, last_at, risk_level, status FROM"
_EARLIER = f"""
SELECT coalesce((SELECT name FROM (SELECT id, name FROM cameras UNION ALL SELECT id, name FROM cell_cameras) WHERE id = camera_id), camera_id),
  started_at, last_at, risk_level, id
FROM ({_MEMBER} events WHERE incident_id = ?1 UNION ALL {_MEMBER} cell_members WHERE incident_id = ?1 AND kind IS NULL)
WHERE status <> 'merged' AND (started_at, id) < (?2, ?3) AND id >> {CELL_BITS} IS NOT ?4 ORDER BY started_at DESC, id DESC LIMIT {BEFORE_MAX}"""

_PENDING = "FROM events WHERE status = 'closed' AND analysis_status = 'pending'"
EARLY_FRAMES, EARLY_AGE = 3, 4 * SECOND  # pictures or age of an open event at medium or above that is worth a look
_EARLY = (
    f"FROM events WHERE status = 'open' AND analysis_status = 'pending' AND risk_score >= {RISK_FLOORS['medium']} AND opened_at > 0 "
    f"AND (frame_count >= {EARLY_FRAMES} OR last_at - started_at >= {EARLY_AGE} OR opened_at NOT BETWEEN ?1 - {EARLY_AGE} AND ?1)"
)


@dataclass(frozen=True, slots=True)
class FailedAttempt(DeadLetter):
    """An attempt to judge an event that gave no verdict. `final`: another attempt cannot help, or is not allowed."""

    event_id: int
    revision: int
    final: bool
    wait_seconds: float = 0.0
    pictures: bool = False
    """Whether its pictures were asked about."""
    status: str = "closed"
    """Of the event when it was asked about."""


class Verdicts:
    """Reads cases and writes verdicts. One per thread. `first`: the record with the incidents of all cells, of another cell's."""

    def __init__(self, record: Record, zone: tzinfo | None = None, first: Path | None = None) -> None:
        self.record, self.zone, self.first = record, zone, first
        self.writer = RevisionWriter(record, _no_rules, analysis=True)

    # -- cases

    def due(self, limit: int, taken: Collection[int] = (), *, early: bool = False) -> list[Case]:
        """Read up to `limit` cases that are not `taken`: the oldest first, or the newest when far behind.

        `early`: first the open events that may alarm.
        """
        order = "started_at DESC" if self.waiting(FAR_BEHIND + 1) > FAR_BEHIND else "id"
        sql = f"SELECT id {_PENDING} AND NOT retry_at BETWEEN ? AND ? ORDER BY {order} LIMIT ?"
        at = now()
        with self._snapshot():
            rows = self.record.rows(sql, at + 1, at + WAIT_MAX, limit + len(taken))
            if early:
                waits = (
                    f"SELECT id {_EARLY} AND NOT retry_at BETWEEN ?1 + 1 AND ?1 + {WAIT_MAX} ORDER BY close_at LIMIT ?2"
                )
                rows = [*self.record.rows(waits, at, limit + len(taken)), *rows]
            return [self.case(i) for i in [i for (i,) in rows if i not in taken][:limit]]

    def waiting(self, limit: int = 1_000_000) -> int:
        """Count the events that wait for a verdict, due or not, up to `limit`."""
        return int(self.record.one(f"SELECT count(*) FROM (SELECT 1 {_PENDING} LIMIT ?)", limit)[0])

    def closed(self, since: int = 0) -> Iterator[Case]:
        """Yield every closed event that started at or after `since` (microseconds), oldest first."""
        last = (since, -1)
        sql = "SELECT started_at, id FROM events WHERE (started_at, id) > (?, ?) AND status = 'closed' ORDER BY 1, 2 LIMIT ?"
        while True:
            with self._snapshot():
                rows = self.record.rows(sql, *last, PAGE)
                cases = [self.case(i) for _, i in rows]
            if not cases:
                return
            yield from cases
            last = rows[-1]

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Read from one snapshot inside the `with`."""
        self.record.execute("BEGIN")
        try:
            yield
        finally:
            self.record.execute("COMMIT")

    def case(self, event: int) -> Case:
        """Read one event with all that its judge is given."""
        facts = self.writer.facts(event)
        (attempts,) = self.record.one("SELECT attempts FROM events WHERE id = ?", event)
        row = self.record.one("SELECT notes FROM cameras WHERE id = ?", facts.camera_id)
        notes, surroundings = (row and row[0]) or "", read_surroundings(self.record, event)
        return Case(
            current_revision(self.record, facts), facts, attempts, notes, self._usual(facts), surroundings,
            self._earlier(event),
        )  # fmt: skip

    def _earlier(self, event: int) -> tuple[EarlierEvent, ...]:
        """Read the events of the same incident that started before, as the records have them now; of other cells, if they can be read."""
        place = self.record.one("SELECT incident_id, started_at, id FROM events WHERE id = ?", event)
        found = self.record.rows(_EARLIER, *place, None)
        if self.first and place[0]:
            with suppress(sqlite3.Error), closing(sqlite3.connect(
                f"file:{quote(str(self.first.resolve()))}?mode=ro", uri=True, timeout=FIRST_SECONDS
            )) as db:  # fmt: skip
                found += db.execute(_EARLIER, (*place, event >> CELL_BITS)).fetchall()
        last = sorted(found, key=lambda row: (row[1], row[4]))[-BEFORE_MAX:]
        return tuple(EarlierEvent(*row[:4]) for row in last)

    def _usual(self, facts: Facts) -> Usual | None:
        start, found = from_microseconds(facts.started_at).astimezone(self.zone), facts.objects
        kind = max(found, key=lambda kind: (kind == "person", found[kind]))
        baseline = read_baseline(self.record, facts.camera_id, facts.started_at)
        return baseline.usual("", kind, start.hour, start.weekday() < 5)

    # -- verdicts

    def write(self, items: Sequence[Event | DeadLetter]) -> list[Event]:
        """Write verdicts (`event.analyzed`) and failed attempts; return the new revisions."""
        return self.record.transact(lambda: self._write(items))

    def _write(self, items: Sequence[Event | DeadLetter]) -> list[Event]:
        self.writer.begin()
        for item in items:
            if isinstance(item, Event) and item.type == "event.analyzed":
                if self._is_unchanged(item.id, item.revision - 1, item.status):
                    self.writer.analyzed(item.id, item.verdict)
                    if item.status == "closed":
                        note_ghosts(self.record, item.id, item.verdict.picture_verdict, now())
            elif isinstance(item, FailedAttempt) and self._is_unchanged(
                item.event_id, item.revision, item.status, pending=True
            ):
                self._count_attempt(item)
        return self.writer.revisions

    def _is_unchanged(self, event: int, revision: int, status: str, *, pending: bool = False) -> bool:
        """Check that the event is as it was when the model was asked. A late frame opens it again: then it is not."""
        sql = "SELECT status = ? AND revision = ? AND (NOT ? OR analysis_status = 'pending') FROM events WHERE id = ?"
        row = self.record.one(sql, status, revision, pending, event)
        return bool(row and row[0])

    def _count_attempt(self, item: FailedAttempt) -> None:
        retry_at = now() + min(WAIT_MAX, round(item.wait_seconds * 1e6))
        self.record.execute(
            "UPDATE events SET attempts = attempts + 1, retry_at = ? WHERE id = ?", retry_at, item.event_id
        )
        if item.final:
            self.writer.failed(item.event_id, unverified=item.pictures)

    def shadow(self, event: Event) -> None:
        """Write a shadow verdict: into the history only, the event stays as it is and nothing is published."""
        v, at = event.verdict, now()
        self.record.transact(
            lambda: self.record.execute(
                "INSERT INTO event_history(event_id, revision, type, shadow, risk_score, risk_level, summary, reasoning, evidence, "
                "analyzer, model, prompt_version, analysis_status, frame_count, latency_ms, at, picture_verdict, analysis) "
                "VALUES (?,?,?,1,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                event.id, event.revision - 1, event.type, v.risk_score, v.risk_level, v.summary, v.reasoning, json.dumps(list(v.evidence)),
                v.analyzer, v.model, v.prompt_version, event.analysis_status, event.frame_count, v.latency_ms, at,
                v.picture_verdict, dump_analysis(v),
            )
        )  # fmt: skip

    def has_shadow(self, event: Event, model: str, prompt_version: str) -> bool:
        """Whether this revision has a shadow verdict of this model and prompt already."""
        sql = "SELECT 1 FROM event_history WHERE shadow AND event_id = ? AND revision = ? AND model = ? AND prompt_version = ?"
        return self.record.one(sql, event.id, event.revision, model, prompt_version) is not None


def _no_rules(_: Surroundings) -> Judge:
    raise AssertionError("verdicts come from the language model, not from rules")
