"""One process per chain: lock files that the kernel releases when their process ends, however it ends.

A chain that writes to the record and to the data dir takes two: `<database file>.<chain>.lock` and `<data dir>/<chain>.lock`,
so that neither may be shared. Both are resolved first: a symlink leads to the same lock. The database file itself is never
locked with `flock`: where that is emulated with POSIX locks (NFS), closing it would drop those of SQLite.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hearthwatch.record.connection import RecordError

WAIT_SECONDS_MAX = 60.0  # the first export of a large record takes a minute
POLL_SECONDS = 0.02


class Lock:
    """Locks that are held for the life of the process or until `release`."""

    def __init__(self) -> None:
        self._descriptors: list[int] = []

    def take(self, path: Path, shared: str) -> None:
        """Lock the file at `path`, which stands for `shared`.

        Raises:
            RecordError: another process holds it (the message names its pid), or the file cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise RecordError(
                f"{path}: the lock cannot be made: {error.strerror}; is {path.parent} writable?"
            ) from error
        self._descriptors.append(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise RecordError(
                f"another pipeline (pid {holder}) already works on {shared} and holds {path}: stop it, or set "
                "DATABASE_URL and HEARTHWATCH_DATA_DIR so that neither is shared"
            ) from error
        except OSError as error:
            raise RecordError(
                f"{path}: the file system cannot lock files ({error.strerror}): on NFS start its lock service, or use a local disk"
            ) from error
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise RecordError(f"{path}: the lock cannot be written: {error.strerror}; is the disk full?") from error

    def release(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())


def acquire_lock(chain: str, record_path: Path, data_dir: Path | None = None) -> Lock:
    """Keep a second process from running the same chain on this record, or in this data dir.

    Raises:
        RecordError: another process does (the message names its pid and the lock), or a lock cannot be made.
    """
    database = record_path.resolve()
    paths = [(database.with_name(f"{database.name}.{chain}.lock"), record_path)]
    if data_dir is not None:
        paths.append((data_dir.resolve() / f"{chain}.lock", data_dir))
    with ExitStack() as stack:
        lock = Lock()
        stack.callback(lock.release)
        for path, shared in paths:
            lock.take(path, str(shared))
        stack.pop_all()
    return lock


@contextmanager
def wait_for_lock(chain: str, record_path: Path, data_dir: Path, seconds: float = WAIT_SECONDS_MAX) -> Iterator[None]:
    """Hold the locks of a chain inside the `with`, after waiting up to `seconds` for the process that has them.

    Raises:
        RecordError: another process still holds one.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            lock = acquire_lock(chain, record_path, data_dir)
            break
        except RecordError as error:
            if time.monotonic() > deadline or not isinstance(error.__cause__, BlockingIOError):
                raise
            time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()
