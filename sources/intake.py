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
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import tzinfo
from typing import Any, NamedTuple

from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.record.paths import camera_id, escape, unescape
from hearthwatch.schemas.items import DeadLetter, Upload, to_microseconds
from hearthwatch.schemas.path_rules import CameraPath, PathRules, TimeFormat
from hearthwatch.schemas.picture_formats import JPEG, PICTURE_FORMATS
from hearthwatch.sources.capture_time import (
    CLOCK_SECONDS_AHEAD,
    HEAD_BYTES,
    HEAD_BYTES_MAX,
    UPLOAD_SECONDS_MAX,
    Mode,
    ends_before_picture,
    find_capture_time,
    jpeg_segments,
)
from hearthwatch.sources.tree import MTIME_NS_MAX, File

log = logging.getLogger(__name__)

STAGE = "files"  # `error_stage` of what never becomes a frame
TAKE_AT_ONCE = 500  # rows per transaction: 15 ms, during which the rest of the pipeline cannot write
START_BYTES = max(len(known.start) for known in PICTURE_FORMATS)
TAIL_BYTES = 64 * 1024  # of padding or a maker's block behind a picture's end
UNREADABLE_MAX = 10_000  # paths remembered, and quarantined frames of which the unreadable are tried again: 20 ms
END_BYTES = max(len(known.end) for known in PICTURE_FORMATS)
NOTHING: Mapping[Any, Any] = {}


class CaptureClock(NamedTuple):
    """What gives capture times, and the zone of the cameras' clocks (None: the system's)."""

    mode: Mode = "auto"
    zone: tzinfo | None = None


class Intake:
    """Writes rows for what discovery found. Belongs to the thread of its ledger."""

    def __init__(self, base: bytes, ledger: Ledger, clock: CaptureClock, paths: PathRules | None = None) -> None:
        self.base, self.ledger, self.clock, self.paths = base, ledger, clock, paths or PathRules()
        self._prefix = base.rstrip(b"/") + b"/"
        self.doubted, self.no_time = Counter[str](), Counter[str]()
        """Pictures of each camera whose clock cannot be right; those that only their modification gave a time."""
        self.second_folders: set[str] = set()
        """Those that have the same camera id as another one."""
        self.unreadable: dict[bytes, str] = {}
        """Files that wait because they cannot be read, and why."""

    def take(
        self, files: list[File], written: Mapping[bytes, int] = NOTHING, behind: Mapping[str, int] = NOTHING
    ) -> set[str]:
        """Write rows for these complete files, in order of arrival; those that cannot be read are left for later.

        `written`: when files were seen being written (path → nanoseconds since 1970, of this machine's clock).
        `behind`: what the rows of a camera get as `behind`. Returns the cameras that got rows with `behind`.
        """
        files.sort()
        cameras_behind: set[str] = set()
        for start in range(0, len(files), TAKE_AT_ONCE):
            cameras, part = self.ledger.cameras(), files[start : start + TAKE_AT_ONCE]
            found = [self._row(file, cameras, written.get(file.path), behind) for file in part]
            rows = [row for row in found if row]
            self._write(rows)
            cameras_behind |= {self.ledger.merged_into(row.camera_id or "") for row in rows if row.behind}
        return cameras_behind

    def camera_of(self, path: bytes) -> str:
        """Return the id of the camera that this file is of; empty: of none."""
        return self.ledger.merged_into(self.folder_of(path))

    def folder_of(self, path: bytes) -> str:
        """Return the camera id of the folder that this file is in, also if that was merged into another; empty: it is in none."""
        where = self.paths.camera.camera(escape(path))
        return camera_id(where.name) if where else ""

    def take_inbox(self, limit: int = TAKE_AT_ONCE) -> int:
        """Write rows for what plug-in sources and backfills enqueued, at most so many; return for how many."""
        uploads = self.ledger.inbox(limit)
        if uploads:
            cameras = self.ledger.cameras()
            self._write([self._upload_row(upload, cameras) for _, upload in uploads], [id for id, _ in uploads])
        return len(uploads)

    def take_readable(self) -> bool:
        """Take pictures in again that could not be read and now can; return whether there were any. Drop those that are gone."""
        for path in [path for path in self.unreadable if not os.path.lexists(os.path.join(self.base, path))]:
            del self.unreadable[path]
        rows = self.ledger.record.rows(
            "SELECT id, path, mtime_ns, size FROM (SELECT * FROM frames WHERE state = 'quarantined' ORDER BY id DESC LIMIT ?) AS f "
            "WHERE error LIKE 'unreadable:%' "
            "AND attempt = (SELECT max(attempt) FROM frames AS g WHERE (g.path, g.mtime_ns, g.size) = (f.path, f.mtime_ns, f.size)) "
            "AND discovered_at + (500000 << min(attempt, 14)) <= ? "  # after 1, 2, 4 s … at most 2 h: a bad disk stays bad
            "ORDER BY id", UNREADABLE_MAX, time.time_ns() // 1000,
        )  # fmt: skip
        again = [id for id, path, *key in rows if _is_readable(os.path.join(self.base, unescape(path)), *key)]
        for id in again:
            self.ledger.retry(id, self.ledger.now())
        return bool(again)

    def take_refused(self, path: str, mtime_ns: int, size: int) -> str | None:
        """Take a picture in again that was refused because of its folder; return why it still cannot be."""
        file = File(mtime_ns, unescape(path), size)
        row = self._row(file, self.ledger.cameras())
        if row is None:
            return f"unreadable: {self.unreadable[file.path]}"
        if row.error:
            return row.error.reason
        attempt = self.ledger.last_attempt(path, mtime_ns, size) + 1
        self._write([row._replace(attempt=attempt, arrived=time.time_ns() // 1000)])
        return None

    def _write(self, found: list[FoundFile], inbox_ids: Iterable[int] = ()) -> None:
        self.ledger.discover(found, self.ledger.now(), inbox_ids)

    def _row(
        self, file: File, cameras: dict[str, str], written_ns: int | None = None, behind: Mapping[str, int] = NOTHING
    ) -> FoundFile | None:
        """Return a file's row; None: it cannot be read."""
        path = escape(file.path)
        where = self.paths.camera.camera(path)
        id, error = self._camera(where, cameras)
        modified_ns = believable_mtime(file.mtime_ns, written_ns, time.time_ns())
        try:
            at = self._capture_time(self._prefix + file.path, where.below if where else path, modified_ns, id or "")
        except OSError as reason:
            if not self.unreadable:
                log.warning("%s cannot be read (%s): it waits until it can", path, reason.strerror)
            if len(self.unreadable) < UNREADABLE_MAX:
                self.unreadable[file.path] = reason.strerror or str(reason)
            return None
        if self.unreadable:
            self.unreadable.pop(file.path, None)
        folder, name = (where.folder, where.name) if id and where else (None, None)
        return FoundFile(
            id, folder, path, file.mtime_ns, file.size, at, modified_ns // 1000, error, 1,
            behind.get(self.ledger.merged_into(id), 0) if behind and id else 0, name,
        )  # fmt: skip

    def _camera(self, where: CameraPath | None, cameras: dict[str, str]) -> tuple[str | None, DeadLetter | None]:
        """Return the camera's id, or why there is none. Its folder is added to `cameras`."""
        id, pattern = camera_id(where.name) if where else "", self.paths.camera.text
        if where is None or not id:
            parts = f"its path has not the parts of HEARTHWATCH_CAMERA = {pattern}"
            why = "not in a camera folder" if pattern == "{1}" else parts
            return None, DeadLetter(STAGE, f"{why}: {no_camera(where.name)}" if where else why)
        first = cameras.setdefault(id, where.folder)
        if first == where.folder or not _is_folder(self._prefix + unescape(first)):
            return id, None  # a folder that was renamed is no second one
        fix = "rename one of the two folders"
        if pattern != "{1}":
            fix = f"HEARTHWATCH_CAMERA = {pattern} has to distinguish them"
        reason = f"`{where.folder}` has the same camera id as `{first}` (`{id}`): {fix}"
        if where.folder not in self.second_folders:
            self.second_folders.add(where.folder)
            log.warning("%s; the pictures in `%s` are quarantined", reason, where.folder)
        return id, DeadLetter(STAGE, reason)

    def _upload_row(self, upload: Upload, cameras: dict[str, str]) -> FoundFile:
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
            error = DeadLetter(STAGE, no_camera(upload.camera))
        where = self.paths.camera.camera(path) if inside else None
        own = where.folder if where and camera_id(where.name) == id else upload.camera
        modified_ns = believable_mtime(mtime_ns, None, time.time_ns())
        captured_at = to_microseconds(upload.captured_at) if upload.captured_at else 0
        if not upload.captured_at and not error:
            try:
                captured_at = self._capture_time(absolute, path, modified_ns, id)
            except OSError as reason:  # its decoding reports it, and the sweep takes it in again
                log.debug("%s: %s", path, reason)
                captured_at = modified_ns // 1000
        return FoundFile(
            id or None, cameras.get(id, own) if id else None, path, mtime_ns, size, captured_at, modified_ns // 1000,
            error, name=upload.camera,
        )  # fmt: skip

    def _capture_time(self, absolute: bytes, below: str, modified_ns: int, camera: str) -> int:
        """Find when a picture was taken, and count whose time is doubtful.

        Raises:
            OSError: the file is there and cannot be read.
        """
        head = read_head(absolute, HEAD_BYTES if self.clock.mode in ("auto", "exif") else 1)
        formats = formats_of(camera, self.paths.time_formats)
        at, source, doubted = find_capture_time(below, modified_ns, head, *self.clock, formats)
        self.doubted[camera] += doubted
        self.no_time[camera] += source == "mtime" and self.clock.mode != "mtime"
        return at


def believable_mtime(mtime_ns: int, written_ns: int | None, now_ns: int) -> int:
    """Return a file's mtime, or when it was seen (being written, or now) if that is too far from it to be true.

    A picture that is seen being written was taken about now; none was modified in the future.
    """
    seen = now_ns if written_ns is None else written_ns
    old = written_ns is not None and mtime_ns < written_ns - UPLOAD_SECONDS_MAX * 10**9
    return seen if old or mtime_ns > seen + CLOCK_SECONDS_AHEAD * 10**9 else mtime_ns


def _is_folder(folder: bytes) -> bool:
    """Whether the folder is there; one that cannot be asked has not been renamed."""
    try:
        return stat.S_ISDIR(os.stat(folder).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def formats_of(camera: str, formats: Iterable[TimeFormat]) -> list[TimeFormat]:
    """Return those that count for the camera with this id."""
    return [known for known in formats if known.camera is None or camera_id(known.camera) == camera]


def no_camera(name: str) -> str:
    return f"`{name}` has no letter or digit to name a camera by"


def _is_readable(path: bytes, mtime_ns: int, size: int) -> bool:
    """Whether the file that had this mtime and size is still there, and its first byte can be read."""
    try:
        found = os.stat(path)
        return (found.st_mtime_ns, found.st_size) == (mtime_ns, size) and bool(read_parts(path, (0, 1)))
    except OSError:
        return False


def is_complete(path: bytes, size: int) -> bool:
    """Whether a file of this size ends as its format ends: a JPEG with EOI, a PNG with IEND, both with padding behind it.

    A JPEG may also have a maker's block behind its end, if that is not longer than `TAIL_BYTES`.
    """
    try:
        start, end = read_parts(path, (0, START_BYTES), (max(0, size - END_BYTES), END_BYTES))
        known = next((known for known in PICTURE_FORMATS if start.startswith(known.start)), None)
        if known is None or end.endswith(known.end):
            return known is not None
        (tail,) = read_parts(path, (max(0, size - TAIL_BYTES), TAIL_BYTES))
        if tail.rstrip(b"\0\xff").endswith(known.end):
            return True
        picture = max((at for at, _ in jpeg_segments(read_head(path))), default=size) if known is JPEG else size
        return size - len(tail) + tail.rfind(known.end) > picture  # an end before it is that of the thumbnail in EXIF
    except OSError:
        return False


def read_head(path: bytes, length: int = HEAD_BYTES) -> bytes:
    """Read the beginning of a file, as far as EXIF may stand; nothing of one that is gone.

    Raises:
        OSError: the file is there and cannot be read.
    """
    try:
        (head,) = read_parts(path, (0, length))
        return read_parts(path, (0, HEAD_BYTES_MAX))[0] if ends_before_picture(head) else head
    except (FileNotFoundError, NotADirectoryError):
        return b""


def read_parts(path: bytes, *parts: tuple[int, int]) -> list[bytes]:
    """Read these parts (offset, length) of a file. Waits for no FIFO that took a file's place.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return [os.pread(descriptor, length, offset) for offset, length in parts]
    finally:
        os.close(descriptor)
