"""Connect to the record: one SQLite file that is ledger, checkpoint, batching state, work queue, result store and outbox.

Every change is one short transaction (WAL, `synchronous=FULL`): when `transact` returns, it is on the disk. A locked database
or a full disk is retried with backoff and a warning for a minute, then reported; nothing is half done. One `Record` is one
connection and belongs to one thread; writers of one process queue for a lock instead of polling.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from hearthwatch.record.migrate import SCHEMA_VERSION, upgrade, version
from hearthwatch.record.witness import Witness, given_numbers
from hearthwatch.schemas.errors import UserError

# Before pyarrow is imported: its allocator keeps the 80 MB that an export needs for a moment.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

log = logging.getLogger(__name__)
T = TypeVar("T")

LOCKED_SECONDS = 1.0  # a transaction takes 50 ms at most
BUSY_SECONDS_MAX = 60.0  # an analyst's open write transaction or a full disk: then stop, the pictures stay on disk
CACHE_KIB = 8 * 1024  # of a connection; the rest is read through the page cache
WORKING_SET_KIB = 64 * 1024  # the newest pages of the indexes that each picture is looked up in
WAL_BYTES = 64 << 20  # a write-ahead log that a long reader made grow is cut back to this

_write_locks: dict[str, threading.RLock] = {}
_write_locks_guard = threading.Lock()


class RecordError(UserError):
    """The record cannot be used: the message says what, which file, and what to do."""


class BlockedRecordError(RecordError):
    """The record was locked, or its disk full, for too long: it may work at the next start."""


class OlderRecordError(RecordError):
    """The record was written by an older version, and the pipeline has not upgraded it yet."""

    def __init__(self, path: Path, found: int) -> None:
        super().__init__(
            f"{path} is a record of version {found} and has to be upgraded to {SCHEMA_VERSION}: the pipeline does it when it starts"
        )


def now() -> int:
    """Read the wall clock, integer microseconds UTC. For columns that say when a row was written, never for decisions."""
    return time.time_ns() // 1000


class Record:
    """One connection to the record at `path`; created as needed. It holds up to `cache_kib` KiB of pages."""

    schemas: tuple[str, ...] = ("main",)
    """What SQLite calls the record, and those of further cells that are read with it."""

    number = 0
    """Of its cell."""

    cells: tuple[Record, ...] = ()
    """Where several are read as one: each alone."""

    def __init__(self, path: Path | str, cache_kib: int = CACHE_KIB, *, upgrade: bool = False) -> None:
        """Connect; upgrade an older record only if `upgrade`.

        Raises:
            OlderRecordError: it has to be upgraded first.
            RecordError: it cannot be used.
        """
        self.path, self._cache_kib = Path(path), cache_kib
        self.witness, self.store_id = Witness(self.path), ""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.db = sqlite3.connect(self.path, timeout=1.0, isolation_level=None, check_same_thread=False)
            with _write_locks_guard:
                self._write_lock = _write_locks.setdefault(str(self.path.resolve()), threading.RLock())
            with self._write_lock:
                self._prepare(upgrade)
            self.store_id = str(self.one("SELECT value FROM meta WHERE key = 'store_id'")[0])
        except sqlite3.DatabaseError as error:
            if _code(error) != sqlite3.SQLITE_NOTADB:
                raise RecordError(f"{self.path}: {_reason(error)}") from error
            raise RecordError(
                f"{self.path} is not a Hearthwatch record ({error}): set DATABASE_URL to another file"
            ) from error
        except OSError as error:
            raise RecordError(f"{self.path}: the folder of the record cannot be used: {error.strerror}") from error

    def _prepare(self, may_upgrade: bool) -> None:
        try:
            found = version(self.db)
        except ValueError as error:
            raise RecordError(f"{self.path} {error}") from error
        if 0 < found < SCHEMA_VERSION and not may_upgrade:
            self.db.close()
            raise OlderRecordError(self.path, found)
        pragmas = f"PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -{self._cache_kib}; PRAGMA journal_size_limit = {WAL_BYTES}"
        _retry(lambda: self.db.executescript(pragmas), self.path)
        if found < SCHEMA_VERSION:
            _retry(lambda: upgrade(self.db), self.path)
        if self.one("SELECT 1 FROM meta WHERE key = 'store_id'") is None:  # also if a kill came between the two
            _sync_parents(self.path)
            self.transact(
                lambda: self.db.execute("INSERT OR IGNORE INTO meta VALUES ('store_id', ?)", (_new_store_id(),))
            )

    # A single statement is retried; inside a transaction, `transact` retries the whole of it.

    def rows(self, sql: str, *args: Any) -> list[Any]:
        if self.db.in_transaction:
            return self.db.execute(sql, args).fetchall()
        return _retry(lambda: self.db.execute(sql, args).fetchall(), self.path)

    def one(self, sql: str, *args: Any) -> Any:
        if self.db.in_transaction:
            return self.db.execute(sql, args).fetchone()
        return _retry(lambda: self.db.execute(sql, args).fetchone(), self.path)

    def dicts(self, sql: str, *args: Any) -> list[dict[str, Any]]:
        """Read rows as dicts by column name."""
        cursor = self.execute(sql, *args)
        return [dict(zip((name for name, *_ in cursor.description), row, strict=True)) for row in cursor.fetchall()]

    def meta(self, key: str) -> Any:
        """Read a JSON value of the table `meta`; None if there is none."""
        row = self.one("SELECT value FROM meta WHERE key = ?", key)
        return json.loads(row[0]) if row else None

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if self.db.in_transaction:
            return self.db.execute(sql, args)
        return _retry(lambda: self.db.execute(sql, args), self.path)

    def many(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> int:
        return self.db.executemany(sql, rows).rowcount

    def pragma(self, sql: str) -> list[Any]:
        """Run a PRAGMA that writes, while other writers of this process wait."""

        def once() -> list[Any]:
            with self._write_lock:
                return self.db.execute(sql).fetchall()

        return _retry(once, self.path)

    def transact(self, work: Callable[[], T]) -> T:
        """Run `work` in one transaction. It may run again after a rollback, so it changes nothing outside.

        Raises:
            RecordError: the record stayed locked, full or unwritable for a minute.
        """
        return _retry(lambda: self._transact_once(work), self.path)

    def _transact_once(self, work: Callable[[], T]) -> T:
        with self._write_lock:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                result, numbers = work(), given_numbers(self.db)
                self.db.execute("COMMIT")
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise
            self.witness.note(self.store_id, numbers)
            return result

    def count(self, **changes: int) -> None:
        """Add to the ledger's counters; inside a transaction."""
        for name, change in changes.items():
            if change:
                self.db.execute("UPDATE counters SET n = n + ? WHERE name = ?", (change, name))

    def counters(self) -> dict[str, int]:
        """Read `discovered`, `settled`, `quarantined` (frames by state), `detections`, `events` (not merged)."""
        return dict(self.rows("SELECT name, n FROM counters"))

    def close(self) -> None:
        self.db.close()
        self.witness.close()


def open_existing(path: Path) -> Record:
    """Open the record at `path`.

    Raises:
        RecordError: there is none yet, or it cannot be used.
    """
    if not path.exists():
        raise RecordError(f"{path}: there is no record yet; start the pipeline, or set HEARTHWATCH_DATA_DIR")
    return Record(path)


def _sync_parents(path: Path) -> None:
    """Sync the folders above a new record: a power cut that removes a folder's name removes the file.

    SQLite syncs only the folder of the file, not those above it that were just made.
    """
    for folder in path.resolve().parents:
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:
            continue  # not a folder that this user can make anything in
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EROFS):  # file systems that have nothing to sync in a folder
                raise
        finally:
            os.close(descriptor)


def _new_store_id() -> str:
    return str(uuid.UUID(bytes=os.urandom(16), version=4))


def find_lock(path: Path) -> str | None:
    """Return why the record cannot be written, if one transaction of others has lasted for `LOCKED_SECONDS`; else it ends at once.

    A busy pipeline or a slow disk is no lock: their transactions end, which `data_version` shows.
    """
    try:
        address = f"file:{quote(str(path.resolve()))}?mode=rw"
        with closing(sqlite3.connect(address, uri=True, timeout=LOCKED_SECONDS, isolation_level=None)) as db:
            before = db.execute("PRAGMA data_version").fetchone()
            try:
                db.execute("BEGIN IMMEDIATE")
                db.execute("ROLLBACK")
            except sqlite3.OperationalError as error:
                is_held = db.execute("PRAGMA data_version").fetchone() == before
                return _REASONS[sqlite3.SQLITE_BUSY] if _code(error) == sqlite3.SQLITE_BUSY and is_held else None
    except sqlite3.Error:
        pass  # what else is wrong with it shows when it is read
    return None


class Blocked(NamedTuple):
    """That the record could not be written for more than a second: since when, until when (None: still), and why.

    Times on the monotonic clock.
    """

    since: float
    until: float | None
    reason: str


_blocked: dict[str, Blocked] = {}


def last_blocked(path: Path) -> Blocked | None:
    """Return when this process last waited for the record for more than a second; None: never."""
    return _blocked.get(str(path))


_TRANSIENT = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}


def _retry(work: Callable[[], T], path: Path) -> T:
    began, wait, is_warned = time.monotonic(), 0.01, False
    while True:
        try:
            result = work()
            if is_warned:
                _blocked[str(path)] = Blocked(began, time.monotonic(), _blocked[str(path)].reason)
            return result
        except sqlite3.DatabaseError as error:
            if _code(error) not in _REASONS and not isinstance(error, sqlite3.OperationalError):
                raise  # a broken constraint, a wrong statement: ours, not the disk's
            if _code(error) not in _TRANSIENT:
                raise RecordError(f"{path}: {_reason(error)}") from error
            waited = time.monotonic() - began
            if waited > BUSY_SECONDS_MAX:
                raise BlockedRecordError(
                    f"{path}: {_reason(error)}; gave up after {waited:.0f} s. Nothing is lost: uploads stay on disk, start again when it is fixed"
                ) from error
            if not is_warned and waited > 1:
                log.warning("%s: %s; waiting up to %.0f s", path, _reason(error), BUSY_SECONDS_MAX)
                is_warned = True
                _blocked[str(path)] = Blocked(began, None, _reason(error))
        time.sleep(wait)
        wait = min(wait * 2, 1.0)


_REASONS = {
    sqlite3.SQLITE_BUSY: "the record is locked by another program: end its write transaction",
    sqlite3.SQLITE_FULL: "the disk is full: make room",
    sqlite3.SQLITE_IOERR: "the disk reports an error (or is full): see the system log",
    sqlite3.SQLITE_READONLY: "the record is read-only: fix the permissions of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "the record cannot be opened: fix the permissions of the file and its folder",
    sqlite3.SQLITE_CORRUPT: "the record is damaged, or the disk cannot read it: see the system log, restore a backup",
}


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _reason(error: sqlite3.Error) -> str:
    return _REASONS.get(_code(error), str(error))
