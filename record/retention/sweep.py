"""Files and rows are brought together again: files that belong to nothing go, thumbnails that were left out are drawn.

Bounded work at a time, going on where the last one ended, so that a large data dir is seen through in some hours.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.retention.delete import Deleter
from hearthwatch.record.thumbnails import ThumbnailError, find
from hearthwatch.record.units import DAY, SECOND
from hearthwatch.schemas.items import to_microseconds

YOUNG_SECONDS = 600.0  # a file that is being written, and a folder that one is put into, is younger than this
ROWS_AT_ONCE = 500
LOOKS_MAX = 50_000  # files looked at in one run: some seconds of a thread of low priority
DRAWN_MAX = 2_000  # x 10 ms


class ThumbnailDay(NamedTuple):
    """One day of thumbnails, compared with the record."""

    path: Path
    orphans: list[Path]
    missing: list[int]
    """Frames whose thumbnail is not there."""
    looks: int


class Sweep:
    """Sweeps. One per thread, for the life of the process; the caller has the turn `keep`."""

    def __init__(self, retention: Deleter) -> None:
        self.retention, self.record = retention, retention.record
        self.thumbnails = retention.data_dir / "thumbnails"
        self._row, self._days = 0, list[str]()

    def uploads(self, stop: Callable[[], bool]) -> int:
        """Drop the rows of forgotten pictures whose uploads are gone by now; how many."""
        dropped = looks = 0
        while looks < LOOKS_MAX and not stop():
            rows = self.retention._rows("pruned = 2 AND id > ? ORDER BY id LIMIT ?", self._row, ROWS_AT_ONCE)
            if not rows:
                self._row = 0
                break
            dropped += self.retention.settle(rows)
            looks, self._row = looks + len(rows), rows[-1].id
        return dropped

    def pictures(self, stop: Callable[[], bool]) -> tuple[int, int]:
        """Delete thumbnails that belong to no frame, draw those that are missing; how many of each."""
        deleted = drawn = looks = 0
        while looks < LOOKS_MAX and drawn < DRAWN_MAX and not stop():
            self._days = self._days or days(self.record, self.thumbnails)
            if not self._days:
                break
            folder = compare(self.record, self.thumbnails / self._days.pop())
            deleted += sum(_deleted(path) for path in folder.orphans)
            drawn += sum(self._draw(frame) for frame in folder.missing[: DRAWN_MAX - drawn] if not stop())
            _remove_if_empty(folder.path)
            looks += folder.looks
            if not self._days:
                break
        return deleted, drawn

    def _draw(self, frame: int) -> bool:
        try:
            find(self.record, self.retention.data_dir, self.retention.base, frame)
        except (ThumbnailError, OSError):
            return False
        return True


def days(record: Record, thumbnails: Path) -> list[str]:
    """Every day that has frames or a folder, oldest first."""
    found = {path.name for path in thumbnails.glob("????-??-??")} if thumbnails.is_dir() else set()
    at, sql = 0, "SELECT min(captured_at) FROM frames WHERE captured_at >= ?"
    while (first := record.one(sql, at)[0]) is not None:
        found.add(time.strftime("%Y-%m-%d", time.gmtime(first // SECOND)))
        at = (first // DAY + 1) * DAY
    return sorted(found)


def compare(record: Record, folder: Path) -> ThumbnailDay:
    """Which thumbnails of this day belong to nothing, and which frames lack theirs."""
    there = {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}
    wanted: set[str] = set()
    missing: list[int] = []
    for frame, name in _wanted(record, folder.name):
        wanted.add(name)
        if name not in there:
            missing.append(frame)
    orphans = [path for name, path in there.items() if name not in wanted and _belongs_to_nothing(record, path)]
    return ThumbnailDay(folder, orphans, missing, len(there) + len(wanted))


def _belongs_to_nothing(record: Record, path: Path) -> bool:
    """A thumbnail may be there before its frame is decided, and a hidden file is one that is being written."""
    if path.name.startswith("."):
        return _age(path) < time.time() - YOUNG_SECONDS
    if (number := re.fullmatch(r"(\d{1,18})_thumb\.jpg", path.name)) is None:
        return True
    sql = "SELECT 1 FROM frames WHERE id = ? AND pruned = 0 AND (state = 'discovered' OR thumbnail_path LIKE ?)"
    return record.one(sql, int(number[1]), f"%/{path.parent.name}/{path.name}") is None


def _wanted(record: Record, day: str) -> Iterator[tuple[int, str]]:
    """The frames of a day that have a thumbnail, and its name; in pages, so that no reader is in the way for long."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", day):
        return
    start = to_microseconds(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC))
    last = (start, -1)
    sql = (
        "SELECT captured_at, id, thumbnail_path FROM frames WHERE (captured_at, id) > (?, ?) AND captured_at < ? "
        "ORDER BY captured_at, id LIMIT ?"
    )
    while rows := record.rows(sql, *last, start + DAY, ROWS_AT_ONCE):
        yield from ((frame, path.rsplit("/", 1)[-1]) for _, frame, path in rows if path is not None)
        last = rows[-1][:2]


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return float("inf")


def _deleted(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True


def _remove_if_empty(folder: Path) -> None:
    """A day's folder that nothing was put into for a while."""
    try:
        if folder.is_dir() and _age(folder) < time.time() - YOUNG_SECONDS:
            folder.rmdir()
    except OSError:
        pass  # it is not empty
