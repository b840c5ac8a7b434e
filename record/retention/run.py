"""Apply retention to one data dir: delete by age, delete by size, clean up. `hearthwatch prune` and the node `retention` run it.

`RetentionRun.run` may be killed at any instant and run again; `RetentionRun.plan` only says what it would delete and why.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.feedback import delete_ended
from hearthwatch.record.lake.export import Lake
from hearthwatch.record.lock import wait_for_lock
from hearthwatch.record.pictures import kept_path
from hearthwatch.record.retention.delete import Deleter, DeletionCounts
from hearthwatch.record.retention.policy import DeletionGroup, RetentionPolicy
from hearthwatch.record.retention.sweep import Sweep
from hearthwatch.record.thumbnails import path as thumbnail_path
from hearthwatch.record.units import DAY, NEVER

ROUNDS_MAX = 5  # of deletion by size: what one frame takes is estimated, so the last per cent takes a second round
VACUUM_PAGES = 500  # x 4 kB released to the file system in one transaction: some 5 ms
LOCK = "keep"
OVER = (
    "the data dir is {} over its limit although all that may be deleted is deleted: {} high or critical events wait for review; "
    "raise HEARTHWATCH_RETENTION_GB or review them"
)
LIMITED = "a third of all events or pictures is deleted, more is old enough: the next run continues, `hearthwatch prune` deletes it now"
STILL_OVER = (
    "the data dir is still {} over its limit: more came in the meantime than was deleted; the next run continues"
)


class PlannedDeletion(NamedTuple):
    """What a run would delete for one reason."""

    reason: str
    events: int
    frames: int
    bytes: int


class RetentionResult(NamedTuple):
    """What a run did. `over`: bytes above the limit that are left; `is_all`: nothing more may be deleted."""

    deleted: DeletionCounts
    orphans: int
    drawn: int
    over: int
    is_all: bool
    kept: int
    """Events that are old enough but not reviewed."""
    is_limited: bool
    """Whether more is old enough, and left for the next run."""

    def __str__(self) -> str:
        done = self.deleted
        words = [
            counted(done.events, "event"),
            counted(done.frames, "picture"),
            f"{counted(done.thumbnails, 'thumbnail')} and {counted(done.uploads, 'upload')} deleted",
            f"{counted(done.pictures, 'kept original')} deleted" if done.pictures else "",
            f"{counted(self.orphans, 'stray file')} deleted" if self.orphans else "",
            f"{counted(self.drawn, 'missing thumbnail')} drawn" if self.drawn else "",
        ]
        return ", ".join(filter(None, words))

    def problems(self) -> list[str]:
        """Return what a person has to fix."""
        lines = [f"{counted(n, 'file')} could not be deleted: {why}" for why, n in self.deleted.refused.items()]
        lines += [LIMITED] if self.is_limited else []
        return lines + (
            [(OVER if self.is_all else STILL_OVER).format(gigabytes(self.over), self.kept)] if self.over else []
        )


class RetentionRun:
    """Applies a policy to a data dir. One per thread."""

    def __init__(self, record: Record, data_dir: Path, base: Path, policy: RetentionPolicy) -> None:
        self.record, self.data_dir, self.base, self.policy = record, data_dir, base, policy
        self.deleter = Deleter(record, data_dir, base, policy)
        self.candidates = self.deleter.candidates
        self.sweep = Sweep(self.deleter)
        self.lake = Lake(record, data_dir)

    def run(self, now: int, stop: Callable[[], bool] = lambda: False, *, share_max: float = 1) -> RetentionResult:
        """Apply retention as of `now` (microseconds) and clean up; delete this share of events and pictures at most.

        Raises:
            RecordError: another process does so, or the record cannot be used.
        """
        with wait_for_lock(LOCK, self.record.path, self.data_dir):
            self.deleter.counts = DeletionCounts()
            self.deleter.allow(*(NEVER if share_max == 1 else int(n * share_max) for n in self._count_kept()))
            self.deleter.finish()
            boundary = self._boundary(now)
            self.deleter.delete(boundary, lambda counts: stop())
            self.deleter.delete_samples(now - self.policy.days * DAY)
            delete_ended(self.record, now)
            over, is_all = self._make_room(stop)
            self.sweep.drop_gone_uploads(stop)
            orphans, drawn = self.sweep.sweep_thumbnails(stop)
            orphans += self.sweep.sweep_pictures(stop)
            kept = self.candidates.count_unreviewed(self._end() if over else boundary)
        return RetentionResult(self.deleter.counts, orphans, drawn, over, is_all, kept, self.deleter.is_limited)

    def plan(self, now: int) -> list[PlannedDeletion]:
        """Estimate what `run` would delete."""
        boundary = self._boundary(now)
        aged = self._estimate(self.candidates.groups(boundary))
        parts = [PlannedDeletion(f"discovered more than {self.policy.days} days ago", *aged)]
        excess = self._excess() - aged[2]
        if excess > 0:
            newer = (group for group in self.candidates.groups(self._end()) if max(group.frames) >= boundary)
            large = self._estimate(newer, excess)
            limit = gigabytes(self.policy.bytes_max or 0)
            parts.append(PlannedDeletion(f"the oldest of the rest, to come below {limit}", *large))
        return parts

    def _estimate(self, groups: Iterator[DeletionGroup], bytes_max: float = float("inf")) -> tuple[int, int, int]:
        """Add up events, frames and bytes, until there are enough of them."""
        events = frames = total = 0
        each = int(self.bytes_each())
        for group in groups:
            events += group.event_id is not None
            frames += len(group.frames)
            total += sum(each + self._file_bytes(frame) for frame in group.frames)
            if total >= bytes_max:
                break
        return events, frames, total

    def _file_bytes(self, frame: int) -> int:
        captured, upload, path = self.record.one(
            "SELECT captured_at, path, thumbnail_path FROM frames WHERE id = ?", frame
        )
        files = (thumbnail_path(frame, captured), kept_path(frame, captured, upload)) if path else ()
        return sum(_size(self.data_dir / file) for file in files)

    def count_kept(self, now: int) -> int:
        """How many events are old enough but not reviewed."""
        return self.candidates.count_unreviewed(self._boundary(now))

    def _boundary(self, now: int) -> int:
        return self.candidates.first_frame_since(now - self.policy.days * DAY)

    # -- room

    def _make_room(self, stop: Callable[[], bool]) -> tuple[int, bool]:
        """Delete the oldest until the data dir is small enough; bytes above the limit that are left, and if that is all."""
        is_all = False
        for _ in range(ROUNDS_MAX):
            excess = self._excess()
            if excess <= 0 or stop() or self.deleter.is_limited:
                break
            each, frames = self.bytes_each(), self.deleter.counts.frames
            enough = excess + self.deleter.counts.bytes + each * frames

            def is_enough(done: DeletionCounts, *, each: float = each, enough: float = enough) -> bool:
                return stop() or done.bytes + each * done.frames >= enough

            self.deleter.delete(self._end(), is_enough)
            self._shrink(stop)
            is_all = self.deleter.counts.frames == frames and not stop() and not self.deleter.is_limited
            if is_all:
                break
        return (0 if stop() else max(0, self._excess())), is_all

    def _end(self) -> int:
        return int(self.record.one("SELECT coalesce(max(id), 0) + 1 FROM frames")[0])

    def _excess(self) -> int:
        return self.size() - self.policy.bytes_max if self.policy.bytes_max else 0

    def size(self) -> int:
        """Bytes that the data dir takes, without an upload tree and other cells that may lie in it."""
        total = sum(file_sizes(self.data_dir, self.base.resolve(), (self.data_dir / "cells").resolve()))
        (vacuum,) = self.record.one("PRAGMA auto_vacuum")
        return total if vacuum else total - self._free()  # the file of an old record cannot shrink, but is used again

    def _free(self) -> int:
        (pages,), (size,) = self.record.one("PRAGMA freelist_count"), self.record.one("PRAGMA page_size")
        return int(pages * size)

    def bytes_each(self) -> float:
        """Estimate what a kept frame takes in record and lake."""
        rows = (
            sum(path.stat().st_size for path in self.lake.folder.rglob("*.parquet")) if self.lake.folder.is_dir() else 0
        )
        (pages,), (size,) = self.record.one("PRAGMA page_count"), self.record.one("PRAGMA page_size")
        return float(rows + pages * size - self._free()) / max(1, self._count_kept()[1])

    def _count_kept(self) -> tuple[int, int]:
        """How many events and frames there are."""
        (pruned,), n = self.record.one("SELECT count(*) FROM frames WHERE pruned > 0"), self.record.counters()
        return n["events"], n["settled"] + n["quarantined"] + n["discovered"] - int(pruned)

    def _shrink(self, stop: Callable[[], bool]) -> None:
        """Release free pages to the file system, and rewrite the hours that lost rows."""
        with wait_for_lock("lake", self.record.path, self.data_dir):
            self.lake.seed()
            self.lake.export(stop)
        while self._free() and not stop():
            before = self._free()
            self.record.pragma(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
            if self._free() >= before:
                break
        self.record.pragma("PRAGMA wal_checkpoint(TRUNCATE)")


def file_sizes(folder: Path, *without: Path) -> Iterator[int]:
    """Yield the size of each file below a folder, in bytes, but for the folders `without`."""
    for at, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if (Path(at) / name).resolve() not in without]
        yield from (_size(Path(at) / name) for name in files)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"


def counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
