"""Read the record beside a running pipeline: read-only connections, one per thread, each answer from one instant.

The record may not exist yet, and may be replaced while we run: until it is there, an empty one answers. No reader ever
creates, changes or locks anything.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from hearthwatch.record import CACHE_KIB, Record, RecordError
from hearthwatch.record.migrate import SCHEMA_VERSION, version

BUSY_SECONDS = 2.0  # readers of a WAL wait only while it is recovered


class Snapshot(Record):
    """A connection that can only read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        address = f"file:{quote(str(path.resolve()))}?mode=ro"
        self.db = sqlite3.connect(
            address, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        self.db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        try:
            known = version(self.db)
        except ValueError as error:
            raise RecordError(f"{path} {error}") from None
        if known != SCHEMA_VERSION:
            raise RecordError(f"{path} has schema version {known}, not {SCHEMA_VERSION}: start `hearthwatch run` once")
        self.store_id = str(self.one("SELECT value FROM meta WHERE key = 'store_id'")[0])


class SnapshotReader:
    """The record at `path` for the threads of one process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mine = threading.local()
        self._turn = threading.Lock()
        self._watch: tuple[tuple[int, int] | None, Record | None] = None, None

    @contextmanager
    def snapshot(self) -> Iterator[Record]:
        """All that is read inside belongs together, whatever others write meanwhile."""
        record = self.connection()
        record.execute("BEGIN")
        try:
            yield record
        finally:
            record.execute("ROLLBACK")

    def connection(self) -> Record:
        """This thread's connection; an empty record in memory while there is none on disk."""
        identity = self._identity()
        if getattr(self._mine, "identity", 0) != identity:
            if record := getattr(self._mine, "record", None):
                record.close()
            self._mine.identity = 0
            self._mine.record = Record(":memory:") if identity is None else Snapshot(self.path)
            self._mine.identity = identity
        return self._mine.record  # type: ignore[no-any-return]

    def version(self) -> object:
        """Something that changes with every commit of anybody: what was read before is still so while it is the same."""
        with self._turn:
            identity, watch = self._identity(), self._watch[1]
            if identity != self._watch[0] or watch is None:
                if watch:
                    watch.close()
                self._watch = None, None
                watch = Snapshot(self.path) if identity else None
                if watch:
                    watch.execute("PRAGMA busy_timeout = 0")  # an event loop asks, which waits for nobody
                self._watch = identity, watch
            return identity, watch and _data_version(watch)

    def exists(self) -> bool:
        return self._identity() is not None

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return (found.st_dev, found.st_ino) if found.st_size else None


def _data_version(record: Record) -> object:
    try:
        return record.db.execute("PRAGMA data_version").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return object()  # it is being recovered: nothing that was known is sure
