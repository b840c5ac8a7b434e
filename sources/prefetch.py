"""Pictures are read and decoded ahead of their turn, on a small pool, and come out in the order in which they went in.

Bounded in bytes, so that a burst of large pictures waits on disk and not in memory. What is decoded and was not taken
is lost at a stop and costs nothing but being decoded again.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait

from hearthwatch.gpu.decode import DecodedPicture, open_picture
from hearthwatch.record.ledger import LedgerEntry
from hearthwatch.record.paths import unescape
from hearthwatch.schemas.context import NoTimings, Timings

log = logging.getLogger(__name__)

BYTES_MAX = 512 * 1024 * 1024  # 60 decoded pictures of 1080p: 0.1 s of work for a large GPU, minutes for a CPU
PICTURE_BYTES = 8 * 1024 * 1024  # what a picture is taken for until one was seen: 1080p, 4 bytes a pixel
AWAY_SECONDS = 1.0  # how often a picture is tried again whose whole tree is gone: a network mount that is away


class Ahead:
    """A queue of entries whose pictures are being opened. One thread puts and takes."""

    def __init__(self, base: bytes, threads: int, timings: Timings | None = None) -> None:
        self.base, self.threads, self.timings = base, threads, timings or NoTimings()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._queue: deque[tuple[LedgerEntry, Future[DecodedPicture] | None]] = deque()
        self._typical = float(PICTURE_BYTES)
        self._warned = False
        self._closing = threading.Event()

    def __len__(self) -> int:
        return len(self._queue)

    def room(self) -> int:
        """How many more pictures may be opened now; at least one if there is none."""
        free = int(BYTES_MAX / self._typical) - len(self._queue)
        return max(free, 0 if self._queue else 1)

    def put(self, entry: LedgerEntry, look: bool = True) -> None:
        """Queue an entry; without `look` its file stays closed."""
        opened = self._pool.submit(self._open, entry) if look else None
        self._queue.append((entry, opened))

    def take(self, limit: int, patience_seconds: float) -> list[tuple[LedgerEntry, DecodedPicture | None]]:
        """What is ready at the front, at most `limit`; if nothing is, wait so long for the first."""
        out: list[tuple[LedgerEntry, DecodedPicture | None]] = []
        while self._queue and len(out) < limit:
            entry, opening = self._queue[0]
            if opening and not opening.done() and (out or not wait([opening], patience_seconds).done):
                break
            self._queue.popleft()
            out.append((entry, self._weighed(opening.result()) if opening else None))
        return out

    def _open(self, entry: LedgerEntry) -> DecodedPicture:
        """On the pool: a file that cannot be read because the whole tree is away did not vanish, it will come back."""
        path = os.path.join(self.base, unescape(entry.frame.path))  # noqa: PTH118  (pathlib has no bytes)
        began = time.perf_counter()
        opened = open_picture(path, entry.size)
        self.timings.add("decode", [time.perf_counter() - began])
        if opened.content_hash is None and not entry.frame.path.startswith("/"):
            while self._away(entry) and not self._closing.wait(AWAY_SECONDS):
                pass
            opened = open_picture(path, entry.size)
        return opened

    def _away(self, entry: LedgerEntry) -> bool:
        try:
            with os.scandir(self.base) as tree:
                away = next(tree, None) is None  # what an unmounted folder looks like
        except OSError:
            away = True
        if away and not self._warned:
            log.warning("%s is missing or empty: %s waits for it", os.fsdecode(self.base), entry.frame.path)
        self._warned = away
        return away

    def _weighed(self, opened: DecodedPicture) -> DecodedPicture:
        self._typical = max(opened.nbytes, self._typical + (opened.nbytes - self._typical) / 16, 1.0)
        return opened

    def close(self) -> None:
        self._closing.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
