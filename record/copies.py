"""Find the rows of the record that are the same picture: the same bytes, wherever and however often they were uploaded.

One range of the partial index `frames_content` for each question, whatever the size of the record.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import tzinfo
from pathlib import Path
from typing import NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.paths import unescape
from hearthwatch.record.units import SECOND
from hearthwatch.schemas.items import DUPLICATE, from_microseconds

COPIES_MAX = 100  # newest rows of one picture whose files are looked for: a camera may send the same bytes for ever
REPEATED_MIN = 20  # a camera whose newest pictures, so many, are all the same one, …
REPEATING_SECONDS = 600  # … over so long, is stuck

# `+`: SQLite would put the value into the index's expression, and then not recognise it.
_SAME = "substr(content_hash, 1, 8) = substr(?1, 1, 8) AND +content_hash = ?1 AND state = 'settled'"


class Copy(NamedTuple):
    """A settled row with some content."""

    id: int
    camera_id: str
    path: str
    mtime_ns: int
    size: int
    captured_at: int
    error_stage: str | None = None
    error: str | None = None
    event_id: int | None = None

    def has_file(self, base: Path) -> bool:
        """Whether its file is there as it was uploaded; one that cannot be asked is."""
        try:
            found = (base / os.fsdecode(unescape(self.path))).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return (found.st_mtime_ns, found.st_size) == (self.mtime_ns, self.size)

    def describe(self, zone: tzinfo | None) -> str:
        return f"the same picture as {self.id} of {from_microseconds(self.captured_at).astimezone(zone):%A %d %B %Y, %H:%M}"


_COLUMNS = ", ".join(Copy._fields)


def copies(record: Record, content_hash: str, camera: str | None = None, limit: int = COPIES_MAX) -> list[Copy]:
    """Read the settled rows with this content, of one camera or of all, the newest first."""
    mine = "" if camera is None else " AND camera_id = ?3"
    sql = f"SELECT {_COLUMNS} FROM frames WHERE {_SAME}{mine} ORDER BY id DESC LIMIT ?2"
    return [Copy(*row) for row in record.rows(sql, content_hash, limit, *(() if camera is None else (camera,)))]


def find_contents(record: Record, contents: Sequence[str]) -> set[str]:
    """Return those of these contents that a settled row may have."""
    marks = ",".join(["(?)"] * len(contents))
    sql = f"WITH k(content) AS (VALUES {marks}) SELECT content FROM k WHERE EXISTS (SELECT 1 FROM frames WHERE substr(content_hash, 1, 8) = substr(k.content, 1, 8) AND state = 'settled')"
    return {content for (content,) in record.rows(sql, *contents)} if contents else set()


def read_copy(record: Record, frame: int) -> Copy | None:
    """Read one row, settled or not."""
    row = record.one(f"SELECT {_COLUMNS} FROM frames WHERE id = ?", frame)
    return row and Copy(*row)


def original(record: Record, copy: Copy) -> Copy:
    """Return the row that was processed for this one; itself, if retention deleted that one."""
    first = read_copy(record, original_id(copy.error)) if copy.error_stage == DUPLICATE and copy.error else None
    return first or copy


def original_id(error: str) -> int:
    """Parse `duplicate of 17`."""
    return int(error.rsplit(" ", 1)[-1])


def find_original(record: Record, base: Path, camera: str, content_hash: str) -> Copy | None:
    """Return the picture that a new file of this camera is: one of the same camera, or one of another that was moved here.

    None: the bytes are new, or the other camera has its file still.
    """
    known = copies(record, content_hash)
    mine = next((copy for copy in known if copy.camera_id == camera), None)
    if mine is None and len(known) == COPIES_MAX:
        mine = next(iter(copies(record, content_hash, camera, 1)), None)
    if mine is None and known and not any(copy.has_file(base) for copy in known):
        mine = known[0]
    return mine and original(record, mine)


def find_file(record: Record, base: Path, frame: int) -> Copy | None:
    """Return the newest row with this frame's content whose file is there; None: there is no such file, or no such frame."""
    row = record.one(f"SELECT content_hash, {_COLUMNS} FROM frames WHERE id = ?", frame)
    if row is None:
        return None
    same = copies(record, row[0]) if row[0] else []
    return next((copy for copy in (*same, Copy(*row[1:])) if copy.has_file(base)), None)


def repeating_cameras(record: Record) -> list[tuple[str, Copy]]:
    """Return cameras that send the same bytes for ever, each with the picture that it sends."""
    out = []
    sql = (
        "SELECT error, arrived_at FROM frames WHERE camera_id = ? AND state = 'settled' "
        "ORDER BY captured_at DESC LIMIT ?"
    )
    for (camera,) in record.rows("SELECT id FROM cameras ORDER BY id"):
        rows = record.rows(sql, camera, REPEATED_MIN)
        errors, arrived = {error for error, _ in rows}, [at for _, at in rows]
        if len(rows) < REPEATED_MIN or max(arrived) - min(arrived) < REPEATING_SECONDS * SECOND or len(errors) > 1:
            continue
        if (
            (error := errors.pop())
            and error.startswith("duplicate of ")
            and (first := read_copy(record, original_id(error)))
        ):
            out.append((camera, first))
    return out
