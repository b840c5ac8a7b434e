"""The record: one SQLite file that is ledger, checkpoint, batching state, work queue, result store and outbox.

Every change is one short transaction (WAL, `synchronous=FULL`): when `transact` returns, it is on the disk. A locked
database or a full disk is waited for with backoff, loudly, then reported in plain words; nothing is half done.
One `Record` is one connection and belongs to one thread; writers of one process take turns without busy-waiting.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from hearthwatch.record.migrate import SCHEMA_VERSION, upgrade, version
from hearthwatch.schemas.errors import UserError

# Before anybody imports pyarrow: its own allocator keeps the 80 MB that an export needed for a moment.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

log = logging.getLogger(__name__)
T = TypeVar("T")

BUSY_SECONDS_MAX = 60.0  # an analyst's forgotten write transaction or a full disk: then stop, the pictures stay on disk
CACHE_KIB = 8 * 1024  # of a connection; the rest is read through the page cache
WORKING_SET_KIB = 64 * 1024  # the newest pages of the indexes that each picture is looked up in
WAL_BYTES = 64 << 20  # a write-ahead log that a long reader made grow is cut back to this

_turns: dict[str, threading.RLock] = {}
_turns_guard = threading.Lock()


class RecordError(UserError):
    """The record cannot be used: the message says what, which file, and what to do."""


def now() -> int:
    """The wall clock in integer microseconds UTC. For columns that tell when we wrote, never for deciding anything."""
    return time.time_ns() // 1000


class Record:
    """One connection to the record at `path`; created and migrated as needed. It holds up to `cache_kib` KiB of pages."""

    def __init__(self, path: Path | str, cache_kib: int = CACHE_KIB) -> None:
        self.path, self._cache_kib = Path(path), cache_kib
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.db = sqlite3.connect(self.path, timeout=1.0, isolation_level=None, check_same_thread=False)
            with _turns_guard:
                self._turn = _turns.setdefault(str(self.path.resolve()), threading.RLock())
            with self._turn:
                self._prepare()
            self.store_id: str = self.one("SELECT value FROM meta WHERE key = 'store_id'")[0]
        except sqlite3.DatabaseError as error:
            if _code(error) != sqlite3.SQLITE_NOTADB:
                raise RecordError(f"{self.path}: {_reason(error)}") from error
            raise RecordError(
                f"{self.path} is not a Hearthwatch record ({error}): set DATABASE_URL to another file"
            ) from error
        except OSError as error:
            raise RecordError(f"{self.path}: the folder of the record cannot be used: {error.strerror}") from error

    def _prepare(self) -> None:
        try:
            known = version(self.db)
        except ValueError as error:
            raise RecordError(f"{self.path} {error}") from error
        pragmas = f"PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -{self._cache_kib}; PRAGMA journal_size_limit = {WAL_BYTES}"
        _patiently(lambda: self.db.executescript(pragmas), self.path)
        if known < SCHEMA_VERSION:
            _patiently(lambda: upgrade(self.db), self.path)
        if self.one("SELECT 1 FROM meta WHERE key = 'store_id'") is None:  # also if a kill came between the two
            _keep_names(self.path)
            self.transact(
                lambda: self.db.execute("INSERT OR IGNORE INTO meta VALUES ('store_id', ?)", (_new_store_id(),))
            )

    def rows(self, sql: str, *args: Any) -> list[Any]:
        return self._steadily(lambda: self.db.execute(sql, args).fetchall())

    def one(self, sql: str, *args: Any) -> Any:
        return self._steadily(lambda: self.db.execute(sql, args).fetchone())

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        return self._steadily(lambda: self.db.execute(sql, args))

    def _steadily(self, work: Callable[[], T]) -> T:
        """One statement is waited for like a transaction; inside of one, it is that which runs again as a whole."""
        return work() if self.db.in_transaction else _patiently(work, self.path)

    def many(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> int:
        return self.db.executemany(sql, rows).rowcount

    def pragma(self, sql: str) -> list[Any]:
        """Run a PRAGMA that writes: other writers of this process wait their turn, and find no locked record."""

        def once() -> list[Any]:
            with self._turn:
                return self.db.execute(sql).fetchall()

        return _patiently(once, self.path)

    def transact(self, work: Callable[[], T]) -> T:
        """Run `work` in one transaction. It may run again after a rollback, so it keeps no state of its own.

        Raises RecordError when the record stayed locked, full or unwritable for a minute.
        """
        return _patiently(lambda: self._once(work), self.path)

    def _once(self, work: Callable[[], T]) -> T:
        with self._turn:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                result = work()
                self.db.execute("COMMIT")
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise
            return result

    def count(self, **changes: int) -> None:
        """Move the ledger's counters; inside a transaction."""
        for name, change in changes.items():
            if change:
                self.db.execute("UPDATE counters SET n = n + ? WHERE name = ?", (change, name))

    def counters(self) -> dict[str, int]:
        """`discovered`, `settled`, `quarantined` (frames by state), `detections`, `events` (not merged)."""
        return dict(self.rows("SELECT name, n FROM counters"))

    def close(self) -> None:
        self.db.close()


def open_existing(path: Path) -> Record:
    """Open the record at `path`. Raises RecordError if there is none yet."""
    if not path.exists():
        raise RecordError(f"{path}: there is no record yet; start the pipeline, or set HEARTHWATCH_DATA_DIR")
    return Record(path)


def _keep_names(path: Path) -> None:
    """Sync the folders above a new record: what is durable in a file is gone with the name of a folder that was not.

    SQLite syncs the one that the file lies in; those that we or somebody else just made above it are nobody's business.
    """
    for folder in path.resolve().parents:
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:
            continue  # nobody like us made anything in there
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EROFS):  # file systems that have nothing to sync in a folder
                raise
        finally:
            os.close(descriptor)


def _new_store_id() -> str:
    return str(uuid.UUID(bytes=os.urandom(16), version=4))


_TRANSIENT = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}


def _patiently(work: Callable[[], T], path: Path) -> T:
    began, wait, told = time.monotonic(), 0.01, False
    while True:
        try:
            return work()
        except sqlite3.DatabaseError as error:
            if _code(error) not in _REASONS and not isinstance(error, sqlite3.OperationalError):
                raise  # a broken constraint, a wrong statement: ours, not the disk's
            if _code(error) not in _TRANSIENT:
                raise RecordError(f"{path}: {_reason(error)}") from error
            waited = time.monotonic() - began
            if waited > BUSY_SECONDS_MAX:
                raise RecordError(
                    f"{path}: {_reason(error)}; gave up after {waited:.0f} s. Nothing is lost: uploads stay on disk, start again when it is mended"
                ) from error
            if not told and waited > 1:
                log.warning("%s: %s; waiting up to %.0f s", path, _reason(error), BUSY_SECONDS_MAX)
                told = True
        time.sleep(wait)
        wait = min(wait * 2, 1.0)


_REASONS = {
    sqlite3.SQLITE_BUSY: "the record is locked by another program: end its write transaction",
    sqlite3.SQLITE_FULL: "the disk is full: make room",
    sqlite3.SQLITE_IOERR: "the disk reports an error (or is full): look at the system log",
    sqlite3.SQLITE_READONLY: "the record is read-only: mend the permissions of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "the record cannot be opened: mend the permissions of the file and its folder",
    sqlite3.SQLITE_CORRUPT: "the record is damaged, or the disk cannot read it: look at the system log, restore a backup",
}


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _reason(error: sqlite3.Error) -> str:
    return _REASONS.get(_code(error), str(error))
