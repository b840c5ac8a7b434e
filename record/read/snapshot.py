"""Read the record of a running pipeline: read-only connections, one per thread, each answer from one snapshot.

The record may not exist yet, and may be replaced at any time: until it exists, an empty one in memory answers. A reader
creates, changes and locks nothing.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from hearthwatch.record import CACHE_KIB, OlderRecordError, Record, RecordError
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
            found = version(self.db)
        except ValueError as error:
            raise RecordError(f"{path} {error}") from None
        if 0 < found < SCHEMA_VERSION:
            raise OlderRecordError(path, found)
        store = self.one("SELECT value FROM meta WHERE key = 'store_id'") if found else None
        if store is None:
            raise RecordError(f"{path} is being created")
        self.store_id = str(store[0])

    def close(self) -> None:
        self.db.close()


class SnapshotReader:
    """The record at `path` for the threads of one process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._lock = threading.Lock()
        self._watch: tuple[tuple[int, int] | None, Record | None] = None, None

    @contextmanager
    def snapshot(self) -> Iterator[Record]:
        """Read from one snapshot inside the `with`, whatever other processes write."""
        record = self.connection()
        record.execute("BEGIN")
        try:
            yield record
        finally:
            record.execute("ROLLBACK")

    def connection(self) -> Record:
        """Return this thread's connection; to an empty record in memory while there is none on disk."""
        identity = self._identity()
        if getattr(self._local, "identity", 0) != identity:
            if record := getattr(self._local, "record", None):
                record.close()
            self._local.identity = 0
            self._local.record = Record(":memory:") if identity is None else Snapshot(self.path)
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
                watch = Snapshot(self.path) if identity else None
                if watch:
                    watch.execute("PRAGMA busy_timeout = 0")  # the caller is an event loop, which must not wait
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
        return object()  # the WAL is being recovered: no cached read is sure
