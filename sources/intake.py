"""Write complete files and uploads of plug-ins to the ledger: which camera, when taken, when arrived.

What cannot become a frame gets its row all the same, quarantined with its reason. Exactly once: the ledger skips a key
that it knows, and an upload leaves the inbox in the transaction that writes its row.
"""

# pathlib has no bytes:
# ruff: noqa: PTH116, PTH118

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Iterable
from datetime import tzinfo
from typing import NamedTuple

from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.record.paths import camera_id, escape, unescape
from hearthwatch.schemas.items import DeadLetter, Upload, to_microseconds
from hearthwatch.schemas.picture_formats import PICTURE_FORMATS
from hearthwatch.sources.capture_time import HEAD_BYTES, Mode, find_capture_time
from hearthwatch.sources.tree import MTIME_NS_MAX, File

log = logging.getLogger(__name__)

STAGE = "files"  # `error_stage` of what never becomes a frame
TAKE_AT_ONCE = 500  # rows per transaction: 15 ms, during which the rest of the pipeline cannot write
START_BYTES = max(len(known.start) for known in PICTURE_FORMATS)
END_BYTES = max(len(known.end) for known in PICTURE_FORMATS)


class CaptureClock(NamedTuple):
    """What gives capture times, and the zone of the cameras' clocks (None: the system's)."""

    mode: Mode = "auto"
    zone: tzinfo | None = None


class Intake:
    """Writes rows for what discovery found. Belongs to the thread of its ledger."""

    def __init__(self, base: bytes, ledger: Ledger, clock: CaptureClock) -> None:
        self.base, self.ledger, self.clock = base, ledger, clock
        self.new = self.doubted = 0
        """Rows written; pictures whose camera's clock cannot be right."""
        self.second_folders: set[str] = set()
        """Those that have the same camera id as another one."""

    def take(self, files: list[File]) -> None:
        """Write rows for these complete files, in order of arrival."""
        files.sort()
        for start in range(0, len(files), TAKE_AT_ONCE):
            cameras = self.ledger.cameras()
            self._write([self._row(file, cameras) for file in files[start : start + TAKE_AT_ONCE]])

    def take_inbox(self, limit: int = TAKE_AT_ONCE) -> bool:
        """Write rows for what plug-in sources and backfills enqueued, at most so many; return whether there may be more."""
        uploads = self.ledger.inbox(limit)
        if uploads:
            self._write([self._upload_row(upload) for _, upload in uploads], [id for id, _ in uploads])
        return len(uploads) == limit

    def _write(self, found: list[FoundFile], inbox_ids: Iterable[int] = ()) -> None:
        self.new += self.ledger.discover(found, time.time_ns() // 1000, inbox_ids)

    def _row(self, file: File, cameras: dict[str, str]) -> FoundFile:
        top, _, below = file.path.partition(b"/")
        folder = escape(top) if below else None
        id, error = self._camera(folder, cameras)
        return FoundFile(
            id, folder if id else None, escape(file.path), file.mtime_ns, file.size,
            self._capture_time(os.path.join(self.base, file.path), escape(below or top), file.mtime_ns),
            file.mtime_ns // 1000, error,
        )  # fmt: skip

    def _camera(self, folder: str | None, cameras: dict[str, str]) -> tuple[str | None, DeadLetter | None]:
        """Return the camera's id, or why there is none. This folder is added to `cameras`."""
        id = camera_id(folder) if folder else ""
        if folder is None or not id:
            why = f": `{folder}` has no letter or digit to name a camera by" if folder else ""
            return None, DeadLetter(STAGE, f"not in a camera folder{why}")
        first = cameras.setdefault(id, folder)
        if first == folder or not _is_folder(os.path.join(self.base, unescape(first))):
            return id, None  # a folder that was renamed is no second one
        reason = f"`{folder}` has the same camera id as `{first}` (`{id}`): rename one of the two folders"
        if folder not in self.second_folders:
            self.second_folders.add(folder)
            log.warning("%s; the pictures in `%s` are quarantined", reason, folder)
        return id, DeadLetter(STAGE, reason)

    def _upload_row(self, upload: Upload) -> FoundFile:
        """Return the row of a plug-in's upload, which is complete. Inside the tree it has the key that the tree would find."""
        absolute = os.path.normpath(os.path.join(self.base, os.fsencode(upload.path)))
        inside = absolute.startswith(self.base + b"/")
        path = escape(absolute[len(self.base) + 1 :] if inside else absolute)
        id, error = camera_id(upload.camera), None
        mtime_ns = size = 0
        try:
            found = os.stat(absolute)
            mtime_ns, size = min(max(found.st_mtime_ns, 0), MTIME_NS_MAX), found.st_size
            if not stat.S_ISREG(found.st_mode):
                error = DeadLetter(STAGE, "not a regular file")
        except OSError as gone:
            error = DeadLetter(STAGE, f"vanished or unreadable before it was taken in: {gone.strerror}")
        if not id:
            error = DeadLetter(STAGE, f"`{upload.camera}` has no letter or digit to name a camera by")
        if upload.captured_at:
            captured_at = to_microseconds(upload.captured_at)
        else:
            captured_at = 0 if error else self._capture_time(absolute, path, mtime_ns)
        return FoundFile(
            id or None, upload.camera if id else None, path, mtime_ns, size, captured_at, mtime_ns // 1000, error
        )

    def _capture_time(self, absolute: bytes, path: str, mtime_ns: int) -> int:
        head = read(absolute, 0, HEAD_BYTES) if self.clock.mode in ("auto", "exif") else b""
        at, doubted = find_capture_time(path, mtime_ns, head, *self.clock)
        self.doubted += doubted
        return at


def _is_folder(folder: bytes) -> bool:
    """Whether the folder is there; one that cannot be asked has not been renamed."""
    try:
        return stat.S_ISDIR(os.stat(folder).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def is_complete(path: bytes, size: int) -> bool:
    """Whether a file of this size ends as its format ends: a JPEG with EOI, a PNG with IEND."""
    start, end = read(path, 0, START_BYTES), read(path, max(0, size - END_BYTES), END_BYTES)
    return any(start.startswith(known.start) and end.endswith(known.end) for known in PICTURE_FORMATS)


def read(path: bytes, offset: int, length: int) -> bytes:
    """Bytes of a file; nothing if it cannot be read. Waits for no FIFO that took a file's place."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.pread(descriptor, length, offset)
        finally:
            os.close(descriptor)
    except OSError:
        return b""
