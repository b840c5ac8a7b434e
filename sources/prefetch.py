"""Read and decode pictures ahead of their turn, on a thread pool; they come out in the order in which they went in.

Bounded in bytes, so that a burst of large pictures waits on disk and not in memory. What is decoded and was not taken at
a stop is decoded again at the next start.
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
PICTURE_BYTES = 8 * 1024 * 1024  # assumed until a picture was decoded: 1080p, 4 bytes a pixel
MISSING_SECONDS = 1.0  # how often a picture is tried again whose whole tree is missing: a network mount that is down


class Prefetcher:
    """A queue of entries whose pictures are being decoded. One thread puts and takes."""

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
        """How many more pictures may be decoded now; at least one if there is none."""
        free = int(BYTES_MAX / self._typical) - len(self._queue)
        return max(free, 0 if self._queue else 1)

    def put(self, entry: LedgerEntry, decode: bool = True) -> None:
        """Queue an entry; without `decode` its file is not opened."""
        self._queue.append((entry, self._pool.submit(self._decode, entry) if decode else None))

    def take(self, limit: int, wait_seconds: float) -> list[tuple[LedgerEntry, DecodedPicture | None]]:
        """Take what is ready at the front, at most `limit`; if nothing is, wait so long for the first."""
        out: list[tuple[LedgerEntry, DecodedPicture | None]] = []
        while self._queue and len(out) < limit:
            entry, decoding = self._queue[0]
            if decoding and not decoding.done() and (out or not wait([decoding], wait_seconds).done):
                break
            self._queue.popleft()
            picture = decoding.result() if decoding else None
            if picture:
                self._typical = max(picture.nbytes, self._typical + (picture.nbytes - self._typical) / 16, 1.0)
            out.append((entry, picture))
        return out

    def _decode(self, entry: LedgerEntry) -> DecodedPicture:
        """Decode it, on the pool. If the whole tree is missing, the file did not vanish: wait until it is there again."""
        path = os.path.join(self.base, unescape(entry.frame.path))  # noqa: PTH118  (pathlib has no bytes)
        began = time.perf_counter()
        opened = open_picture(path, entry.size)
        self.timings.add("decode", [time.perf_counter() - began])
        if opened.content_hash is None and not entry.frame.path.startswith("/"):
            while self._is_tree_missing(entry) and not self._closing.wait(MISSING_SECONDS):
                pass
            opened = open_picture(path, entry.size)
        return opened

    def _is_tree_missing(self, entry: LedgerEntry) -> bool:
        try:
            with os.scandir(self.base) as tree:
                missing = next(tree, None) is None  # what an unmounted folder looks like
        except OSError:
            missing = True
        if missing and not self._warned:
            log.warning("%s is missing or empty: %s waits for it", os.fsdecode(self.base), entry.frame.path)
        self._warned = missing
        return missing

    def close(self) -> None:
        self._closing.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
