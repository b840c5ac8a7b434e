"""Group frames into events: each frame is decided exactly once, in one transaction.

Its state, its detections, its place in an event and the feed rows that publish it are written together. Membership
of events is a function of the frames of one camera (order of ids, capture time, arrival time, `behind`, has detections)
and of nothing else: not of other cameras, of how frames are grouped into transactions, of ticks, of restarts or of the
wall clock.

While a camera has a backlog, its live frames are placed first and those of the backlog (`behind`) in order of capture
behind them. Until that is through, the camera's events close but are not sealed, so a re-cut gives what the frames in
order of capture would have given.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from hearthwatch.record import Record, alerts
from hearthwatch.record.camera_clocks import LATE_MAX, CameraClocks
from hearthwatch.record.events import EVENT_AGAIN, EVENT_NEW, Judge, RevisionWriter
from hearthwatch.record.suppression import Stillness, Suppression
from hearthwatch.record.thumbnails import path as thumbnail_path
from hearthwatch.record.units import BACKLOG, NEVER, SECOND, box_ids
from hearthwatch.schemas.case import Sighting, Surroundings
from hearthwatch.schemas.items import (
    PER_FRAME,
    Detected,
    Detection,
    Event,
    Tick,
    has_failed,
    to_microseconds,
)

log = logging.getLogger(__name__)

LATE = 60 * SECOND  # a frame that arrives so long after its capture is old: a re-cut does not open its event early


# -- the pure part: what an event is


class Cut(NamedTuple):
    """Where a camera's frames are cut into events; all in microseconds."""

    window: int = 90 * SECOND
    idle: int = 30 * SECOND
    lateness: int = 5 * SECOND

    def deadline(self, first: int, last: int) -> int:
        """Return the capture time from which on a frame is not in the event whose frames span first..last."""
        return min(first + self.window, last + self.idle)

    def close_at(self, first: int, last: int, arrival: int, behind: int = 0) -> int:
        """Return when the event is closed, on the arrival clock: `arrival` and `behind` are those of its last frame.

        NEVER for old pictures of a backlog: by its next frames, or when it is through.
        """
        ends = self.deadline(first, last)
        if behind == BACKLOG and ends < arrival:
            return NEVER
        return arrival + ends - last + self.lateness


F = TypeVar("F", bound=tuple[int, ...])  # (capture time, frame id, …)


def cut(frames: Iterable[F], rules: Cut) -> list[list[F]]:
    """Cut frames into events, by definition: walk them in order of capture, begin the next event at a deadline."""
    parts: list[list[F]] = []
    for frame in sorted(frames):
        if not parts or frame[0] >= rules.deadline(parts[-1][0][0], parts[-1][-1][0]):
            parts.append([])
        parts[-1].append(frame)
    return parts


# -- the record's part: keep the events cut while frames arrive in any order


class Neighbour(NamedTuple):
    """The event of the same camera before or after the frame that is being placed."""

    id: int
    first: int
    last: int
    sealed: int


class _Due(NamedTuple):
    """When the open events of a camera have to close; microseconds."""

    at: int = NEVER
    """The first of them, on the arrival clock."""
    end: int = NEVER
    """From which capture time on a frame of its backlog closes one; at most that."""
    is_held: bool = False
    """Whether one waits for the end of a backlog."""


NOT_DUE = _Due()


class _Row(NamedTuple):
    """What the ledger knows of an undecided frame; times in microseconds."""

    id: int
    camera_id: str
    behind: int
    discovered_at: int
    modified_at: int


class Batching:
    """Decides frames and keeps events. One per process: it is the only one that places frames."""

    def __init__(
        self,
        record: Record,
        judge: Callable[[Surroundings], Judge],
        rules: Cut | None = None,
        *,
        analysis: bool = False,
        stillness: Stillness | None = None,
        now: Callable[[], int] | None = None,
    ) -> None:
        """`now` says when frames are decided, for how old news is; None: when they arrived."""
        self.record = record
        self.rules = rules or Cut()
        self.writer = RevisionWriter(record, judge, analysis=analysis)
        self.suppression = Suppression(record, stillness or Stillness())
        self.clocks, self.now = CameraClocks(record), now
        self._decided: int | None = None
        self._due: dict[str, _Due] | None = None
        """Cameras with open events; None: not read yet."""
        self._behind: set[str] = set()
        """Cameras whose newest decided frame has `behind`."""

    def write(self, items: Sequence[Detected | Tick]) -> list[Event]:
        """Decide these frames and close what is due; the revisions of events that came of it, as the feed has them.

        One transaction, or none if there is nothing to do. A frame that was decided before is skipped.
        """
        if not items or all(isinstance(item, Tick) and not self._closes(item) for item in items):
            return []
        try:
            events = self.record.transact(lambda: self._write(items))
            self.writer.is_committed = True
            return events
        except BaseException:
            self._due = None  # the transaction was rolled back: read it again next time
            self.clocks.clear()
            raise

    def _closes(self, tick: Tick) -> bool:
        """Whether an event is due at this tick."""
        if self._due is None:
            return True
        clock = to_microseconds(tick.now)
        return any(
            (due.at <= clock or (due.is_held and camera not in tick.backlog)) and camera not in tick.behind
            for camera, due in self._due.items()
        )

    def _write(self, items: Sequence[Detected | Tick]) -> list[Event]:
        self._decided = None if self.now is None else self.now()
        self._due = self._read_due()
        self._behind = {camera for (camera,) in self.record.rows("SELECT id FROM cameras WHERE behind")}
        self.writer.begin()
        self.suppression.begin()
        undecided = self._undecided(items)
        counts = dict.fromkeys(("settled", "quarantined", "detections"), 0)
        for item in items:
            if isinstance(item, Tick):
                self._close_by_tick(item)
            elif found := undecided.pop(item.frame.id, None):
                if found.camera_id != item.frame.camera_id:  # merged into another one while the frame was in flight
                    own = [
                        replace(a, camera=found.camera_id) if a.camera == item.frame.camera_id else a
                        for a in item.alerts
                    ]
                    item = replace(item, frame=replace(item.frame, camera_id=found.camera_id), alerts=tuple(own))
                self._decide(item, found, counts)
        self.suppression.flush()
        self.record.count(discovered=-counts["settled"] - counts["quarantined"], events=self.writer.born, **counts)
        return self.writer.revisions

    def _undecided(self, items: Sequence[Detected | Tick]) -> dict[int, _Row]:
        """Return the rows of those of these frames that are not decided."""
        ids = [item.frame.id for item in items if isinstance(item, Detected)]
        if not ids:
            return {}
        sql = "SELECT id, camera_id, behind, discovered_at, mtime_ns / 1000 FROM frames WHERE state = 'discovered' AND id BETWEEN ? AND ?"
        return {row[0]: _Row._make(row) for row in self.record.rows(sql, min(ids), max(ids))}

    def _decide(self, item: Detected, row: _Row, counts: dict[str, int]) -> None:
        frame, error, behind = item.frame, item.error, row.behind
        self.clocks.frame = frame.id
        captured, arrived = to_microseconds(frame.captured_at), to_microseconds(frame.arrived_at)
        self._close_by_frame(frame.camera_id, captured, arrived, behind)
        if not behind and not has_failed(error) and row.discovered_at - row.modified_at <= LATE_MAX:
            self.clocks.add(frame.camera_id, captured, row.discovered_at)
        state = "settled" if error is None or error.is_settled else "quarantined"
        counts[state] += 1
        boxes = () if has_failed(error) else item.detections
        if len(boxes) > PER_FRAME:
            log.warning("%s: %d detections, the %d surest are kept", frame.path, len(boxes), PER_FRAME)
            boxes = tuple(sorted(boxes, key=lambda d: -d.confidence)[:PER_FRAME])
        kept = self._unsuppressed(item, captured, boxes) if boxes else []
        counts["detections"] += len(kept)
        if item.alerts and not has_failed(error):
            alerts.append_new(self.record, item.alerts, arrived, self.clocks.offset)
        opened = frame.opened
        event_id = self._place(frame.id, frame.camera_id, captured, arrived, behind) if kept else None
        thumbnail = None if has_failed(error) or not item.detections else thumbnail_path(frame.id, captured)
        self.record.execute(
            "UPDATE frames SET state = ?, content_hash = ?, width = ?, height = ?, event_id = ?, error_stage = ?, error = ?, "
            "model = ?, detect_ms = ?, thumbnail_path = ?, is_grey = ? WHERE id = ?",
            state, opened and opened.content_hash, item.width or None, item.height or None, event_id,
            error and error.stage, error and error.reason, item.model, item.detect_ms, thumbnail, item.is_grey, frame.id,
        )  # fmt: skip
        if event_id is None:
            return
        self.record.many(
            "INSERT INTO detections(id, frame_id, event_id, camera_id, file_path, detected_at, object_type, confidence, "
            "bbox_x, bbox_y, bbox_width, bbox_height, thumbnail_path, attributes) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            [
                (id, frame.id, event_id, frame.camera_id, frame.path, captured, d.object_type, d.confidence, *d.bbox, thumbnail,
                 _attributes(d)) for id, d in kept
            ],
        )  # fmt: skip
        seen = [Sighting(id, captured, d.object_type, d.confidence, *d.bbox, _attributes(d)) for id, d in kept]
        self.writer.flush(event_id, seen)

    def _unsuppressed(self, item: Detected, captured: int, boxes: Sequence[Detection]) -> list[tuple[int, Detection]]:
        """Return the boxes that count, with their ids; store the others with the reason why they do not."""
        frame = item.frame
        reasons = self.suppression.reasons(frame.camera_id, captured, (item.width, item.height), boxes)
        numbered = list(zip(range(frame.id * PER_FRAME, (frame.id + 1) * PER_FRAME), boxes, reasons, strict=False))
        if any(reasons):
            self.record.many(
                "INSERT INTO suppressed VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                [
                    (
                        id,
                        frame.id,
                        frame.camera_id,
                        captured,
                        d.object_type,
                        d.confidence,
                        *d.bbox,
                        reason,
                        _attributes(d),
                    )
                    for id, d, reason in numbered
                    if reason
                ],
            )
        return [(id, d) for id, d, reason in numbered if not reason]

    # -- closing

    def _read_due(self) -> dict[str, _Due]:
        window, idle, lateness = self.rules
        rows = self.record.rows(
            "SELECT camera_id, min(close_at), min(min(started_at + ?, last_at + ?)) + ?, max(close_at) = ? "
            "FROM events WHERE status = 'open' GROUP BY 1", window, idle, lateness, NEVER,
        )  # fmt: skip
        return {camera: _Due(at, end, bool(held)) for camera, at, end, held in rows}

    def _close_by_tick(self, tick: Tick) -> None:
        """Close what is due of the cameras that have nothing waiting."""
        if not self._closes(tick):
            return
        clock = to_microseconds(tick.now)
        through = [camera for camera, due in (self._due or {}).items() if due.is_held and camera not in tick.backlog]
        where = (
            "(close_at <= ? OR camera_id IN (SELECT value FROM json_each(?)) AND close_at = ?) "
            "AND camera_id NOT IN (SELECT value FROM json_each(?)) ORDER BY close_at, id"
        )
        self._close(where, clock, json.dumps(through), NEVER, json.dumps(sorted(tick.behind)))
        # a frame that is discovered later must not be stamped earlier, not even after a restart
        self.record.execute("INSERT OR REPLACE INTO meta VALUES ('clock', ?)", str(clock))

    def _close_by_frame(self, camera: str, captured: int, arrived: int, behind: int) -> None:
        """Close what is due of this frame's camera, before the frame is placed."""
        due = self._due_of(camera)
        if arrived >= due.at:  # as a tick would have closed it before
            self._close("camera_id = ? AND close_at <= ? ORDER BY close_at, id", camera, arrived)
        changes = bool(behind) != (camera in self._behind)
        if changes:
            self._behind ^= {camera}
            self.record.execute("UPDATE cameras SET behind = ? WHERE id = ?", bool(behind), camera)
        # a backlog's frames come in order of capture: what ended before this one gets no other
        if behind == BACKLOG and captured >= due.end:
            passed, rules = captured - self.rules.lateness, self.rules
            where = "camera_id = ? AND started_at <= ? AND min(started_at + ?, last_at + ?) <= ? ORDER BY started_at"
            self._close(where, camera, passed, rules.window, rules.idle, passed)
        elif changes and not behind:
            self._close("camera_id = ? AND close_at = ? ORDER BY started_at", camera, NEVER)
            sql = "UPDATE events SET sealed = 1 WHERE camera_id = ? AND status = 'closed' AND NOT sealed"
            self.record.execute(sql, camera)

    def _close(self, where: str, *args: Any) -> None:
        for event, camera in self.record.rows(
            f"SELECT id, camera_id FROM events WHERE status = 'open' AND {where}", *args
        ):
            self.writer.close(event, seal=camera not in self._behind)
        self._due = self._read_due()

    def _due_of(self, camera: str) -> _Due:
        return (self._due or {}).get(camera, NOT_DUE)

    def _note_due(self, camera: str, close_at: int, first: int, last: int) -> None:
        due, end, is_held = (
            self._due_of(camera),
            self.rules.deadline(first, last) + self.rules.lateness,
            close_at == NEVER,
        )
        if self._due is not None and (close_at < due.at or end < due.end or is_held > due.is_held):
            self._due[camera] = _Due(min(due.at, close_at), min(due.end, end), due.is_held or is_held)

    # -- placing

    def _place(self, id: int, camera: str, at: int, arrival: int, behind: int) -> int:
        """Find the event of a new frame captured at `at`; its id. The frame's own row is written by the caller."""
        rules, near = (
            self.rules,
            "SELECT id, started_at, last_at, sealed FROM events WHERE camera_id = ? AND status <> 'merged' AND started_at ",
        )
        before = self._neighbour(near + "<= ? ORDER BY started_at DESC LIMIT 1", camera, at)
        after = self._neighbour(near + "> ? ORDER BY started_at LIMIT 1", camera, at)
        joins = before is not None and at < rules.deadline(before.first, before.last)
        first, last = (before.first, max(before.last, at)) if joins and before else (at, at)
        if (
            after
            and not after.sealed
            and not (joins and before and before.sealed)
            and after.first < rules.deadline(first, last)
        ):
            return self._recut(id, camera, at, arrival, behind, first, last)
        if joins and before:
            return self._join(before.id, camera, first, last, arrival, at, behind)
        if after and after.sealed and after.first - at < rules.idle and after.last - at < rules.window:
            return self._join(after.id, camera, at, after.last, arrival, at, behind)
        self._open([(at, id)], camera, arrival, at, behind)
        self.writer.open(id)
        return id

    def _neighbour(self, sql: str, camera: str, at: int) -> Neighbour | None:
        row = self.record.one(sql, camera, at)
        return None if row is None else Neighbour(*row)

    def _join(self, event: int, camera: str, first: int, last: int, arrival: int, at: int, behind: int) -> int:
        close_at = self.rules.close_at(first, last, arrival, behind)
        delay = self._delay(camera, at, arrival)
        grown = self.record.execute(  # leaves the columns alone that indexes and triggers wait for
            "UPDATE events SET last_at = ?, frame_count = frame_count + 1, delay = ?, close_at = max(close_at, ?) "
            "WHERE id = ? AND status = 'open' AND started_at = ?", last, delay, close_at, event, first,
        )  # fmt: skip
        if not grown.rowcount:  # it begins earlier now, or was closed
            self.record.execute(
                "UPDATE events SET started_at = ?, last_at = ?, ended_at = NULL, frame_count = frame_count + 1, delay = ?, "
                "close_at = CASE status WHEN 'open' THEN max(close_at, ?) ELSE ? END, status = 'open' WHERE id = ?",
                first, last, delay, close_at, close_at, event,
            )  # fmt: skip
        self._note_due(camera, close_at, first, last)
        return event

    def _recut(self, id: int, camera: str, at: int, arrival: int, behind: int, start: int, reach: int) -> int:
        """Cut the unsealed events from `start` on again, because a frame came out of order.

        Up to the next sealed one or the first idle gap behind `reach`, where the next event begins anyway.
        """
        now = {event: self._frames(event) for event in self._recut_events(camera, start, reach)}
        frames = [frame for event in now for frame in now[event]]
        parts = {min(i for _, i in part): part for part in cut([*frames, (at, id)], self.rules)}
        mine: int = next(event for event, part in parts.items() if (at, id) in part)
        old = [event for event in now if parts.get(event) != now[event]]  # the others stay as they are
        for event in old:  # makes room: (camera, first) is unique
            self.record.execute("UPDATE events SET status = 'merged' WHERE id = ?", event)
        for event, part in parts.items():
            if now.get(event) != part:
                self._open(part, camera, arrival, at, behind)
                self._move(event, [i for _, i in part if i != id])
                if event in now:
                    self.writer.recut(event)
                else:
                    self.writer.open(event, early=arrival - at < LATE)
        for event in old:
            if event not in parts:
                into = self.record.one("SELECT event_id FROM frames WHERE id = ?", event)[0]
                self.writer.merge(event, into)
        return mine

    def _recut_events(self, camera: str, start: int, reach: int) -> list[int]:
        wall = self.record.one(
            "SELECT coalesce(min(started_at), ?) FROM events WHERE camera_id = ? AND status <> 'merged' AND sealed AND started_at > ?",
            NEVER, camera, start,
        )[0]  # fmt: skip
        out: list[int] = []
        for event, first, last in self.record.execute(
            "SELECT id, started_at, last_at FROM events WHERE camera_id = ? AND status <> 'merged' AND started_at >= ? "
            "AND started_at < ? ORDER BY started_at", camera, start, wall,
        ):  # fmt: skip
            if first - reach >= self.rules.idle:
                break
            out.append(event)
            reach = max(reach, last)
        return out

    def _frames(self, event: int) -> list[tuple[int, int]]:
        """Return (captured_at, id) of the event's frames, in order."""
        sql = "SELECT captured_at, id FROM frames WHERE event_id = ? ORDER BY captured_at, id"
        return [(at, i) for at, i in self.record.rows(sql, event)]

    def _delay(self, camera: str, at: int, arrival: int) -> int:
        """Return how old the news of a picture captured at `at` is: decided − captured, less the camera's own offset."""
        decided = arrival if self._decided is None else self._decided
        return max(0, decided - at - (self.clocks.offset(camera) or 0))

    def _open(self, part: Sequence[tuple[int, int]], camera: str, arrival: int, at: int, behind: int) -> None:
        """Write the row of an event that consists of these (captured_at, id), because a frame captured at `at` came."""
        first, last, event = part[0][0], part[-1][0], min(i for _, i in part)
        close_at = self.rules.close_at(first, last, arrival, behind)
        (uid,) = self.record.one("SELECT uid FROM frames WHERE id = ?", event)
        offset = self.clocks.offset(camera)
        row = (first, len(part), last, close_at, self._delay(camera, at, arrival), event)
        if not self.record.execute(EVENT_AGAIN, *row).rowcount:
            self.record.execute(
                EVENT_NEW, *row, self.writer.batch_id(uid), camera, None if offset is None else offset // 1000
            )
        self._note_due(camera, close_at, first, last)

    def _move(self, event: int, frames: Sequence[int]) -> None:
        self.record.many(
            "UPDATE frames SET event_id = ? WHERE id = ? AND event_id <> ?", [(event, i, event) for i in frames]
        )
        self.record.many(
            "UPDATE detections SET event_id = ? WHERE id BETWEEN ? AND ?",
            [(event, *box_ids(i)) for i in frames],
        )


def _attributes(found: Detection) -> str | None:
    """Return the attributes as they are stored: JSON, by name in order."""
    return json.dumps(dict(found.attributes), sort_keys=True, ensure_ascii=False) if found.attributes else None
