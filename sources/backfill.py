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
from collections.abc import Iterable, Iterator, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.ledger import Ledger
from hearthwatch.record.paths import camera_id, escape
from hearthwatch.schemas import Upload
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.items import from_microseconds
from hearthwatch.schemas.path_rules import TimeFormat
from hearthwatch.sources.capture_time import CaptureTime, Mode, find_capture_time
from hearthwatch.sources.files import Files
from hearthwatch.sources.intake import formats_of, read_head
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
    has_time: bool = True
    """Whether EXIF, the name or a format gives the time; else its modification, which a copy may have changed."""


class PictureSearch:
    """The pictures below a folder. Their camera is `camera`, else what HEARTHWATCH_CAMERA says of the path from there, or from the tree."""

    def __init__(
        self, folder: Path, files: Files, context: Context, camera: str | None, formats: Iterable[TimeFormat] = ()
    ) -> None:
        self.folder = os.path.normpath(os.fsencode(folder.absolute()))
        self.base = os.path.normpath(os.fsencode(context.base_path.absolute()))
        self.camera = camera
        self.mode, self.zone, self.paths = files.capture_time, context.zone, context.paths
        self.formats = (*formats, *context.paths.time_formats)
        self.without_camera: list[bytes] = []
        """Pictures that lie in no camera's folder."""
        self.unreadable: list[str] = []
        self.ignored = 0
        """Files and folders that HEARTHWATCH_IGNORE names, that are hidden or a storage's own copies."""

    def __iter__(self) -> Iterator[OldPicture]:
        for where, folders, names in os.walk(self.folder, onerror=self._unreadable):
            folders[:] = sorted(name for name in folders if self._is_kept(os.path.join(where, name)))  # noqa: PTH118
            for path in (os.path.join(where, name) for name in names):  # noqa: PTH118
                if self._is_kept(path) and is_picture_path(path) and (old := self._old(path)):
                    yield old

    def _unreadable(self, error: OSError) -> None:
        self.unreadable.append(f"{escape(os.fsencode(error.filename))}: {error.strerror}")

    def _below(self, path: bytes) -> bytes:
        """Return a path relative to the upload tree, else to the folder."""
        return path[len(self.base if path.startswith(self.base + b"/") else self.folder) + 1 :]

    def _is_kept(self, path: bytes) -> bool:
        ignored = self.paths.ignored_by(self._below(path)) is not None
        self.ignored += ignored
        return not ignored

    def _old(self, path: bytes) -> OldPicture | None:
        try:
            found = os.lstat(path)
            if not stat.S_ISREG(found.st_mode):
                return None
            head = read_head(path)
        except FileNotFoundError:
            return None  # moved away meanwhile
        except OSError as error:
            self._unreadable(OSError(error.errno, error.strerror, path))
            return None
        text = escape(self._below(path))
        where = self.paths.camera.camera(text)
        camera = self.camera or (where.name if where else "")
        if not camera_id(camera):
            self.without_camera.append(path)
            return None
        mtime_ns = min(max(found.st_mtime_ns, 0), MTIME_NS_MAX)
        key = text if path.startswith(self.base + b"/") else escape(path), mtime_ns, found.st_size
        formats = formats_of(camera_id(camera), self.formats)
        taken = old_capture_time(where.below if where else text, mtime_ns, head, self.mode, self.zone, formats)
        return OldPicture(taken.at, key, os.fsdecode(path), camera, taken.source != "mtime" or self.mode == "mtime")


def old_capture_time(
    path: str, mtime_ns: int, head: bytes, mode: Mode, zone: tzinfo | None, formats: Sequence[TimeFormat] = ()
) -> CaptureTime:
    """Find when an old picture was taken. Copying gives a file a new mtime, so `auto` believes any EXIF or name that is older."""
    found = find_capture_time(path, mtime_ns, head, mode, zone, formats)
    return (
        found if found.source != "mtime" else find_capture_time(path, mtime_ns, head, mode, zone, formats, copied=True)
    )


def find_unknown(ledger: Ledger, pictures: Sequence[OldPicture]) -> list[OldPicture]:
    """Return those that are not in the ledger, in the order in which they were taken."""
    known = ledger.find_known([picture.key for picture in pictures])
    return sorted(picture for picture in pictures if picture.key not in known)


class InboxFeeder:
    """Enqueues pictures as fast as a pipeline decides them, and no faster. Call `step` every 0.1 s."""

    def __init__(self, record: Record, pictures: Sequence[OldPicture]) -> None:
        self.record, self.ledger = record, Ledger(record)
        self.total, self.done, self.vanished = len(pictures), 0, 0
        """All; decided; those that changed or vanished before they were read (a part of `done`)."""
        self._queue, self._enqueued = deque(pictures), deque[OldPicture]()
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
        return Upload(picture.camera, picture.path, from_microseconds(picture.captured_at))

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
