"""Read and decode pictures ahead of their turn, on a thread pool; they come out in the order in which they went in.

Bounded in bytes, so that a burst of large pictures waits on disk and not in memory. What is decoded and was not taken at
a stop is decoded again at the next start. While the detector is slow, files are read as soon as they are discovered, long
before they are decoded: a camera may replace its `snapshot.jpg` every second.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress

from hearthwatch.gpu.decode import DecodedPicture, PictureError, open_picture, read_picture
from hearthwatch.record.ledger import LedgerEntry
from hearthwatch.record.paths import unescape
from hearthwatch.schemas.context import NoTimings, Timings
from hearthwatch.sources.tree import File

log = logging.getLogger(__name__)

BYTES_MAX = 512 * 1024 * 1024  # 60 decoded pictures of 1080p: 0.1 s of work for a large GPU, minutes for a CPU
PICTURE_BYTES = 8 * 1024 * 1024  # assumed until a picture was decoded: 1080p, 4 bytes a pixel
EARLY_BYTES_MAX = 64 * 1024 * 1024  # files that were read and are not decoded yet: 300 of 200 kB
BUSY_SECONDS = 0.02  # the dataflow's thread has not come back for so long: the detector is slow
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
        self.polled_at = 0.0
        """When the source was polled last and had room, in monotonic seconds."""
        self._early: dict[File, bytes] = {}
        self._early_bytes = 0
        self._turn = threading.Lock()

    def __len__(self) -> int:
        return len(self._queue)

    def room(self) -> int:
        """How many more pictures may be decoded now; at least one if there is none."""
        free = int(BYTES_MAX / self._typical) - len(self._queue)
        return max(free, 0 if self._queue else 1)

    def put(self, entry: LedgerEntry, decode: bool = True) -> None:
        """Queue an entry; without `decode` its file is not opened."""
        data = self._take_early(entry) if self._early else None
        self._queue.append((entry, self._pool.submit(self._decode, entry, data) if decode else None))

    def read_early(self, files: Iterable[File]) -> None:
        """Read these now if the detector is slow. For discovery's thread."""
        for file in files if time.monotonic() - self.polled_at > BUSY_SECONDS else ():
            if self._early_bytes + file.size <= EARLY_BYTES_MAX:
                with suppress(PictureError, OSError):  # tried again in its turn
                    data = read_picture(os.path.join(self.base, file.path), file.size)  # noqa: PTH118  (pathlib has no bytes)
                    with self._turn:
                        self._early[file] = data
                        self._early_bytes += len(data)

    def forget_early(self) -> None:
        """Drop what was read early and never queued."""
        with self._turn:
            self._early, self._early_bytes = {}, 0

    def _take_early(self, entry: LedgerEntry) -> bytes | None:
        with self._turn:
            data = self._early.pop(File(entry.mtime_ns, unescape(entry.frame.path), entry.size), None)
            self._early_bytes -= len(data or b"")
            return data

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

    def _decode(self, entry: LedgerEntry, data: bytes | None) -> DecodedPicture:
        """Decode it, on the pool. If the whole tree is missing, the file did not vanish: wait until it is there again."""
        path = os.path.join(self.base, unescape(entry.frame.path))  # noqa: PTH118  (pathlib has no bytes)
        began = time.perf_counter()
        opened = open_picture(path, entry.size, data)
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
