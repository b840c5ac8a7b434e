"""Compare files with rows: delete thumbnails and kept originals that belong to no row, draw thumbnails that are missing.

Bounded work per run; the next run continues where the last one stopped, so a large data dir takes some hours.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.pictures import FOLDER, kept_path
from hearthwatch.record.retention.delete import Deleter
from hearthwatch.record.thumbnails import ThumbnailError, find
from hearthwatch.record.units import DAY, SECOND
from hearthwatch.schemas.items import to_microseconds

YOUNG_SECONDS = 600.0  # a file that is being written, and a folder that one is put into, is younger than this
ROWS_AT_ONCE = 500
CHECKS_MAX = 50_000  # files checked in one run: some seconds of a thread of low priority
DRAWN_MAX = 2_000  # x 10 ms


class ThumbnailDay(NamedTuple):
    """One day of thumbnails, compared with the record."""

    path: Path
    orphans: list[Path]
    missing: list[int]
    """Frames whose thumbnail is not there."""
    checks: int


class Sweep:
    """Compares files with rows. One per thread, for the life of the process; the caller has the lock `keep`."""

    def __init__(self, deleter: Deleter) -> None:
        self.deleter, self.record = deleter, deleter.record
        self.thumbnails = deleter.data_dir / "thumbnails"
        self._row, self._days = 0, list[str]()

    def drop_gone_uploads(self, stop: Callable[[], bool]) -> int:
        """Delete the rows of deleted frames whose uploads are gone by now; how many."""
        dropped = checks = 0
        while checks < CHECKS_MAX and not stop():
            rows = self.deleter.frames("pruned = 2 AND id > ? ORDER BY id LIMIT ?", self._row, ROWS_AT_ONCE)
            if not rows:
                self._row = 0
                break
            dropped += self.deleter.drop_rows(rows)
            checks, self._row = checks + len(rows), rows[-1].id
        return dropped

    def sweep_thumbnails(self, stop: Callable[[], bool]) -> tuple[int, int]:
        """Delete thumbnails that belong to no frame, draw those that are missing; how many of each."""
        deleted = drawn = checks = 0
        while checks < CHECKS_MAX and drawn < DRAWN_MAX and not stop():
            self._days = self._days or days(self.record, self.thumbnails)
            if not self._days:
                break
            folder = compare(self.record, self.thumbnails / self._days.pop())
            deleted += sum(_delete(path) for path in folder.orphans)
            drawn += sum(self._draw(frame) for frame in folder.missing[: DRAWN_MAX - drawn] if not stop())
            _remove_if_empty(folder.path)
            checks += folder.checks
            if not self._days:
                break
        return deleted, drawn

    def sweep_pictures(self, stop: Callable[[], bool]) -> int:
        """Delete kept originals that belong to no event's picture; how many."""
        deleted = 0
        for folder in sorted((self.deleter.data_dir / FOLDER).glob("????-??-??")):
            if stop():
                break
            deleted += sum(_delete(path) for path in stray_pictures(self.record, folder))
            _remove_if_empty(folder)
        return deleted

    def _draw(self, frame: int) -> bool:
        try:
            find(self.record, self.deleter.data_dir, self.deleter.base, frame)
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
    found = {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}
    expected: set[str] = set()
    missing: list[int] = []
    for frame, name in _expected(record, folder.name):
        expected.add(name)
        if name not in found:
            missing.append(frame)
    orphans = [path for name, path in found.items() if name not in expected and _is_orphan(record, path)]
    return ThumbnailDay(folder, orphans, missing, len(found) + len(expected))


def stray_pictures(record: Record, folder: Path) -> Iterator[Path]:
    """Yield the files of a day of kept originals that belong to no event's picture."""
    sql = "SELECT captured_at, path FROM frames WHERE id = ? AND event_id IS NOT NULL"
    for path in folder.iterdir():
        frame = re.fullmatch(r"(\d{1,18})\.(jpg|png)", path.name)
        row = frame and record.one(sql, int(frame[1]))
        if path.name.startswith("."):
            if _age(path) < time.time() - YOUNG_SECONDS:
                yield path
        elif not (frame and row and path == folder.parents[1] / kept_path(int(frame[1]), *row)):
            yield path


def _is_orphan(record: Record, path: Path) -> bool:
    """Check that a file belongs to no frame: not to one that is still undecided, and is not just being written."""
    if path.name.startswith("."):
        return _age(path) < time.time() - YOUNG_SECONDS
    if (number := re.fullmatch(r"(\d{1,18})_thumb\.jpg", path.name)) is None:
        return True
    sql = "SELECT 1 FROM frames WHERE id = ? AND pruned = 0 AND (state = 'discovered' OR thumbnail_path LIKE ?)"
    return record.one(sql, int(number[1]), f"%/{path.parent.name}/{path.name}") is None


def _expected(record: Record, day: str) -> Iterator[tuple[int, str]]:
    """Yield the frames of a day that have a thumbnail, and its name; in pages, so that no read lasts long."""
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


def _delete(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True


def _remove_if_empty(folder: Path) -> None:
    """Remove a day's folder that is old and empty."""
    try:
        if folder.is_dir() and _age(folder) < time.time() - YOUNG_SECONDS:
            folder.rmdir()
    except OSError:
        pass  # it is not empty
