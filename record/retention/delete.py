"""Delete events, frames and their files, whole events at a time, in small transactions with pauses between.

A kill at any step is finished by the next run: rows are marked in one transaction with the deletion of all that depends on
them → files are unlinked → rows are deleted; the lake's hours are marked by the record's triggers. A frame whose upload still
exists keeps its row in the ledger (`pruned = 2`), so that discovery does not take it in again.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hearthwatch.record import Record, journal
from hearthwatch.record.alerts import delete_alerts
from hearthwatch.record.conditions import delete_old
from hearthwatch.record.disk import sync_folder
from hearthwatch.record.events import delete_events
from hearthwatch.record.paths import unescape
from hearthwatch.record.pictures import kept_path
from hearthwatch.record.retention.policy import DeletionCandidates, DeletionGroup, RetentionPolicy
from hearthwatch.record.thumbnails import path as thumbnail_path
from hearthwatch.record.units import NEVER

log = logging.getLogger(__name__)

FRAMES_AT_ONCE = 100  # in one transaction: some 10 ms in which no other process can write; one event may be more
DROPPED_AT_ONCE = 2 * FRAMES_AT_ONCE  # most steps are a little larger than one: they delete all their rows at once
PAUSE_SHARE = 1.0  # seconds of pause for each second of work
PAUSE_SECONDS_MAX = 0.2


@dataclass
class DeletionCounts:
    """What a run deleted."""

    events: int = 0
    frames: int = 0
    thumbnails: int = 0
    pictures: int = 0
    """Kept originals."""
    uploads: int = 0
    bytes: int = 0
    """Of thumbnails, kept originals and uploads."""
    refused: dict[str, int] = field(default_factory=dict)
    """Files that could not be deleted, by reason."""

    def is_empty(self) -> bool:
        return not (self.events or self.frames or self.thumbnails or self.uploads)


class PrunedFrame(NamedTuple):
    """A frame that is deleted: what its files and its place in the ledger need."""

    id: int
    camera_id: str | None
    path: str
    mtime_ns: int
    size: int
    captured_at: int
    arrived_at: int
    state: str


class Deleter:
    """Deletes what the policy allows. One per thread; the caller has the lock `keep`."""

    def __init__(self, record: Record, data_dir: Path, base: Path, policy: RetentionPolicy) -> None:
        self.record, self.data_dir, self.base, self.policy = record, data_dir, base, policy
        self.candidates = DeletionCandidates(record, policy)
        self.counts = DeletionCounts()
        self.allow(NEVER, NEVER)

    def allow(self, events: int, frames: int) -> None:
        """Limit how many are deleted from now on; one group is always allowed."""
        self._left, self._is_first, self.is_limited = (events, frames), True, False

    def delete(self, before: int, is_enough: Callable[[DeletionCounts], bool] = lambda counts: False) -> None:
        """Delete everything below this frame id that may be deleted, or until `is_enough`."""
        waiting: list[DeletionGroup] = []
        for group in self.candidates.groups(before):
            if not self._is_allowed(group):
                break
            waiting.append(group)
            if sum(len(g.frames) for g in waiting) >= FRAMES_AT_ONCE:
                self._step(waiting)
                waiting = []
                if is_enough(self.counts):
                    return
        self._step(waiting)
        if not self.is_limited:
            self._delete_merged(before)

    def _is_allowed(self, group: DeletionGroup) -> bool:
        events, frames = self._left[0] - (group.event_id is not None), self._left[1] - len(group.frames)
        self.is_limited = not self._is_first and min(events, frames) < 0
        self._left, self._is_first = (self._left if self.is_limited else (events, frames)), False
        return not self.is_limited

    def finish(self) -> None:
        """Finish what a kill left half done: rows that are marked, and files that may still exist."""
        while rows := self.frames("pruned = 1 LIMIT ?", FRAMES_AT_ONCE):
            self._drop(rows)

    def delete_samples(self, before: int) -> None:
        """Delete GPU samples, system messages, alerts and items of journals from before this time (microseconds)."""
        delete_old(self.record, before)
        journal.delete_old(self.record, before)
        while self.record.transact(lambda: delete_alerts(self.record, "at < ?", before)):
            pass
        sql = "DELETE FROM gpu_stats WHERE id IN (SELECT id FROM gpu_stats WHERE recorded_at < ? LIMIT 1000)"
        while self.record.transact(lambda: self.record.execute(sql, before).rowcount):
            pass

    def _step(self, groups: Sequence[DeletionGroup]) -> None:
        """One transaction that marks, the files, one transaction that deletes; then a pause for other writers."""
        if not groups:
            return
        began = time.monotonic()
        marked = self.record.transact(lambda: self._mark(groups))
        self.counts.events += sum(group.event_id is not None for group in marked)
        frames = [frame for group in marked for frame in group.frames]
        self.counts.frames += len(frames)
        for start in range(0, len(frames), DROPPED_AT_ONCE):
            part = frames[start : start + DROPPED_AT_ONCE]
            self._drop(self.frames(f"id IN ({','.join('?' * len(part))}) AND pruned = 1", *part))
        time.sleep(min(PAUSE_SECONDS_MAX, PAUSE_SHARE * (time.monotonic() - began)))

    def _mark(self, groups: Sequence[DeletionGroup]) -> list[DeletionGroup]:
        """In a transaction: delete events and detections, mark the frames; late frames may have come since."""
        unchanged = [
            g
            for g in groups
            if g.event_id is None or sorted(self.candidates.frames_of(g.event_id, NEVER)) == sorted(g.frames)
        ]
        events = [group.event_id for group in unchanged if group.event_id is not None]
        delete_events(self.record, events, [frame for group in unchanged for frame in group.frames], pruned=True)
        return unchanged

    def _delete_merged(self, before: int) -> None:
        """Delete events that were merged into others: they have no frames."""

        def delete() -> int:
            sql = "SELECT id FROM events WHERE status = 'merged' AND id < ? LIMIT ?"
            events = [i for (i,) in self.record.rows(sql, before, FRAMES_AT_ONCE)]
            delete_events(self.record, events, [])
            return len(events)

        while self.record.transact(delete):
            pass

    # -- files, and the rows behind them

    def frames(self, where: str, *args: object) -> list[PrunedFrame]:
        sql = f"SELECT {', '.join(PrunedFrame._fields)} FROM frames WHERE {where}"
        return [PrunedFrame(*row) for row in self.record.rows(sql, *args)]

    def _drop(self, rows: Sequence[PrunedFrame]) -> None:
        """Delete the thumbnails and kept originals of these frames, then the rows of those whose uploads are gone."""
        for row in rows:
            self.counts.thumbnails += self._unlink(self.data_dir / thumbnail_path(row.id, row.captured_at))
            self.counts.pictures += self._unlink(self.data_dir / kept_path(row.id, row.captured_at, row.path))
        self.drop_rows(rows)

    def drop_rows(self, rows: Sequence[PrunedFrame]) -> int:
        """Delete the rows of those frames whose uploads are gone, after deleting uploads if the policy says so; how many."""
        gone = [row for row in rows if self._is_gone(row)]
        if self.policy.originals:
            for folder in {self.upload(row).parent for row in gone}:
                sync_folder(folder, missing_ok=True)  # a power cut must not bring back a file whose row is deleted
        ids = {row.id for row in gone}
        self.record.transact(lambda: self._delete_rows(gone, [row for row in rows if row.id not in ids]))
        return len(gone)

    def _delete_rows(self, gone: Sequence[PrunedFrame], kept: Sequence[PrunedFrame]) -> None:
        self.record.many("DELETE FROM frames WHERE id = ?", [(row.id,) for row in gone])
        self.record.many("UPDATE frames SET pruned = 2 WHERE id = ? AND pruned = 1", [(row.id,) for row in kept])
        for state in ("settled", "quarantined"):
            self.record.count(**{state: -sum(row.state == state for row in gone)})
        if gone:  # the arrival clock never goes back, even if no frame is left
            clock = max(row.arrived_at for row in gone)
            self.record.execute(
                "INSERT INTO meta VALUES ('clock', ?) ON CONFLICT DO UPDATE SET value = max(CAST(value AS INTEGER), CAST(excluded.value AS INTEGER))",
                str(clock),
            )

    def upload(self, row: PrunedFrame) -> Path:
        return self.base / os.fsdecode(unescape(row.path))

    def _is_gone(self, row: PrunedFrame) -> bool:
        """Whether discovery cannot find this upload again: it is not there, or another one has taken its place.

        A camera's folder that does not exist may be a disk that is not mounted: then the upload counts as present.
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
        if not self.policy.originals or self._is_retried(row) or not self._unlink(upload):
            return False
        self.counts.uploads += 1
        return True

    def _is_retried(self, row: PrunedFrame) -> bool:
        """Whether a kept frame, a retry, was made from the same upload."""
        sql = "SELECT 1 FROM frames WHERE path = ? AND mtime_ns = ? AND size = ? AND id <> ? AND pruned = 0"
        return self.record.one(sql, row.path, row.mtime_ns, row.size, row.id) is not None

    def _folder(self, row: PrunedFrame) -> Path:
        """Return the camera's folder, whose presence shows that the disk is mounted."""
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
            self.counts.refused[reason] = self.counts.refused.get(reason, 0) + 1
            return False
        self.counts.bytes += size
        return True
