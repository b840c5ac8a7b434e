"""Find when a picture was taken: EXIF, else its name, else the time of its last modification.

Pure; never raises. A time that cannot be true is skipped, and the next best is used. A camera's clock is believed only
where it can be right: a picture is uploaded within a day of being taken. Local times that exist twice
(or never) because clocks are changed are read as the one nearest to the modification.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal, NamedTuple

from hearthwatch.schemas.items import to_microseconds

Mode = Literal["auto", "mtime", "name", "exif"]

HEAD_BYTES = 64 * 1024  # of the file, enough for all EXIF: a JPEG segment is no longer
EXIF_WITHIN_BYTES = 4096  # EXIF is the first or second segment; searching 64 kB for it takes 35 µs, this 2
UPLOAD_SECONDS_MAX = 24 * 3600  # a camera that buffers uploads a picture within a day …
CLOCK_SECONDS_AHEAD = 60  # … and its clock is at most this far ahead of ours

_NAME = re.compile(
    r"(?<!\d)((?:19|20)\d\d)(?P<d>[-_.]?)(\d\d)(?P=d)(\d\d)"  # 20260131, 2026-01-31, 2026_01_31
    r"(?:[-_T /.,~@]|at){0,3}"
    r"(\d\d)(?P<t>[-_.:h]?)(\d\d)(?:(?P=t)|(?<=h..)m)(\d\d)"  # 235959, 23-59-59, 23h59m59
    r"(?:[-_.,]?(\d{6}|\d{3}))?(?!\d)(Z|\+\d\d:?\d\d)?"
)
_FOLDERS = re.compile(r"((?:19|20)\d\d)(-?)(\d\d)\2(\d\d)/(?:[^/]+/){0,3}(\d\d)/(\d\d)[/.](\d\d)(?!\d)")  # Dahua
_UNIX = re.compile(r"(?<!\d)(\d{10})(?:(\d{6}|\d{3})|\.(\d{3,6}))?(?!\d)")  # seconds, milliseconds, microseconds
_EXIF = re.compile(r"(\d{4})\D(\d\d)\D(\d\d)\D(\d\d)\D(\d\d)\D(\d\d)")


class CaptureTime(NamedTuple):
    """A capture time in microseconds UTC, and whether the picture named another one that cannot be true."""

    at: int
    doubted: bool


def find_capture_time(
    path: str, mtime_ns: int, head: bytes, mode: Mode = "auto", zone: tzinfo | None = None
) -> CaptureTime:
    """Find the capture time of the file at `path` (below its camera's folder) that starts with `head`.

    `zone` is where the camera's clock is; None: the system's zone. `mtime_ns` lies in 1970 … 2262.
    """
    modified = datetime.fromtimestamp(mtime_ns // 10**9, UTC) + timedelta(microseconds=mtime_ns % 10**9 // 1000)
    doubted = False
    for times in _candidates(path, head, mode):
        found = min((_utc(time, zone) for time in times), key=lambda at: _distance(at, modified))
        doubted = True
        if mode != "auto" or _is_plausible(found, modified):
            return CaptureTime(to_microseconds(found), False)
    return CaptureTime(to_microseconds(modified), doubted)


def _candidates(path: str, head: bytes, mode: Mode) -> Iterator[list[datetime]]:
    """Yield the times that EXIF and name give, best first; a local time that exists twice as both."""
    readings = []
    if mode in ("auto", "exif"):
        readings.append(exif_time(head))
    if mode in ("auto", "name"):
        readings.append(name_time(path))
    for time in readings:
        if time is not None:
            yield [time] if time.tzinfo else [time, time.replace(fold=1)]


def _utc(time: datetime, zone: tzinfo | None) -> datetime:
    """Convert a time; a local one without a zone is in `zone`."""
    try:
        return (time if time.tzinfo or zone is None else time.replace(tzinfo=zone)).astimezone(UTC)
    except (OverflowError, OSError, ValueError):  # the first or last day of the calendar
        return time.replace(tzinfo=UTC)


def _is_plausible(at: datetime, modified: datetime) -> bool:
    return -CLOCK_SECONDS_AHEAD <= (modified - at).total_seconds() <= UPLOAD_SECONDS_MAX


def _distance(at: datetime, modified: datetime) -> tuple[bool, timedelta]:
    """Smaller is likelier: a picture is older than its file."""
    return at > modified + timedelta(seconds=CLOCK_SECONDS_AHEAD), abs(modified - at)


# -- names


def name_time(path: str) -> datetime | None:
    """Read the time in a file's name, without a zone unless it names one; a date may stand in the folders above."""
    stem = path.rpartition(".")[0] or path
    name = stem.rpartition("/")[2]
    for match in (*_NAME.finditer(name), *_NAME.finditer(stem)):
        year, _, month, day, hour, _, minute, second, fraction, offset = match.groups()
        found = _datetime(year, month, day, hour, minute, second, fraction, offset)
        if found:
            return found
    if unix := _UNIX.search(name):
        return datetime.fromtimestamp(int(unix[1]), UTC) + timedelta(seconds=float(f"0.{unix[2] or unix[3] or 0}"))
    if folders := _FOLDERS.search(stem):
        year, _, month, day, hour, minute, second = folders.groups()
        return _datetime(year, month, day, hour, minute, second)
    return None


def _datetime(*parts: str | None) -> datetime | None:
    """Year … second, then perhaps digits of a fraction and an offset; None if there is no such time."""
    year, month, day, hour, minute, second, fraction, offset, *_ = (*parts, None, None)
    micros = (fraction or "").ljust(6, "0")[:6]
    try:
        return datetime.fromisoformat(f"{year}-{month}-{day}T{hour}:{minute}:{second}.{micros}{offset or ''}")
    except ValueError:
        return None


# -- EXIF (TIFF 6.0 and Exif 2.32: a header, directories of 12-byte entries, values behind offsets)

_EXIF_IFD, _OFFSET, _ORIGINAL_OFFSET = 0x8769, 0x9010, 0x9011
_TIMES = ((0x9003, 0x9291, _ORIGINAL_OFFSET), (0x9004, 0x9292, 0x9012), (0x0132, 0x9290, _OFFSET))
ENTRIES_MAX = 512  # per directory; real ones have some dozens


def exif_time(head: bytes) -> datetime | None:
    """DateTimeOriginal, else DateTimeDigitized, else DateTime, with its fraction and zone if they are there."""
    start = head.find(b"Exif\0\0", 0, EXIF_WITHIN_BYTES)
    tiff = head[start + 6 :] if start >= 0 else _png_exif(head)
    try:
        tags = _tags(tiff)
    except (struct.error, UnicodeDecodeError, KeyError):
        return None
    for time, fraction, offset in _TIMES:
        if match := _EXIF.match(tags.get(time, "")):
            digits = re.match(r"\d*", tags.get(fraction, ""))
            zone = re.fullmatch(r"[+-]\d\d:\d\d|Z", tags.get(offset, "").strip())
            found = _datetime(*match.groups(), digits and digits[0], zone and zone[0])
            if found:
                return found
    return None


def _png_exif(head: bytes) -> bytes:
    start = head.find(b"eXIf", 0, EXIF_WITHIN_BYTES) if head.startswith(b"\x89PNG") else -1
    return head[start + 4 :] if start >= 0 else b""


def _tags(tiff: bytes) -> dict[int, str]:
    """Read the text tags of the main directory and of the Exif directory."""
    order = {b"II": "<", b"MM": ">"}[tiff[:2]]
    tags: dict[int, str] = {}
    directories = [struct.unpack_from(order + "I", tiff, 4)[0]]
    for directory in directories:
        (count,) = struct.unpack_from(order + "H", tiff, directory)
        for entry in range(directory + 2, directory + 2 + 12 * min(count, ENTRIES_MAX), 12):
            tag, kind, length, value = struct.unpack_from(order + "HHII", tiff, entry)
            if tag == _EXIF_IFD and len(directories) == 1:
                directories.append(value)
            elif kind == 2:  # text; up to four bytes stand in the entry itself
                text = tiff[entry + 8 : entry + 8 + length] if length <= 4 else tiff[value : value + min(length, 64)]
                tags[tag] = text.split(b"\0")[0].decode("ascii")
    return tags
