"""Put old pictures into the inbox of the ledger, in the order in which they were taken, a few at a time.

No picture is processed twice: one whose path, mtime and size are in the ledger is skipped, so an interrupted backfill
continues where it was. A live picture waits behind one batch of the detector at most: no more of the inbox is read at a
time (`hearthwatch.sources.discovery`). The inbox itself holds `AHEAD_SECONDS` of work, behind which only plug-ins' pictures wait.
"""

from __future__ import annotations

import os
import stat
import time
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.ledger import LOOKUP_KEYS_MAX, Ledger
from hearthwatch.record.paths import camera_id, escape
from hearthwatch.schemas import Upload
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.items import from_microseconds
from hearthwatch.sources.capture_time import CLOCK_SECONDS_AHEAD, HEAD_BYTES, Mode, find_capture_time
from hearthwatch.sources.files import Files
from hearthwatch.sources.intake import read
from hearthwatch.sources.tree import MTIME_NS_MAX, is_picture_path

AHEAD_SECONDS = 0.75  # of work in the inbox; `step` is called every 0.1 s, an empty inbox is read every 0.5 s
AHEAD_MIN, AHEAD_MAX = 2, 1000  # pictures; the first is what is tried before it is known how fast they go
RATE_SECONDS = 0.25  # how often the speed is measured again …
RATE_KEPT = 0.8  # … of which so much is believed of the last one: a moment without pictures is no slow pipeline

Key = tuple[str, int, int]


class OldPicture(NamedTuple):
    """A picture; sorts by the time it was taken. `key` is the ledger's: escaped path, mtime, size."""

    captured_at: int
    key: Key
    path: str
    camera: str


class PictureSearch:
    """The pictures below a folder. Their camera is `camera`, else the first folder's name, in the upload tree the tree's."""

    def __init__(self, folder: Path, files: Files, context: Context, camera: str | None) -> None:
        self.folder = os.path.normpath(os.fsencode(folder.absolute()))
        self.base = os.path.normpath(os.fsencode(context.base_path.absolute()))
        self.camera = camera
        self.mode, self.zone = files.capture_time, context.zone
        self.without_camera: list[bytes] = []
        """Pictures that lie in no camera's folder."""
        self.unreadable: list[str] = []

    def __iter__(self) -> Iterator[OldPicture]:
        for where, folders, names in os.walk(self.folder, onerror=self._unreadable):
            folders[:] = sorted(name for name in folders if not name.startswith(b"."))
            for name in names:
                if is_picture_path(name) and (old := self._old(os.path.join(where, name))):  # noqa: PTH118
                    yield old

    def _unreadable(self, error: OSError) -> None:
        self.unreadable.append(f"{escape(os.fsencode(error.filename))}: {error.strerror}")

    def _old(self, path: bytes) -> OldPicture | None:
        try:
            found = os.lstat(path)
        except OSError:
            return None  # moved away meanwhile
        if not stat.S_ISREG(found.st_mode):
            return None
        inside = path.startswith(self.base + b"/")
        top, slash, below = path[len(self.base if inside else self.folder) + 1 :].partition(b"/")
        camera = self.camera or escape(top)
        if not camera_id(camera) or not (slash or self.camera):
            self.without_camera.append(path)
            return None
        mtime_ns = min(max(found.st_mtime_ns, 0), MTIME_NS_MAX)
        key = escape(path[len(self.base) + 1 :] if inside else path), mtime_ns, found.st_size
        head = read(path, 0, HEAD_BYTES) if self.mode in ("auto", "exif") else b""
        at = old_capture_time(escape(below or top), mtime_ns, head, self.mode, self.zone)
        return OldPicture(at, key, os.fsdecode(path), camera)


def old_capture_time(path: str, mtime_ns: int, head: bytes, mode: Mode, zone: tzinfo | None) -> int:
    """Find when an old picture was taken. Copying gives a file a new mtime, so `auto` believes any EXIF or name that is older."""
    at, doubted = find_capture_time(path, mtime_ns, head, mode, zone)
    if not doubted:
        return at
    modified = mtime_ns // 1000
    times = (find_capture_time(path, mtime_ns, head, way, zone).at for way in ("exif", "name"))
    return next((at for at in times if at != modified and at <= modified + CLOCK_SECONDS_AHEAD * 1_000_000), modified)


def find_unknown(ledger: Ledger, pictures: Sequence[OldPicture]) -> list[OldPicture]:
    """Return those that are not in the ledger, in the order in which they were taken."""
    out: list[OldPicture] = []
    for start in range(0, len(pictures), LOOKUP_KEYS_MAX):
        part = pictures[start : start + LOOKUP_KEYS_MAX]
        known = ledger.find_known([picture.key for picture in part])
        out += [picture for picture in part if picture.key not in known]
    return sorted(out)


class InboxFeeder:
    """Enqueues pictures as fast as a pipeline decides them, and no faster. Call `step` every 0.1 s."""

    def __init__(self, record: Record, pictures: Sequence[OldPicture]) -> None:
        self.record, self.ledger = record, Ledger(record)
        self.total, self.done, self.vanished = len(pictures), 0, 0
        """All; decided; those that changed or vanished before they were read (a part of `done`)."""
        self._queue, self._enqueued = deque(pictures), deque[OldPicture]()
        self._folders = self.ledger.cameras()
        self.undecided_max = AHEAD_MIN
        """How many undecided pictures there may be."""
        self._rate, self._rated = 0.0, (time.monotonic(), 0)

    @property
    def is_finished(self) -> bool:
        return self.done == self.total

    def step(self) -> None:
        """Count what was decided, and enqueue as many as are decided in `AHEAD_SECONDS`."""
        (waiting,) = self.record.one("SELECT count(*) FROM inbox")
        self._count_decided(inbox_empty=not waiting)
        behind = waiting + self.record.counters()["discovered"]
        self._adapt_limit(time.monotonic(), behind)
        room = min(len(self._queue), self.undecided_max - behind)
        if room > 0:
            part = [self._queue.popleft() for _ in range(room)]
            self.ledger.enqueue([self._upload(picture) for picture in part])
            self._enqueued.extend(part)

    def _upload(self, picture: OldPicture) -> Upload:
        folder = self._folders.get(camera_id(picture.camera), picture.camera)  # its live folder keeps its name
        return Upload(folder, picture.path, from_microseconds(picture.captured_at))

    def _count_decided(self, inbox_empty: bool) -> None:
        """Count those in front that are decided. What has no row will get none if the inbox was empty."""
        sql = "SELECT state FROM frames WHERE path = ? AND mtime_ns = ? AND size = ? ORDER BY attempt DESC"
        while self._enqueued:
            row = self.record.one(sql, *self._enqueued[0].key)
            if (row is None and not inbox_empty) or (row and row[0] == "discovered"):
                return
            self.vanished += row is None
            self.done += 1
            self._enqueued.popleft()

    def _adapt_limit(self, now: float, behind: int) -> None:
        """Double the limit when nothing is left to decide; else set it to what is decided in `AHEAD_SECONDS`."""
        since, before = self._rated
        if not behind and self.done:
            self.undecided_max = min(AHEAD_MAX, 2 * self.undecided_max)
            self._rated = (now, self.done)
        elif now - since >= RATE_SECONDS and self.done > before:
            self._rate = max((self.done - before) / (now - since), self._rate * RATE_KEPT)
            self.undecided_max = max(AHEAD_MIN, min(AHEAD_MAX, int(self._rate * AHEAD_SECONDS)))
            self._rated = (now, self.done)
