"""Read and decode pictures ahead of their turn, on a thread pool; they come out in the order in which they went in.

Bounded in bytes, so that a burst of large pictures waits on disk and not in memory. What is decoded and was not taken at
a stop is decoded again at the next start. What is discovered while nothing waits is decoded while its row is being written. While the
detector is slow, files are read as soon as they are discovered, long before they are decoded: a camera may replace its `snapshot.jpg`
every second.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue

from hearthwatch.gpu.decode import DecodedPicture, PictureError, open_picture, read_picture
from hearthwatch.record.ledger import LedgerEntry
from hearthwatch.record.paths import escape, unescape
from hearthwatch.schemas.context import NoTimings, Timings
from hearthwatch.sources.tree import File

log = logging.getLogger(__name__)

MEMORY_BYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
BYTES_MAX = max(
    512 << 20, MEMORY_BYTES // 16
)  # 80 decoded pictures of 1080p, or on 128 GB 1,300: what several GPUs need
PICTURE_BYTES = 8 * 1024 * 1024  # assumed until a picture was decoded: 1080p, 4 bytes a pixel
EARLY_BYTES_MAX = 64 * 1024 * 1024  # files that were read and are not decoded yet: 300 of 200 kB
BUSY_SECONDS = 0.02  # the dataflow's thread has not come back for so long: the detector is slow
MISSING_SECONDS = 1.0  # how often a picture is tried again whose whole tree is missing: a network mount that is down


@dataclass(slots=True, eq=False)
class _Decoding:
    """One picture on its way through the threads. `data`: its file, if that was read early. `busy`: until it is decoded."""

    path: str
    size: int
    data: bytes | None = None
    entry: LedgerEntry | None = None
    """Its row; None: that is not written yet."""
    opened: DecodedPicture | OSError | None = None
    busy: threading.Lock = field(default_factory=threading.Lock)


class Prefetcher:
    """A queue of entries whose pictures are being decoded. One thread puts and takes."""

    def __init__(
        self, base: bytes, threads: int, timings: Timings | None = None, wake: threading.Event | None = None
    ) -> None:
        self.base, self.threads, self.timings = base, threads, timings or NoTimings()
        self.wake = wake or threading.Event()
        """Set whenever a picture is decoded."""
        self._queue = deque[_Decoding]()
        self._work = SimpleQueue[_Decoding | None]()
        self._pool = [threading.Thread(target=self._run, name=f"decode_{n}", daemon=True) for n in range(threads)]
        self._typical = float(PICTURE_BYTES)
        self._warned = False
        self._closing = threading.Event()
        self.polled_at = 0.0
        """When the source was polled last and had room, in monotonic seconds."""
        self._early: dict[File, bytes | _Decoding] = {}
        self._early_bytes = 0
        self._turn = threading.Lock()
        for thread in self._pool:
            thread.start()

    def __len__(self) -> int:
        return len(self._queue)

    def room(self, taken: int = 0) -> int:
        """How many more pictures may be decoded now, while so many wait elsewhere; at least one if there is none here."""
        free = int(BYTES_MAX / self._typical) - len(self._queue) - taken
        return max(free, 0 if self._queue else 1)

    def put(self, entry: LedgerEntry, decode: bool = True) -> None:
        """Queue an entry; without `decode` its file is not opened."""
        early = self._take_early(entry) if self._early else None
        if isinstance(early, _Decoding) and decode:
            early.entry = entry
            self._queue.append(early)
            return
        decoding = _Decoding(entry.frame.path, entry.size, early if isinstance(early, bytes) else None, entry)
        self._queue.append(decoding)
        if decode:
            decoding.busy.acquire()
            self._work.put(decoding)

    def decode_early(self, files: Sequence[File]) -> None:
        """Decode these, whose rows are being written, if nothing else is being decoded. For discovery's thread."""
        if len(files) > self.threads or self._early or self._queue:
            return
        for file in files:
            decoding = _Decoding(escape(file.path), file.size)
            decoding.busy.acquire()
            with self._turn:
                self._early[file] = decoding
            self._work.put(decoding)

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
        """Drop what was read or decoded early and never queued."""
        with self._turn:
            self._early, self._early_bytes = {}, 0

    def _take_early(self, entry: LedgerEntry) -> bytes | _Decoding | None:
        with self._turn:
            early = self._early.pop(File(entry.mtime_ns, unescape(entry.frame.path), entry.size), None)
            self._early_bytes -= len(early) if isinstance(early, bytes) else 0
            return early

    def take(self, limit: int) -> list[tuple[LedgerEntry, DecodedPicture | None]]:
        """Take what is ready at the front, at most `limit`."""
        out: list[tuple[LedgerEntry, DecodedPicture | None]] = []
        while self._queue and len(out) < limit:
            if not self._queue[0].busy.acquire(blocking=False):
                break
            first = self._queue.popleft()
            if isinstance(first.opened, OSError):
                raise first.opened
            if first.opened:
                size = first.opened.nbytes
                self._typical = max(size, self._typical + (size - self._typical) / 16, 1.0)
            assert first.entry
            out.append((first.entry, first.opened))
        return out

    def _run(self) -> None:
        """Decode what was put, on one of the threads."""
        while (decoding := self._work.get()) and not self._closing.is_set():
            try:
                decoding.opened = self._decode(decoding.path, decoding.size, decoding.data)
            except OSError as error:  # out of a resource; raised where it is taken
                decoding.opened = error
            decoding.busy.release()
            if decoding.entry:  # else it is taken once it has its row
                self.wake.set()

    def _decode(self, relative: str, size: int, data: bytes | None) -> DecodedPicture:
        """Decode a picture. If the whole tree is missing, the file did not vanish: wait until it is there again."""
        path = os.path.join(self.base, unescape(relative))  # noqa: PTH118  (pathlib has no bytes)
        began = time.perf_counter()
        opened = open_picture(path, size, data)
        self.timings.add("decode", [time.perf_counter() - began])
        if opened.content_hash is None and not relative.startswith("/"):
            while self._is_tree_missing(relative) and not self._closing.wait(MISSING_SECONDS):
                pass
            opened = open_picture(path, size)
        return opened

    def _is_tree_missing(self, relative: str) -> bool:
        try:
            with os.scandir(self.base) as tree:
                missing = next(tree, None) is None  # what an unmounted folder looks like
        except OSError:
            missing = True
        if missing and not self._warned:
            log.warning("%s is missing or empty: %s waits for it", os.fsdecode(self.base), relative)
        self._warned = missing
        return missing

    def close(self) -> None:
        self._closing.set()
        for _ in self._pool:
            self._work.put(None)
        for thread in self._pool:
            thread.join()
