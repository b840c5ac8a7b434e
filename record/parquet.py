"""A Parquet file that is replaced under its readers, and none of them can tell.

DuckDB opens a file twice, for its footer and for its rows, by name: between the two it may have become another one, and
offsets of the old footer lead into the new rows (measured, 2.0 and 1.5: errors, and wrong rows without an error). So a new
version carries the rows of the one that it replaces, at the same offsets, where its own footer does not mention them; they
are left out once nobody can still be half-way (`GRACE_SECONDS`).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

GRACE_SECONDS = (
    120.0  # between a query's look at a footer and at its rows: milliseconds, seconds on a very busy machine
)
COPY_BYTES = 1 << 20  # of what is carried, in memory at a time
MAGIC = 4  # bytes: a file begins and ends with PAR1
KEY = b"hearthwatch"

Content = Callable[[BinaryIO], None]
"""Writes a file."""


class Range(NamedTuple):
    """Rows of a version: where they lie, and when they were replaced (seconds since 1970)."""

    start: int
    end: int
    replaced: float


class Present(NamedTuple):
    """The version that is there now: where its own rows lie, and what it carries of others."""

    start: int
    end: int
    carried: list[Range]


def write(path: Path, table: pa.Table, *, last: bool = True) -> None:
    """Put a table in place, whole or not at all."""
    now = time.time()
    try:
        there = _present(path)
    except (OSError, pa.ArrowInvalid):
        return put(path, _rows(table, path, []), last=last)
    carried = [r for r in there.carried if now - r.replaced < GRACE_SECONDS]
    return put(path, _rows(table, path, [*carried, Range(there.start, there.end, now)]), last=last)


def slim(path: Path) -> bool:
    """Write a file again without what nobody needs any more, when it is time to; whether it needs nothing any more."""
    there = _present(path)
    if there.carried and time.time() - path.stat().st_mtime >= GRACE_SECONDS:
        table = pq.read_table(path, partitioning=None)
        if there.start > MAGIC:
            write(path, table)  # to the start; what is there now is left out the next time
        else:
            put(path, _rows(table, path, []))
    return not there.carried


def _present(path: Path) -> Present:
    with path.open("rb") as file:
        file.seek(-8, os.SEEK_END)
        footer = file.tell() - int.from_bytes(file.read(4), "little")
    noted = json.loads((pq.read_metadata(path).metadata or {}).get(KEY, b"null"))
    return Present(noted[0], noted[1], [Range(*r) for r in noted[2]]) if noted else Present(MAGIC, footer, [])


def _rows(table: pa.Table, old: Path, carried: list[Range]) -> Content:
    """A file with these rows, in the first gap that is large enough between what it carries of the `old` one."""

    def content(file: BinaryIO) -> None:
        sink = pa.PythonFile(file, mode="w")
        size, waiting = _size(table), sorted(carried)
        with pq.ParquetWriter(sink, table.schema, compression="zstd") as writer:
            while waiting and waiting[0].start < sink.tell() + size:
                _carry(sink, old, waiting.pop(0))
            start = sink.tell()
            writer.write_table(table)
            end = sink.tell()
            for r in waiting:
                _carry(sink, old, r)
            writer.add_key_value_metadata({KEY: json.dumps([start, end, carried]).encode()})

    return content


def _carry(sink: pa.NativeFile, old: Path, r: Range) -> None:
    """To where it was."""
    sink.write(bytes(r.start - sink.tell()))
    with old.open("rb") as file:
        file.seek(r.start)
        while part := file.read(min(r.end - sink.tell(), COPY_BYTES)):
            sink.write(part)


def _size(table: pa.Table) -> int:
    """What the rows take, footer included: no gap may be smaller."""
    sink = pa.MockOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return int(sink.size())


def put(path: Path, content: bytes | Content, *, last: bool = True) -> None:
    """Replace a file: temporary name → fsync → rename → fsync of the folder, unless it is not the `last` one there."""
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True)
        fsync(path.parent.parent)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        if isinstance(content, bytes):
            file.write(content)
        else:
            content(file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    if last:
        fsync(path.parent)


def fsync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
