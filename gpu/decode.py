"""Read and decode one picture file, ahead of its turn.

The file is read once and decoded once; what is wrong with it comes back as `DecodedPicture.error`, never as an exception, so
that one bad upload stops nobody. The picture keeps its pixels as they are stored: an EXIF orientation is not applied,
so boxes are in pixels of the original picture. Thread-safe; Pillow lets go of the interpreter while it decodes.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from hearthwatch.schemas.items import DeadLetter

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

MEGAPIXELS_MAX = (
    50  # 200 MB once decoded; a 4K camera has 8. InferenceResult up in the header, before anything is decoded
)
SIDE_MAX = 65_535  # pixels, as in a JPEG; a PNG of one very long line is too much for its decoder's counters
BYTES_MAX = 100_000_000  # ten times the largest file a 4K camera writes; anything above is no upload of a camera
READ_PAUSES_SECONDS = (0.02, 0.1)  # a network mount that hiccups is read again; a disk that is broken stays broken
OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # this process' trouble, and no picture's fault
PARTS_MAX = 20_000  # segments or chunks, looked at one by one: 100 MB of PNG in the usual 8 kB have 12,500
SCANS_MAX = 100  # of a JPEG, each of which is a walk over the whole picture; progressive ones have about ten
BYTES_PER_PIXEL = 4  # how Pillow keeps RGB

BARE = frozenset((0x00, 0x01, 0xFF, *range(0xD0, 0xD9)))  # second bytes of markers without a length, and of no marker
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")


class DecodedPicture:
    """A picture file: its bytes, their hash and its pixels, or the `error` that keeps anybody from looking.

    `data` are the bytes as uploaded, for a detector in another process. `width` and `height` are 0 where the header
    could not be read.
    """

    __slots__ = ("_picture", "content_hash", "data", "error", "height", "width")

    def __init__(self) -> None:
        self.data = b""
        self.content_hash: str | None = None
        self.width = self.height = 0
        self.error: DeadLetter | None = None
        self._picture: Image.Image | None = None

    @property
    def nbytes(self) -> int:
        """What this object holds in memory."""
        return len(self.data) + (self.width * self.height * BYTES_PER_PIXEL if self._picture else 0)

    def picture(self) -> Image.Image:
        """The picture as PIL RGB; the same object every time, nobody may draw on it."""
        if self._picture is None:
            raise ValueError(self.error.reason if self.error else "the picture was not decoded")
        return self._picture


class Unusable(Exception):  # noqa: N818  (an answer about a file, not a fault of the program)
    """Why a file is not a picture we can look at."""


def open_picture(path: Path | str | bytes, size: int | None = None) -> DecodedPicture:
    """The picture at `path`, which had this many bytes when it was discovered (None: whatever it has now).

    Its time may have changed since: many FTP clients set it after the upload.

    Raises `OSError` only where this process has run out of something, such as open files.
    """
    opened = DecodedPicture()
    try:
        opened.data = _read(path, size)
        opened.content_hash = blake2b(opened.data, digest_size=16).hexdigest()
        image = _header(opened.data)
        opened.width, opened.height = image.size
        opened._picture = _decoded(image, opened.data)
    except Unusable as reason:
        opened.data = b""
        opened.error = DeadLetter("decode", str(reason))
    return opened


def _read(path: Path | str | bytes, size: int | None) -> bytes:
    for pause in (*READ_PAUSES_SECONDS, None):
        try:
            return _read_once(path, size)
        except (FileNotFoundError, NotADirectoryError):
            raise Unusable("vanished before it was read") from None
        except OSError as error:
            if error.errno in OUT_OF_RESOURCES:
                raise
            if pause is None:
                raise Unusable(f"unreadable: {error.strerror} ({_errno_name(error)})") from None
            time.sleep(pause)
    raise AssertionError("the last pause is None")


def _read_once(path: Path | str | bytes, size: int | None) -> bytes:
    # O_NONBLOCK: opening a FIFO that took the picture's place would wait for a writer, perhaps for ever.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise Unusable("not a regular file")
        if before.st_size > BYTES_MAX:
            raise Unusable(
                f"{before.st_size / 1e6:.0f} MB are more than the {BYTES_MAX / 1e6:.0f} MB a picture may have"
            )
        data = file.read(before.st_size + 1)  # BYTES_MAX would be 100 MB of room, mapped and unmapped each time: 12 µs
        after = os.fstat(file.fileno())
    changed = (after.st_mtime_ns, after.st_size) != (before.st_mtime_ns, before.st_size)
    if changed or size not in (None, after.st_size):
        raise Unusable("replaced by a newer upload before it was read")
    return data


def _errno_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "unknown")


def _header(data: bytes) -> ImageFile:
    """The picture behind its header; nothing is decoded yet."""
    if not data:
        raise Unusable("empty file")
    # Named classes instead of `Image.open`: two formats only, whatever the name says, and no warning of Pillow's own
    # about large pictures, which would need a process-wide switch.
    if data.startswith(b"\xff\xd8\xff"):
        kind: type[ImageFile] = JpegImageFile
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        kind = PngImageFile
    else:
        raise Unusable("not a picture: neither JPEG nor PNG")
    _bounded(data)
    try:
        return kind(BytesIO(data))
    except Exception as error:  # Pillow's parsers raise anything on made-up bytes; any of it means the same here
        raise Unusable(f"not a picture, or truncated in its header: {error}") from None


def _decoded(image: ImageFile, data: bytes) -> Image.Image:
    width, height = image.size
    if width * height > MEGAPIXELS_MAX * 1e6:
        raise Unusable(f"{width}x{height} is over {MEGAPIXELS_MAX} megapixels")
    if max(width, height) > SIDE_MAX:
        raise Unusable(f"{width}x{height} has a side of more than {SIDE_MAX} pixels")
    try:
        image.load()
        picture = _rgb(image)
    except MemoryError:
        raise
    except Exception as error:  # as above
        raise Unusable(f"truncated or broken: {error}") from None
    if not _ends(data):
        raise Unusable("truncated: the end of the picture is missing")
    return picture


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16 bits of grey; `convert` would clip them to white
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "P":  # a palette with half-transparent colours warns on its way straight to RGB
        image = image.convert("RGBA")
    return image.convert("RGB")


def _ends(data: bytes) -> bool:
    """Whether the format's own end is there. Pillow decodes a JPEG whose second half is zeros without a word."""
    if data.startswith(b"\x89PNG"):
        return b"IEND\xaeB`\x82" in data
    return data.find(b"\xff\xd9", _first_scan(data)) > 0


def _bounded(data: bytes) -> None:
    """Refuse what a decoder would be busy with for minutes: millions of empty parts, thousands of scans."""
    parts = _chunks(data) if data.startswith(b"\x89PNG") else _segments(data)
    scans = 0
    for n, scan in enumerate(parts):
        scans += scan
        if n > PARTS_MAX:
            raise Unusable(f"made of more than {PARTS_MAX} parts")
        if scans > SCANS_MAX:
            raise Unusable(f"made of more than {SCANS_MAX} scans")


def _chunks(data: bytes) -> Iterator[bool]:
    """One `False` for each chunk of a PNG, up to its end."""
    at = 8
    while at + 12 <= len(data) and data[at + 4 : at + 8] != b"IEND":
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        yield False


def _segments(data: bytes) -> Iterator[bool]:
    """For each segment of a JPEG, and each byte between segments, whether a scan starts there. Up to the first scan if it
    is the only one: then no decoder looks further, and there is nothing else in a camera's pictures."""
    at, several, components = 2, False, 0
    while at + 10 <= len(data):
        kind = data[at + 1]
        if data[at] != 0xFF or kind in BARE:
            at += 1
            yield False
            continue
        if kind in FRAMES:
            several, components = kind in PROGRESSIVE, data[at + 9]
        yield kind == 0xDA
        if kind == 0xD9 or (kind == 0xDA and not several and data[at + 4] >= components):
            return
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if kind == 0xDA:
            marker = MARKER.search(data, at)
            at = marker.start() if marker else len(data)


def _first_scan(data: bytes) -> int:
    """Where a JPEG's pixels begin: behind its metadata, whose preview has an end of its own."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF or data[at + 1] in (0x00, 0xFF):
            at += 1
        elif data[at + 1] == 0xDA:
            return at
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return len(data)
