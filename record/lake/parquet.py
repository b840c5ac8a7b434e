"""Replace a Parquet file atomically while DuckDB readers have it open.

DuckDB opens a file twice by name, for its footer and for its rows: in between it may have been replaced, and offsets of the
old footer lead into the new rows (measured, 2.0 and 1.5: errors, and wrong rows without an error). So a new version carries
the rows of the version that it replaces at their old offsets, where its own footer does not mention them; they are dropped
when no reader can be between the two any more (`GRACE_SECONDS`).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from hearthwatch.record.disk import Content, replace_file

GRACE_SECONDS = 120.0  # from a query's read of the footer to that of the rows: milliseconds, seconds on a busy machine
COPY_BYTES = 1 << 20  # of carried rows, in memory at a time
MAGIC = 4  # bytes: a file begins and ends with PAR1
KEY = b"hearthwatch_ranges"


class Range(NamedTuple):
    """Rows of a version: where they lie, and when they were replaced (seconds since 1970)."""

    start: int
    end: int
    replaced: float


class Present(NamedTuple):
    """The version on disk: where its own rows lie, and which older ones it carries."""

    own: list[tuple[int, int]]
    carried: list[Range]

    def is_plain(self) -> bool:
        """Whether a file that carries nothing has these rows at the same offsets."""
        return all(start == MAGIC for start, _ in self.own)


def write(
    path: Path, schema: pa.Schema, groups: Iterable[pa.Table], *, last: bool = True, behind: bool = False
) -> None:
    """Replace a file by these row groups, of which two are in memory at most.

    `last`: nothing else is written into this folder just now. `behind`: all rows come after those that are carried.
    """
    now = time.time()
    try:
        there = _present(path)
    except (OSError, pa.ArrowInvalid):
        return replace_file(path, _rows(schema, groups, path, []), last=last)
    carried = [r for r in there.carried if now - r.replaced < GRACE_SECONDS]
    carried += [Range(start, end, now) for start, end in there.own]
    return replace_file(path, _rows(schema, groups, path, carried, behind=behind), last=last)


def drop_carried(path: Path) -> bool:
    """Rewrite a file without its carried rows once `GRACE_SECONDS` are over; whether it carries none now."""
    there = _present(path)
    if there.carried and time.time() - path.stat().st_mtime >= GRACE_SECONDS:
        with pq.ParquetFile(path) as file:
            groups = (file.read_row_group(n) for n in range(file.num_row_groups))
            if there.is_plain():
                replace_file(path, _rows(file.schema_arrow, groups, path, []))
            else:
                # to the start, or behind all if only a hole is there; the rows there now are dropped the next time
                write(path, file.schema_arrow, groups, behind=there.own[0][0] == MAGIC)
    return not there.carried


def _present(path: Path) -> Present:
    with path.open("rb") as file:
        file.seek(-8, os.SEEK_END)
        footer = file.tell() - int.from_bytes(file.read(4), "little")
    noted = json.loads((pq.read_metadata(path).metadata or {}).get(KEY, b"null"))
    if noted is None:
        return Present([(MAGIC, footer)], [])
    return Present([(start, end) for start, end in noted[0]], [Range(*r) for r in noted[1]])


def _rows(
    schema: pa.Schema, groups: Iterable[pa.Table], old: Path, carried: list[Range], *, behind: bool = False
) -> Content:
    """Return the content of a file with these rows, each group in the first large enough gap between rows carried from `old`."""

    def content(file: BinaryIO) -> None:
        sink = pa.PythonFile(file, mode="w")
        own: list[tuple[int, int]] = []
        waiting = sorted(carried)
        with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            for group in groups:
                size = _size(group) if waiting else 0
                while waiting and (behind or waiting[0].start < sink.tell() + size):
                    _carry(sink, old, waiting.pop(0))
                start = own.pop()[0] if own and own[-1][1] == sink.tell() else sink.tell()
                writer.write_table(group)
                own.append((start, sink.tell()))
            for r in waiting:
                _carry(sink, old, r)
            writer.add_key_value_metadata({KEY: json.dumps([own, carried]).encode()})

    return content


def _carry(sink: pa.NativeFile, old: Path, r: Range) -> None:
    """Copy rows of the old version to the offset where they were."""
    sink.write(bytes(r.start - sink.tell()))
    with old.open("rb") as file:
        file.seek(r.start)
        while part := file.read(min(r.end - sink.tell(), COPY_BYTES)):
            sink.write(part)


def _size(table: pa.Table) -> int:
    """Bytes that the rows take, footer included: no gap may be smaller."""
    sink = pa.MockOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return int(sink.size())
