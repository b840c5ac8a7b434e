"""Read and decode one picture file.

The file is read once and decoded once; a bad file is returned as `DecodedPicture.error`, never raised, so that it costs
only itself. An EXIF orientation is applied, so boxes are in pixels of the picture as people see it. A JPEG that lacks its
last rows is decoded, with an error (`cut short`). A JPEG is decoded by simplejpeg if that gives Pillow's pixels, else by
Pillow. Thread-safe; both release the interpreter lock while they decode.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from hearthwatch.schemas.items import CUT_SHORT, SUPERSEDED, DeadLetter
from hearthwatch.schemas.picture_formats import JPEG, PNG, find_turn

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

log = logging.getLogger(__name__)

MEGAPIXELS_MAX = (
    50  # 200 MB once decoded; a 4K camera has 8. InferenceResult up in the header, before anything is decoded
)
SIDE_MAX = 65_535  # pixels, as in a JPEG; a PNG of one very long line is too much for its decoder's counters
BYTES_MAX = 100_000_000  # ten times the largest file a 4K camera writes; anything above is not a camera's upload
READ_PAUSES_SECONDS = (0.02, 0.1)  # before a read error is final: a network mount may fail for a moment
OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # a problem of this process, not of the picture
PARTS_MAX = 20_000  # segments or chunks, checked one by one: 100 MB of PNG in the usual 8 kB have 12,500
SCANS_MAX = 100  # of a JPEG, each a pass over the whole picture; progressive ones have about ten
BYTES_PER_PIXEL = 4  # how Pillow keeps RGB
ROWS_SHARE_MIN = 0.9  # of a JPEG that was cut short; with less it is quarantined
SAMPLES = 24, 16  # pixels of a picture whose colour is checked, across and down
GREY_LEVELS = 6  # of 255, by which the channels of a grey pixel differ at most: a JPEG's rounding
GREY_SHARE = 0.02  # of the sampled pixels that may have colour
FILLED = 128  # the grey that libjpeg gives pixels that are not there
VANISHED = "vanished before it was read"
UNREADABLE = "files"
"""`DeadLetter.stage` of a file that could not be read; its reason begins with `unreadable: `."""

BARE = frozenset((0x00, 0x01, 0xFF, *range(0xD0, 0xD9)))  # second bytes of markers without a length, and of non-markers
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")


Pixels = Image.Image | NDArray[np.uint8]
"""A picture: PIL RGB, or (height, width, 3)."""


def size_of(picture: Pixels) -> tuple[int, int]:
    """Return width and height."""
    return picture.size if isinstance(picture, Image.Image) else (picture.shape[1], picture.shape[0])


class DecodedPicture:
    """A picture file: its bytes, their hash and its pixels, or the `error` that makes it unreadable.

    `data` are the bytes as uploaded, for a remote detector. `width` and `height` are 0 where the header is unreadable.
    `is_turned`: the pixels are not as they are stored in `data`. `is_grey`: they have no colour, as by infrared light; None: not known.
    """

    __slots__ = ("_array", "_picture", "content_hash", "data", "error", "height", "is_grey", "is_turned", "width")

    def __init__(self) -> None:
        self.data = b""
        self.is_turned = False
        self.is_grey: bool | None = None
        self.content_hash: str | None = None
        self.width = self.height = 0
        self.error: DeadLetter | None = None
        self._picture: Image.Image | None = None
        self._array: NDArray[np.uint8] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that this object holds in memory."""
        array, pixels = self._array, self.width * self.height
        return len(self.data) + (pixels * BYTES_PER_PIXEL if self._picture else 0 if array is None else array.nbytes)

    def picture(self) -> Image.Image:
        """Return the pixels as PIL RGB; the same object every time, do not change it.

        Raises:
            ValueError: the picture has an `error`.
        """
        if self._picture is None and self._array is not None:
            self._picture, self._array = Image.fromarray(self._array), None
        if self._picture is None:
            raise ValueError(self.error.reason if self.error else "the picture was not decoded")
        return self._picture

    def pixels(self) -> Pixels:
        """Return the pixels as they were decoded, for a detector; do not change them.

        Raises:
            ValueError: the picture has an `error`.
        """
        return self.picture() if self._array is None else self._array


class PictureError(Exception):
    """Why a file is not a picture that can be processed."""

    def __init__(self, reason: str, stage: str = "decode") -> None:
        super().__init__(reason)
        self.letter = DeadLetter(stage, reason)


def open_picture(path: Path | str | bytes, size: int | None = None, data: bytes | None = None) -> DecodedPicture:
    """Decode the picture at `path`, which had this many bytes when it was discovered (None: any).

    Its modification time may have changed since: many FTP clients set it after the upload. `data`: what `read_picture` read.

    Raises:
        OSError: this process has run out of a resource, such as open files.
    """
    decoded = DecodedPicture()
    try:
        decoded.data = read_picture(path, size) if data is None else data
        decoded.content_hash = blake2b(decoded.data, digest_size=16).hexdigest()
        image = _read_header(decoded.data)
        decoded.width, decoded.height = image.size
        _check_size(*image.size)
        turn = find_turn(image.info.get("exif"))
        decoded.is_turned = turn is not None
        if not turn and image.mode == "RGB":
            decoded._array = decode_fast(decoded.data)
        if decoded._array is None:
            picture, decoded.error = _decode(image, decoded.data)
            decoded._picture = picture.transpose(Image.Transpose[turn]) if turn else picture
            decoded.width, decoded.height = decoded._picture.size
        decoded.is_grey = image.mode == "L" or is_grey(decoded.pixels())
    except PictureError as reason:
        decoded.data = b""
        decoded.error = reason.letter
    return decoded


def decode_fast(data: bytes) -> NDArray[np.uint8] | None:
    """Decode a whole JPEG of three colours to (height, width, 3); None: Pillow has to."""
    decode = _fast_decoder()
    if decode is None or not data.startswith(JPEG.start) or not _has_end(data):
        return None
    try:
        return decode(data)
    except ValueError:  # a warning of libjpeg is enough: Pillow knows what can be forgiven
        return None


@lru_cache
def _fast_decoder() -> Callable[[bytes], NDArray[np.uint8]] | None:
    """Return simplejpeg's decoder if it is installed and gives the pixels that Pillow gives."""
    try:
        from simplejpeg import decode_jpeg
    except ImportError:
        return None
    noise = np.random.default_rng(0).integers(0, 256, (47, 61, 3), np.uint8)
    for options in ({"subsampling": 2}, {"subsampling": 1, "progressive": True}):
        file = BytesIO()
        Image.fromarray(noise).save(file, "JPEG", **options)
        if not np.array_equal(decode_jpeg(file.getvalue(), "RGB"), np.asarray(Image.open(file))):
            log.warning("simplejpeg and Pillow decode JPEGs to different pixels: Pillow is used, which is slower")
            return None
    return partial(decode_jpeg, colorspace="RGB")


def is_grey(pixels: Pixels) -> bool:
    """Check whether a picture has no colour, but for a few of the pixels that are sampled, such as a logo's."""
    if isinstance(pixels, Image.Image):
        some = np.asarray(pixels.resize(SAMPLES, Image.Resampling.NEAREST))
    else:
        down, across = (
            ((np.arange(n) + 0.5) * size / n).astype(int) for n, size in zip(SAMPLES[::-1], pixels.shape, strict=False)
        )
        some = pixels[down[:, None], across]
    coloured = np.ptp(some, axis=2) > GREY_LEVELS
    return bool(coloured.mean() <= GREY_SHARE)


def read_picture(path: Path | str | bytes, size: int | None) -> bytes:
    """Read the file at `path`, which had this many bytes when it was discovered (None: any).

    Raises:
        PictureError: it is not there as it was discovered, or cannot be read.
        OSError: this process has run out of a resource, such as open files.
    """
    for pause in (*READ_PAUSES_SECONDS, None):
        try:
            return _read_once(path, size)
        except (FileNotFoundError, NotADirectoryError):
            raise PictureError(VANISHED) from None
        except OSError as error:
            if error.errno in OUT_OF_RESOURCES:
                raise
            if pause is None:
                raise PictureError(f"unreadable: {error.strerror} ({_errno_name(error)})", UNREADABLE) from None
            time.sleep(pause)
    raise AssertionError("the last pause is None")


def _read_once(path: Path | str | bytes, size: int | None) -> bytes:
    # O_NONBLOCK: opening a FIFO that took the picture's place would wait for a writer, perhaps for ever.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise PictureError("not a regular file")
        if before.st_size > BYTES_MAX:
            raise PictureError(
                f"{before.st_size / 1e6:.0f} MB are more than the {BYTES_MAX / 1e6:.0f} MB a picture may have"
            )
        data = file.read(before.st_size + 1)  # BYTES_MAX would be 100 MB of room, mapped and unmapped each time: 12 µs
        after = os.fstat(file.fileno())
    changed = (after.st_mtime_ns, after.st_size) != (before.st_mtime_ns, before.st_size)
    if changed or size not in (None, after.st_size):
        raise PictureError("superseded by a newer upload of this path", SUPERSEDED)
    return data


def _errno_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "unknown")


def _read_header(data: bytes) -> ImageFile:
    """Parse the header; nothing is decoded yet."""
    if not data:
        raise PictureError("empty file")
    # Named classes instead of `Image.open`: two formats only, whatever the name says, and none of Pillow's
    # warnings about large pictures, which would need a process-wide switch.
    if data.startswith(JPEG.start + b"\xff"):
        kind: type[ImageFile] = JpegImageFile
    elif data.startswith(PNG.start):
        kind = PngImageFile
    else:
        raise PictureError("not a picture: neither JPEG nor PNG")
    _check_parts(data)
    try:
        return kind(BytesIO(data))
    except Exception as error:  # Pillow's parsers raise anything on made-up bytes; each means the same here
        raise PictureError(f"not a picture, or truncated in its header: {error}") from None


def _check_size(width: int, height: int) -> None:
    if width * height > MEGAPIXELS_MAX * 1e6:
        raise PictureError(f"{width}x{height} is over {MEGAPIXELS_MAX} megapixels")
    if max(width, height) > SIDE_MAX:
        raise PictureError(f"{width}x{height} has a side of more than {SIDE_MAX} pixels")


def _decode(image: ImageFile, data: bytes) -> tuple[Image.Image, DeadLetter | None]:
    try:
        image.load()
        picture = _to_rgb(image)
    except MemoryError:
        raise
    except Exception as error:  # as above
        if rest := _decode_cut(data):
            return rest
        raise PictureError(f"truncated or broken: {error}") from None
    if not _has_end(data):
        if rest := _decode_cut(data):
            return rest
        raise PictureError("truncated: the end of the picture is missing")
    return picture, None


def _decode_cut(data: bytes) -> tuple[Image.Image, DeadLetter] | None:
    """Decode a JPEG that was cut short, if it has most of its rows. A progressive one has none before its last scan."""
    if not data.startswith(JPEG.start) or _has_end(data):
        return None
    try:
        image = JpegImageFile(
            BytesIO(data.rstrip(b"\0") + JPEG.end)
        )  # what an upload that broke off never wrote is zeros
        if image.info.get("progressive") or image.mode not in ("L", "RGB"):
            return None
        image.load()
        picture = _to_rgb(image)
    except MemoryError:
        raise
    except Exception:  # as above
        return None
    there = np.flatnonzero((np.asarray(picture) != FILLED).any((1, 2)))
    if not len(there) or there[-1] + 1 < ROWS_SHARE_MIN * picture.height:
        return None
    return picture, DeadLetter(CUT_SHORT, "cut short")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16 bits of grey; `convert` would clip them to white
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "P":  # a palette with half-transparent colours warns on its way straight to RGB
        image = image.convert("RGBA")
    return image.convert("RGB")


def _has_end(data: bytes) -> bool:
    """Whether the format's end marker is there. Pillow decodes a JPEG whose second half is zeros without an error."""
    if data.startswith(b"\x89PNG"):
        return b"IEND\xaeB`\x82" in data
    return data.rfind(b"\xff\xd9") >= _first_scan(data)


def _check_parts(data: bytes) -> None:
    """Reject what a decoder would take minutes for: millions of empty parts, thousands of scans."""
    parts = _chunks(data) if data.startswith(b"\x89PNG") else _segments(data)
    scans = 0
    for n, scan in enumerate(parts):
        scans += scan
        if n > PARTS_MAX:
            raise PictureError(f"made of more than {PARTS_MAX} parts")
        if scans > SCANS_MAX:
            raise PictureError(f"made of more than {SCANS_MAX} scans")


def _chunks(data: bytes) -> Iterator[bool]:
    """Yield `False` for each chunk of a PNG, up to its end."""
    at = 8
    while at + 12 <= len(data) and data[at + 4 : at + 8] != b"IEND":
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        yield False


def _segments(data: bytes) -> Iterator[bool]:
    """Yield for each segment of a JPEG, and each byte between segments, whether a scan starts there.

    Ends at the first scan if it is the only one, as decoders do: a camera's pictures have nothing behind it.
    """
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
    """Where a JPEG's pixels begin: behind its metadata, whose preview has its own end marker."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF or data[at + 1] in (0x00, 0xFF):
            at += 1
        elif data[at + 1] == 0xDA:
            return at
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return len(data)
