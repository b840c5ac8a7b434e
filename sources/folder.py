"""Read the rows of the CSV and JSON Lines files of a folder, each once, in order; new rows and new files as they come.

Its position in each file is in the recovery store, which `hearthwatch run` keeps; without one every row is read again at a
start. A row that cannot be read becomes a dead letter, and the rest of its file is read all the same.
"""

from __future__ import annotations

import csv
import json
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar, NamedTuple

from bytewax.inputs import StatefulSourcePartition
from pydantic import Field

from hearthwatch.schemas import DeadLetter, Source
from hearthwatch.schemas.context import Context
from hearthwatch.sources.one_partition import OnePartitionSource

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5  # between two looks for new rows
HOLD_SECONDS = (
    10.0  # a file that cannot be read holds back those behind it for so long: order is kept when a disk fails once
)
ROWS_MAX = 500  # at a time; the rest of the graph runs in between
ROW_BYTES_MAX = 1 << 20
SUFFIXES = (".csv", ".jsonl", ".ndjson")

State = dict[str, "Position"]


class Position(NamedTuple):
    """How far a file was read: bytes, rows, and a CSV file's header."""

    offset: int = 0
    rows: int = 0
    header: tuple[str, ...] = ()


class Folder(Source):
    """Every row of the CSV and JSON Lines files in a folder, as a mapping."""

    emits: ClassVar[type | None] = dict

    path: Path
    """The folder; its own folders are read, too."""
    follow: bool = True
    """Wait for more; false: end behind the last row, the last line of a file counts without its line break."""
    position: bool = False
    """Add `file` and `row` to each row: without them two rows with the same values are one item to a journal."""
    rows_max: Annotated[int, Field(ge=1)] = ROWS_MAX
    """Rows handed on together."""

    def label(self) -> str:
        return f"rows in {self.path.name}"

    def build(self, context: Context) -> OnePartitionSource[Any]:
        return OnePartitionSource("folder", lambda resumed: _FolderPartition(self, resumed))


class _FolderPartition(StatefulSourcePartition[Any, State]):
    """Emits rows. Its snapshot is the position in each file."""

    def __init__(self, options: Folder, resumed: State | None) -> None:
        self.options, self.read = options, dict(resumed or {})
        self.awake: datetime | None = None
        self.unreadable = False
        """Whether a file could not be read at the last look: it is tried again."""
        self.since: float | None = None
        """Since when, in monotonic seconds."""

    def next_batch(self) -> list[Any]:
        rows: list[Any] = []
        self.unreadable = False
        for path in sorted(self.options.path.rglob("*")):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file():
                rows += self._read(path, self.options.rows_max - len(rows))
            is_held = self.since is not None and time.monotonic() - self.since < HOLD_SECONDS
            if len(rows) >= self.options.rows_max or (self.unreadable and is_held):
                break
        self.since = self.since if self.unreadable else None
        if not rows and not self.options.follow and not self.unreadable:
            raise StopIteration
        self.awake = None if rows else datetime.now(UTC) + timedelta(seconds=POLL_SECONDS)
        return rows

    def next_awake(self) -> datetime | None:
        return self.awake

    def snapshot(self) -> State:
        return dict(self.read)

    def _read(self, path: Path, limit: int) -> list[Any]:
        """Read the next rows of a file."""
        name = path.relative_to(self.options.path).as_posix()
        at = self.read.get(name, Position())
        try:
            size = path.stat().st_size
            if size < at.offset:
                log.warning("%s is shorter than it was: it is read from its start", path)
                at = Position()
            if size == at.offset:
                return []
            with path.open("rb") as file:
                file.seek(at.offset)
                rows = []
                for raw in self._complete(file, path.suffix.lower() == ".csv"):
                    at = at._replace(offset=at.offset + len(raw), rows=at.rows + 1)
                    row, at = _parse(name, raw, at)
                    if isinstance(row, dict) and self.options.position:
                        row |= {"file": name, "row": at.rows}
                    rows += [] if row is None else [row]
                    if len(rows) >= limit:
                        break
        except OSError as error:
            log.warning("%s cannot be read: %s; trying again", path, error.strerror)
            self.unreadable, self.since = True, self.since or time.monotonic()
            return []
        self.read[name] = at
        return rows

    def _complete(self, file: BinaryIO, is_csv: bool) -> Iterator[bytes]:
        """Yield whole rows: one that has no line break yet may still be written; a quoted field may hold some."""
        row = b""
        while line := file.readline(ROW_BYTES_MAX):
            row += line
            is_open = is_csv and row.count(b'"') % 2 == 1 and len(row) < ROW_BYTES_MAX
            if len(row) < ROW_BYTES_MAX and (is_open or not row.endswith(b"\n")):
                continue
            yield row
            row = b""
        if row and not self.options.follow:
            yield row


def _parse(name: str, raw: bytes, at: Position) -> tuple[dict[str, Any] | DeadLetter | None, Position]:
    """Return the row, and the position with the header if this was it; None: it is empty, or the header."""
    try:
        text = raw.decode("utf-8-sig" if at.offset == len(raw) else "utf-8").strip("\r\n")
        if not text.strip():
            return None, at
        if not name.lower().endswith(".csv"):
            row = json.loads(text)
            if not isinstance(row, dict):
                raise ValueError(f"is {type(row).__name__}, not an object")
            return row, at
        values = next(csv.reader(StringIO(text)))
        if not at.header:
            return None, at._replace(header=tuple(values))
        if len(values) != len(at.header):
            raise ValueError(f"has {len(values)} values for {len(at.header)} columns")
        return dict(zip(at.header, values, strict=True)), at
    except (ValueError, csv.Error) as error:
        return DeadLetter("folder", f"{name}, row {at.rows}: {error}"), at
