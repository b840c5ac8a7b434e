"""The housekeeping of one data dir: forget by age, forget by size, tidy up. What `hearthwatch prune` and the node run.

`RetentionRun.run` may be killed at any instant and run again; `RetentionRun.plan` says what it would do and why, and does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.lake.export import Lake
from hearthwatch.record.lock import wait_for_lock
from hearthwatch.record.retention.delete import Deleter, DeletionCounts, DeletionGroup, RetentionPolicy
from hearthwatch.record.retention.sweep import Sweep
from hearthwatch.record.thumbnails import path as thumbnail_path
from hearthwatch.record.units import DAY

ROUNDS_MAX = 5  # of forgetting by size: what one frame takes is estimated, so the last per cent takes a second look
VACUUM_PAGES = 500  # x 4 kB given back to the file system in one transaction: some 5 ms
LOCK = "keep"
OVER = (
    "the data dir is {} over its limit although all that may be forgotten is: {} high or critical events wait for review; "
    "raise HEARTHWATCH_RETENTION_GB or review them"
)
STILL_OVER = "the data dir is still {} over its limit: more came meanwhile than was forgotten; the next run goes on"


class PlannedDeletion(NamedTuple):
    """What a run would forget for one reason."""

    reason: str
    events: int
    frames: int
    bytes: int


class RetentionResult(NamedTuple):
    """What a run did. `over`: bytes above the limit that are left; `all_gone`: there is nothing more to forget."""

    forgotten: DeletionCounts
    orphans: int
    drawn: int
    over: int
    all_gone: bool
    kept: int
    """Old enough, but nobody has reviewed them."""

    def __str__(self) -> str:
        done = self.forgotten
        words = [
            counted(done.events, "event"),
            f"{counted(done.frames, 'picture')} forgotten",
            f"{counted(done.thumbnails, 'thumbnail')} and {counted(done.uploads, 'upload')} deleted",
            f"{counted(self.orphans, 'stray file')} deleted" if self.orphans else "",
            f"{counted(self.drawn, 'missing thumbnail')} drawn" if self.drawn else "",
        ]
        return ", ".join(filter(None, words))

    def problems(self) -> list[str]:
        """What a person has to mend."""
        refused = [f"{counted(n, 'file')} could not be deleted: {why}" for why, n in self.forgotten.refused.items()]
        over = OVER if self.all_gone else STILL_OVER
        return refused + ([over.format(gigabytes(self.over), self.kept)] if self.over else [])


class RetentionRun:
    """One per thread."""

    def __init__(self, record: Record, data_dir: Path, base: Path, rules: RetentionPolicy) -> None:
        self.record, self.data_dir, self.base, self.rules = record, data_dir, base, rules
        self.retention = Deleter(record, data_dir, base, rules)
        self.tidy = Sweep(self.retention)
        self.lake = Lake(record, data_dir)

    def run(self, now: int, stop: Callable[[], bool] = lambda: False) -> RetentionResult:
        """Apply retention as of `now` (microseconds) and tidy up. Raises RecordError when another process does so."""
        with wait_for_lock(self.data_dir, LOCK):
            self.retention.done = DeletionCounts()
            self.retention.finish()
            boundary = self.retention.older_than(now - self.rules.days * DAY)
            self.retention.forget(boundary, lambda done: stop())
            self.retention.forget_samples(now - self.rules.days * DAY)
            over, all_gone = self._make_room(stop)
            self.tidy.uploads(stop)
            orphans, drawn = self.tidy.pictures(stop)
            kept = self.retention.unreviewed(self._end() if over else boundary)
        return RetentionResult(self.retention.done, orphans, drawn, over, all_gone, kept)

    def plan(self, now: int) -> list[PlannedDeletion]:
        """What `run` would forget."""
        boundary = self.retention.older_than(now - self.rules.days * DAY)
        aged = DeletionEstimate(self, self.retention.groups(boundary)).take()
        parts = [PlannedDeletion(f"discovered more than {self.rules.days} days ago", *aged)]
        excess = self._excess() - aged[2]
        if excess > 0:
            newer = (group for group in self.retention.groups(self._end()) if max(group.frames) >= boundary)
            large = DeletionEstimate(self, newer).take(excess)
            parts.append(
                PlannedDeletion(f"the oldest of the rest, to come below {gigabytes(self.rules.bytes_max or 0)}", *large)
            )
        return parts

    # -- room

    def _make_room(self, stop: Callable[[], bool]) -> tuple[int, bool]:
        """Forget the oldest until the data dir is small enough; bytes above the limit that are left, and if that is all."""
        all_gone = False
        for _ in range(ROUNDS_MAX):
            excess = self._excess()
            if excess <= 0 or stop():
                break
            each, start, frames = self.bytes_each(), self.retention.done.bytes, self.retention.done.frames

            def enough(
                done: DeletionCounts, *, e: int = excess, each: float = each, b: int = start, f: int = frames
            ) -> bool:
                return stop() or done.bytes - b + each * (done.frames - f) >= e

            self.retention.forget(self._end(), enough)
            self._shrink(stop)
            all_gone = self.retention.done.frames == frames and not stop()
            if all_gone:
                break
        return (0 if stop() else max(0, self._excess())), all_gone

    def _end(self) -> int:
        return int(self.record.one("SELECT coalesce(max(id), 0) + 1 FROM frames")[0])

    def _excess(self) -> int:
        return self.size() - self.rules.bytes_max if self.rules.bytes_max else 0

    def size(self) -> int:
        """Bytes that the data dir takes, without an upload tree that may lie in it."""
        total = sum(_sizes(self.data_dir, self.base.resolve()))
        (vacuum,) = self.record.one("PRAGMA auto_vacuum")
        return total if vacuum else total - self._free()  # the file of an old record cannot shrink, but is used again

    def _free(self) -> int:
        (pages,), (size,) = self.record.one("PRAGMA freelist_count"), self.record.one("PRAGMA page_size")
        return int(pages * size)

    def bytes_each(self) -> float:
        """What a kept frame takes in record and lake, about."""
        rows = (
            sum(path.stat().st_size for path in self.lake.folder.rglob("*.parquet")) if self.lake.folder.is_dir() else 0
        )
        (pages,), (size,) = self.record.one("PRAGMA page_count"), self.record.one("PRAGMA page_size")
        (forgotten,) = self.record.one("SELECT count(*) FROM frames WHERE pruned > 0")
        kept = sum(self.record.counters()[state] for state in ("settled", "quarantined", "discovered")) - int(forgotten)
        return float(rows + pages * size - self._free()) / max(1, kept)

    def _shrink(self, stop: Callable[[], bool]) -> None:
        """Give free pages back to the file system, and rewrite the hours that lost rows."""
        with wait_for_lock(self.data_dir, "lake"):
            self.lake.seed()
            self.lake.export(stop)
        while self._free() and not stop():
            before = self._free()
            self.record.pragma(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
            if self._free() >= before:
                break
        self.record.pragma("PRAGMA wal_checkpoint(TRUNCATE)")


class DeletionEstimate:
    """Adds up what groups come to."""

    def __init__(self, keeper: RetentionRun, groups: Iterator[DeletionGroup]) -> None:
        self.keeper, self.groups = keeper, groups
        self.each = keeper.bytes_each()

    def take(self, bytes_max: float = float("inf")) -> tuple[int, int, int]:
        """Events, frames and bytes, until there are enough of them."""
        events = frames = total = 0
        for group in self.groups:
            events += group.event_id is not None
            frames += len(group.frames)
            total += sum(self._bytes(frame) for frame in group.frames)
            if total >= bytes_max:
                break
        return events, frames, total

    def _bytes(self, frame: int) -> int:
        captured, path = self.keeper.record.one("SELECT captured_at, thumbnail_path FROM frames WHERE id = ?", frame)
        return int(self.each) + (_size(self.keeper.data_dir / thumbnail_path(frame, captured)) if path else 0)


def _sizes(folder: Path, without: Path) -> Iterator[int]:
    for at, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if (Path(at) / name).resolve() != without]
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
