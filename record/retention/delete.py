"""Deleter: what is too old, or too much, is forgotten; whole events at a time, the oldest first.

A kill at any step leaves nothing half forgotten: rows are marked in one transaction with all that hangs on them → files
are unlinked → rows are dropped, and the lake's hours are noted by the record itself. A picture whose upload is still there
keeps its row in the ledger (`pruned = 2`), so that it is not taken in again. Never forgotten: what is not decided, events
that are open, and high or critical ones that nobody has reviewed, unless told to. Small transactions, with pauses between.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.paths import unescape
from hearthwatch.record.thumbnails import path as thumbnail_path
from hearthwatch.record.units import ALARMING_LEVELS, NEVER, box_ids

log = logging.getLogger(__name__)

FRAMES_AT_ONCE = 100  # in one transaction: some 10 ms in which nobody else can write; one event may be more
DROPPED_AT_ONCE = 2 * FRAMES_AT_ONCE  # most steps are a little larger than one: they drop all their rows at once
PAUSE_SHARE = 1.0  # seconds of pause for each second of work
PAUSE_SECONDS_MAX = 0.2


class RetentionPolicy(NamedTuple):
    """What may stay."""

    days: int = 30
    bytes_max: int | None = None
    """The most that the data dir may take."""
    originals: bool = False
    """Delete uploads, too."""
    unreviewed: bool = False
    """Forget unreviewed high and critical events as well."""


class DeletionGroup(NamedTuple):
    """What is forgotten together: an event with its frames, or a frame without one."""

    event_id: int | None
    frames: list[int]


@dataclass
class DeletionCounts:
    """What came of a run."""

    events: int = 0
    frames: int = 0
    thumbnails: int = 0
    uploads: int = 0
    bytes: int = 0
    """Of thumbnails and uploads."""
    refused: dict[str, int] = field(default_factory=dict)
    """Files that could not be deleted, by reason."""

    def counts(self) -> tuple[int, ...]:
        return self.events, self.frames, self.thumbnails, self.uploads


class Row(NamedTuple):
    """A frame that is forgotten, as far as its files and its place in the ledger go."""

    id: int
    camera_id: str | None
    path: str
    mtime_ns: int
    size: int
    captured_at: int
    arrived_at: int
    state: str


class Deleter:
    """Forgets. One per thread; the caller has the turn `keep`."""

    def __init__(self, record: Record, data_dir: Path, base: Path, rules: RetentionPolicy) -> None:
        self.record, self.data_dir, self.base, self.rules = record, data_dir, base, rules
        self.done = DeletionCounts()

    # -- what may be forgotten

    def older_than(self, at: int) -> int:
        """The first frame id that was discovered at or after `at` (microseconds): ids grow with discovery."""
        (low, high) = self.record.one("SELECT coalesce(min(id), 1), coalesce(max(id), 0) + 1 FROM frames")
        while low < high:
            middle = (low + high) // 2
            row = self.record.one("SELECT id, discovered_at FROM frames WHERE id >= ? ORDER BY id LIMIT 1", middle)
            if row and row[0] < high and row[1] < at:
                low = row[0] + 1
            else:
                high = middle
        return int(low)

    def groups(self, before: int) -> Iterator[DeletionGroup]:
        """Everything below this frame id that may be forgotten, the oldest first."""
        last, sql = 0, (
            "SELECT id, event_id FROM frames WHERE id > ? AND id < ? AND pruned = 0 AND state <> 'discovered' "
            "AND (event_id IS NULL OR event_id = id) ORDER BY id LIMIT ?"
        )  # fmt: skip
        while rows := self.record.rows(sql, last, before, FRAMES_AT_ONCE):
            for frame, event in rows:
                if event is None:
                    yield DeletionGroup(None, [frame])
                elif frames := self._of_event(event, before):
                    yield DeletionGroup(event, frames)
            last = rows[-1][0]

    def _of_event(self, event: int, before: int) -> list[int]:
        """The frames of this event if it may be forgotten."""
        may = f"SELECT status = 'closed' AND (? OR reviewed OR NOT coalesce(risk_level IN {ALARMING_LEVELS}, 0)) FROM events WHERE id = ?"
        if not self.record.one(may, self.rules.unreviewed, event)[0]:
            return []
        frames = [i for (i,) in self.record.rows("SELECT id FROM frames WHERE event_id = ?", event)]
        return frames if max(frames) < before else []

    def unreviewed(self, before: int) -> int:
        """How many events are kept only because nobody has looked at them."""
        sql = f"SELECT count(*) FROM events WHERE id < ? AND status = 'closed' AND NOT reviewed AND risk_level IN {ALARMING_LEVELS}"
        return 0 if self.rules.unreviewed else int(self.record.one(sql, before)[0])

    # -- forgetting

    def forget(self, before: int, enough: Callable[[DeletionCounts], bool] = lambda done: False) -> None:
        """Forget everything below this frame id that may be, or until it is `enough`."""
        waiting: list[DeletionGroup] = []
        for group in self.groups(before):
            waiting.append(group)
            if sum(len(g.frames) for g in waiting) >= FRAMES_AT_ONCE:
                self._step(waiting)
                waiting = []
                if enough(self.done):
                    return
        self._step(waiting)
        self._forget_merged(before)

    def finish(self) -> None:
        """What a kill left half done: rows that are marked, and files that may still be there."""
        while rows := self._rows("pruned = 1 LIMIT ?", FRAMES_AT_ONCE):
            self._drop(rows)

    def forget_samples(self, at: int) -> None:
        """Samples of the machine from before `at` (microseconds)."""
        sql = "DELETE FROM gpu_stats WHERE id IN (SELECT id FROM gpu_stats WHERE recorded_at < ? LIMIT 1000)"
        while self.record.transact(lambda: self.record.execute(sql, at).rowcount):
            pass

    def _step(self, groups: Sequence[DeletionGroup]) -> None:
        """One transaction that marks, the files, one transaction that drops; then a pause for those who wait."""
        if not groups:
            return
        began = time.monotonic()
        marked = self.record.transact(lambda: self._mark(groups))
        self.done.events += sum(group.event_id is not None for group in marked)
        frames = [frame for group in marked for frame in group.frames]
        self.done.frames += len(frames)
        for start in range(0, len(frames), DROPPED_AT_ONCE):
            part = frames[start : start + DROPPED_AT_ONCE]
            self._drop(self._rows(f"id IN ({','.join('?' * len(part))}) AND pruned = 1", *part))
        time.sleep(min(PAUSE_SECONDS_MAX, PAUSE_SHARE * (time.monotonic() - began)))

    def _mark(self, groups: Sequence[DeletionGroup]) -> list[DeletionGroup]:
        """In a transaction: whoever asks finds neither events nor detections any more. Late frames may have come since."""
        before = NEVER
        still = [
            g for g in groups if g.event_id is None or sorted(self._of_event(g.event_id, before)) == sorted(g.frames)
        ]
        ranges = [box_ids(i) for group in still for i in group.frames]
        boxes = self.record.many("DELETE FROM detections WHERE id BETWEEN ? AND ?", ranges)
        self.record.many("DELETE FROM suppressed WHERE id BETWEEN ? AND ?", ranges)
        self.record.many(
            "UPDATE frames SET pruned = 1, event_id = NULL, thumbnail_path = NULL WHERE id = ?",
            [(i,) for group in still for i in group.frames],
        )
        events = [group.event_id for group in still if group.event_id is not None]
        self._erase(events)
        self.record.count(detections=-max(0, boxes), events=-len(events))
        return still

    def _erase(self, events: Sequence[int]) -> None:
        """An event with its history and messages."""
        keys = [(event,) for event in events]
        self.record.many("DELETE FROM feed WHERE event_id = ?", keys)
        self.record.many("DELETE FROM event_history WHERE event_id = ? AND NOT shadow", keys)
        self.record.many("DELETE FROM event_history WHERE event_id = ? AND shadow", keys)  # each half has its own index
        self.record.many("DELETE FROM events WHERE id = ?", keys)

    def _forget_merged(self, before: int) -> None:
        """Events that were swallowed by others: they have no frames."""

        def erase() -> int:
            sql = "SELECT id FROM events WHERE status = 'merged' AND id < ? LIMIT ?"
            events = [i for (i,) in self.record.rows(sql, before, FRAMES_AT_ONCE)]
            self._erase(events)
            return len(events)

        while self.record.transact(erase):
            pass

    # -- files, and the rows behind them

    def _rows(self, where: str, *args: object) -> list[Row]:
        sql = f"SELECT {', '.join(Row._fields)} FROM frames WHERE {where}"
        return [Row(*row) for row in self.record.rows(sql, *args)]

    def _drop(self, rows: Sequence[Row]) -> None:
        """Delete the files of these, then the rows, but for those whose upload is still there."""
        for row in rows:
            self.done.thumbnails += self._unlink(self.data_dir / thumbnail_path(row.id, row.captured_at))
        self.settle(rows)

    def settle(self, rows: Sequence[Row]) -> int:
        """Drop the rows of these forgotten frames whose uploads are gone, after deleting them if told to; how many."""
        gone = [row for row in rows if self._gone(row)]
        if self.rules.originals:
            for folder in {self.upload(row).parent for row in gone}:
                _fsync(folder)  # a power cut must not bring back a file whose row is dropped
        ids = {row.id for row in gone}
        self.record.transact(lambda: self._settle(gone, [row for row in rows if row.id not in ids]))
        return len(gone)

    def _settle(self, gone: Sequence[Row], there: Sequence[Row]) -> None:
        self.record.many("DELETE FROM frames WHERE id = ?", [(row.id,) for row in gone])
        self.record.many("UPDATE frames SET pruned = 2 WHERE id = ? AND pruned = 1", [(row.id,) for row in there])
        for state in ("settled", "quarantined"):
            self.record.count(**{state: -sum(row.state == state for row in gone)})
        if gone:  # the arrival clock never goes back, also if no frame is left to tell how far it was
            clock = max(row.arrived_at for row in gone)
            self.record.execute(
                "INSERT INTO meta VALUES ('clock', ?) ON CONFLICT DO UPDATE SET value = max(CAST(value AS INTEGER), CAST(excluded.value AS INTEGER))",
                str(clock),
            )

    def upload(self, row: Row) -> Path:
        return self.base / os.fsdecode(unescape(row.path))

    def _gone(self, row: Row) -> bool:
        """Whether discovery cannot find this upload again: it is not there, or another one has taken its place.

        A folder that is missing as a whole may be a disk that is not mounted: then nobody knows.
        """
        upload = self.upload(row)
        try:
            found = upload.stat()
        except FileNotFoundError:
            return self._folder(row).is_dir()
        except OSError:
            return False
        if (found.st_mtime_ns, found.st_size) != (row.mtime_ns, row.size):
            return True
        if not self.rules.originals or self._wanted(row) or not self._unlink(upload):
            return False
        self.done.uploads += 1
        return True

    def _wanted(self, row: Row) -> bool:
        """Whether a frame that is kept was made from the same upload: a retry."""
        sql = "SELECT 1 FROM frames WHERE path = ? AND mtime_ns = ? AND size = ? AND id <> ? AND pruned = 0"
        return self.record.one(sql, row.path, row.mtime_ns, row.size, row.id) is not None

    def _folder(self, row: Row) -> Path:
        """The folder whose presence says that the disk is there: that of the camera."""
        upload = self.upload(row)
        return self.base / upload.relative_to(self.base).parts[0] if upload.is_relative_to(self.base) else upload.parent

    def _unlink(self, path: Path) -> bool:
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            reason = f"{path.parent}: {error.strerror}"
            self.done.refused[reason] = self.done.refused.get(reason, 0) + 1
            return False
        self.done.bytes += size
        return True


def _fsync(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
