"""Old pictures -> the inbox of the ledger, in the order in which they were taken, never many at a time.

Nothing is taken twice: a picture whose path, mtime and size are in the ledger is passed over, so an interrupted backfill goes
on where it was. A live picture waits behind one batch of the detector's at most: the inbox is emptied by portions of that
(`hearthwatch.sources.discovery`). The inbox itself holds `AHEAD_SECONDS` of work, behind which only plug-ins' pictures wait.
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
from hearthwatch.sources.capture_time import CLOCK_SECONDS_AHEAD, HEAD_BYTES, Mode, taken
from hearthwatch.sources.files import Files
from hearthwatch.sources.intake import read
from hearthwatch.sources.tree import MTIME_NS_MAX, is_picture_path

AHEAD_SECONDS = 0.75  # of work in the inbox; `step` is called every 0.1 s, an empty inbox is looked at every 0.5 s
AHEAD_MIN, AHEAD_MAX = 2, 1000  # pictures; the first is what is tried before it is known how fast they go
RATE_SECONDS = 0.25  # how often the speed is measured anew …
RATE_KEPT = 0.8  # … of which so much is believed of the last one: a moment without pictures is no slow pipeline

Key = tuple[str, int, int]


class Old(NamedTuple):
    """A picture; sorts by the time it was taken. `key` is the ledger's: escaped path, mtime, size."""

    captured_at: int
    key: Key
    path: str
    camera: str


class Search:
    """The pictures below a folder, and whose they are: `camera`'s; in the upload tree the tree's; else the first folder's."""

    def __init__(self, folder: Path, files: Files, context: Context, camera: str | None) -> None:
        self.folder = os.path.normpath(os.fsencode(folder.absolute()))
        self.base = os.path.normpath(os.fsencode(context.base_path.absolute()))
        self.camera = camera
        self.mode, self.zone = files.capture_time, context.zone
        self.homeless: list[bytes] = []
        """Pictures in no folder that would be a camera."""
        self.unreadable: list[str] = []

    def __iter__(self) -> Iterator[Old]:
        for where, folders, names in os.walk(self.folder, onerror=self._unreadable):
            folders[:] = sorted(name for name in folders if not name.startswith(b"."))
            for name in names:
                if is_picture_path(name) and (old := self._old(os.path.join(where, name))):  # noqa: PTH118
                    yield old

    def _unreadable(self, error: OSError) -> None:
        self.unreadable.append(f"{escape(os.fsencode(error.filename))}: {error.strerror}")

    def _old(self, path: bytes) -> Old | None:
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
            self.homeless.append(path)
            return None
        mtime_ns = min(max(found.st_mtime_ns, 0), MTIME_NS_MAX)
        key = escape(path[len(self.base) + 1 :] if inside else path), mtime_ns, found.st_size
        looks = self.mode in ("auto", "exif")
        head = read(path, 0, HEAD_BYTES) if looks else b""
        at = captured(escape(below or top), mtime_ns, head, self.mode, self.zone)
        return Old(at, key, os.fsdecode(path), camera)


def captured(path: str, mtime_ns: int, head: bytes, mode: Mode, zone: tzinfo | None) -> int:
    """When an old picture was taken. Copying gives a file a new mtime, so `auto` believes any EXIF or name that is older."""
    at, doubted = taken(path, mtime_ns, head, mode, zone)
    if not doubted:
        return at
    modified = mtime_ns // 1000
    told = (taken(path, mtime_ns, head, way, zone).at for way in ("exif", "name"))
    return next((at for at in told if at != modified and at <= modified + CLOCK_SECONDS_AHEAD * 1_000_000), modified)


def unknown(ledger: Ledger, pictures: Sequence[Old]) -> list[Old]:
    """Those that the ledger has not seen, in the order in which they were taken."""
    out: list[Old] = []
    for start in range(0, len(pictures), LOOKUP_KEYS_MAX):
        part = pictures[start : start + LOOKUP_KEYS_MAX]
        known = ledger.find_known([picture.key for picture in part])
        out += [picture for picture in part if picture.key not in known]
    return sorted(out)


class Feeder:
    """Hands pictures to a pipeline as fast as it decides them, and no faster. Call `step` every `LOOK_SECONDS`."""

    def __init__(self, record: Record, pictures: Sequence[Old]) -> None:
        self.record, self.ledger = record, Ledger(record)
        self.total, self.done, self.gone = len(pictures), 0, 0
        """All; decided; those that changed or vanished before they were taken in (a part of `done`)."""
        self._later, self._sent = deque(pictures), deque[Old]()
        self._folders = self.ledger.cameras()
        self.ahead = AHEAD_MIN
        """How many undecided pictures there may be."""
        self._rate, self._rated = 0.0, (time.monotonic(), 0)

    @property
    def finished(self) -> bool:
        return self.done == self.total

    def step(self) -> None:
        """See what was decided, and send as many as are decided in `AHEAD_SECONDS`."""
        (waiting,) = self.record.one("SELECT count(*) FROM inbox")
        self._settle(taken_in=not waiting)
        behind = waiting + self.record.counters()["discovered"]
        self._adapt(time.monotonic(), behind)
        room = min(len(self._later), self.ahead - behind)
        if room > 0:
            part = [self._later.popleft() for _ in range(room)]
            self.ledger.enqueue([self._upload(picture) for picture in part])
            self._sent.extend(part)

    def _upload(self, picture: Old) -> Upload:
        folder = self._folders.get(camera_id(picture.camera), picture.camera)  # its live folder keeps its name
        return Upload(folder, picture.path, from_microseconds(picture.captured_at))

    def _settle(self, taken_in: bool) -> None:
        """Count those in front that are decided. `taken_in`: the inbox was empty, so who has no row will not get one."""
        sql = "SELECT state FROM frames WHERE path = ? AND mtime_ns = ? AND size = ? ORDER BY attempt DESC"
        while self._sent:
            row = self.record.one(sql, *self._sent[0].key)
            if (row is None and not taken_in) or (row and row[0] == "discovered"):
                return
            self.gone += row is None
            self.done += 1
            self._sent.popleft()

    def _adapt(self, now: float, behind: int) -> None:
        """A pipeline that has nothing left gets twice as much; else as much as it does in `AHEAD_SECONDS`."""
        since, before = self._rated
        if not behind and self.done:
            self.ahead = min(AHEAD_MAX, 2 * self.ahead)
            self._rated = (now, self.done)
        elif now - since >= RATE_SECONDS and self.done > before:
            self._rate = max((self.done - before) / (now - since), self._rate * RATE_KEPT)
            self.ahead = max(AHEAD_MIN, min(AHEAD_MAX, int(self._rate * AHEAD_SECONDS)))
            self._rated = (now, self.done)
