"""One process per chain and data dir: a lock file that the kernel releases when its process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hearthwatch.record.connection import RecordError

WAIT_SECONDS_MAX = 60.0  # the first export of a large record takes a minute
POLL_SECONDS = 0.02


class Lock:
    """A lock that is held for the life of the process or until `release`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def acquire_lock(data_dir: Path, chain: str) -> Lock:
    """Take `<data_dir>/<chain>.lock`, so that no second process runs the same chain on the same record.

    Raises:
        RecordError: another process holds it (the message names its pid), or the file cannot be written.
    """
    path = data_dir / f"{chain}.lock"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RecordError(
            f"{path}: the lock cannot be made: {error.strerror}; is HEARTHWATCH_DATA_DIR writable?"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise RecordError(
            f"another pipeline (pid {holder}) already works on {data_dir}: stop it, or set HEARTHWATCH_DATA_DIR to another folder"
        ) from error
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        os.close(descriptor)
        raise RecordError(f"{path}: the lock cannot be written: {error.strerror}; is the disk full?") from error
    return Lock(descriptor)


@contextmanager
def wait_for_lock(data_dir: Path, chain: str, seconds: float = WAIT_SECONDS_MAX) -> Iterator[None]:
    """Hold a lock inside the `with`, after waiting up to `seconds` for the process that has it.

    Raises:
        RecordError: another process still holds it.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            lock = acquire_lock(data_dir, chain)
            break
        except RecordError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()
