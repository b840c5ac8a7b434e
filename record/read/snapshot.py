"""Read the record of a running pipeline: read-only connections, one per thread, each answer from one snapshot.

The record may not exist yet, and may be replaced at any time: until it exists, an empty one in memory answers. A reader
creates, changes and locks nothing. Where a data dir has several cells, their rows are read as one: a table is all cells', and
what joins tables or reads a page is read from each cell by its indexes (`over_cells.py`).
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hearthwatch.record import CACHE_KIB, OlderRecordError, Record, RecordError
from hearthwatch.record.migrate import SCHEMA_VERSION, version
from hearthwatch.record.units import CELL_BITS

ALONE = re.compile("meta|cursors|deliveries|heartbeat|inbox|journals|search.*|sqlite_.*")  # read of the first cell only
INDEX = re.compile(r"INDEXED BY \w+")  # a union has none, its parts do
_SEEN = "SELECT coalesce(last_seen_at, 0) FROM cameras WHERE id = ?"
BUSY_SECONDS = 2.0  # readers of a WAL wait only while it is recovered


class _United(sqlite3.Connection):
    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        return super().execute(INDEX.sub("", sql), *args)


class Snapshot(Record):
    """A connection that can only read."""

    def __init__(self, path: Path, others: Sequence[Path] = ()) -> None:
        self.path = path
        self.db = sqlite3.connect(
            _address(path), uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False,
            factory=_United if others else sqlite3.Connection,
        )  # fmt: skip
        self.db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        try:
            found = version(self.db)
        except ValueError as error:
            raise RecordError(f"{path} {error}") from None
        if 0 < found < SCHEMA_VERSION:
            raise OlderRecordError(path, found)
        store = self.one("SELECT value FROM meta WHERE key = 'store_id'") if found else None
        if store is None:
            raise RecordError(f"{path} is being created")
        self.store_id = str(store[0])
        last = self.one("SELECT seq FROM sqlite_sequence WHERE name = 'frames'")
        self.number = last[0] >> CELL_BITS if last else 0
        if others:
            self._unite(others)

    def _unite(self, others: Sequence[Path]) -> None:
        """Put views over the tables of all cells in front of those of this one."""
        self.db.execute("PRAGMA temp_store = MEMORY")
        self.schemas = schemas = "main", *(f"cell{n}" for n in range(len(others)))
        self.cells = tuple(Snapshot(path) for path in (self.path, *others))  # they are there, and of this version
        for cell in self.cells:
            cell.execute(f"PRAGMA cache_size = -{CACHE_KIB // len(schemas)}")
        for schema, other in zip(schemas[1:], others, strict=True):
            self.db.execute(f"ATTACH ? AS {schema}", (_address(other),))
        for (name,) in self.rows("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"):
            if not ALONE.fullmatch(name):
                rows = " UNION ALL ".join(f"SELECT * FROM {schema}.{name}" for schema in schemas)
                sums = f"SELECT name, sum(n) AS n FROM ({rows}) GROUP BY name" if name == "counters" else rows
                self.db.execute(f"CREATE TEMP VIEW {name} AS {sums}")

    def close(self) -> None:
        for each in (*self.cells, self):
            each.db.close()


class SnapshotReader:
    """The record at `path` for the threads of one process, and those of `others`, once they exist, as one."""

    def __init__(self, path: Path, others: Sequence[Path] = ()) -> None:
        self.path, self._others = path, others
        self._local = threading.local()
        self._lock = threading.Lock()
        self._watch: tuple[tuple[int, ...] | None, Snapshot | None] = None, None

    @contextmanager
    def snapshot(self, of: int | str | None = None) -> Iterator[Record]:
        """Read from one snapshot inside the `with`, whatever other processes write: of all cells, or of that of an id, or that saw a camera last."""
        record = self.connection()
        all_of_them = *record.cells, record
        try:
            for each in all_of_them:
                each.execute("BEGIN")
            yield record if of is None else _cell_of(record, of)
        finally:
            for each in all_of_them:
                if each.db.in_transaction:
                    each.execute("ROLLBACK")

    def connection(self) -> Record:
        """Return this thread's connection; to an empty record in memory while there is none on disk."""
        identity = self._identity()
        if getattr(self._local, "identity", 0) != identity:
            if record := getattr(self._local, "record", None):
                record.close()
            self._local.identity = 0
            self._local.record = Record(":memory:") if identity is None else self._open()
            self._local.identity = identity
        return self._local.record  # type: ignore[no-any-return]

    def version(self) -> object:
        """Return a value that changes with every commit of any process; until then, cached reads are current."""
        with self._lock:
            identity, watch = self._identity(), self._watch[1]
            if identity != self._watch[0] or watch is None:
                if watch:
                    watch.close()
                self._watch = None, None
                watch = self._open() if identity else None
                if watch:
                    watch.execute("PRAGMA busy_timeout = 0")  # the caller is an event loop, which must not wait
                self._watch = identity, watch
            return identity, watch and _data_version(watch)

    def exists(self) -> bool:
        return self._identity() is not None

    def _open(self) -> Snapshot:
        return Snapshot(self.path, [path for path in self._others if _identity(path)])

    def _identity(self) -> tuple[int, ...] | None:
        own = _identity(self.path)
        return own and sum((_identity(path) or () for path in self._others), own)


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return (found.st_dev, found.st_ino) if found.st_size else None


def _cell_of(record: Record, of: int | str) -> Record:
    if isinstance(of, int):
        return next((cell for cell in record.cells if cell.number == of >> CELL_BITS), record)
    seen = [(row[0], n) for n, cell in enumerate(record.cells) if (row := cell.one(_SEEN, of))]
    return record.cells[max(seen)[1]] if seen else record


def _address(path: Path) -> str:
    return f"file:{quote(str(path.resolve()))}?mode=ro"


def _data_version(record: Snapshot) -> object:
    try:
        return [record.db.execute(f"PRAGMA {schema}.data_version").fetchone() for schema in record.schemas]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return object()  # the WAL is being recovered: no cached read is sure
