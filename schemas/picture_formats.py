"""List the formats of uploaded pictures, and find how a picture is turned upright. A new one is added here, its decoder and limits in `gpu/decode.py`."""

from __future__ import annotations

import re
import struct
from typing import NamedTuple


class PictureFormat(NamedTuple):
    """One format: how Pillow calls it, and how its files are named, begin and end."""

    name: str
    suffixes: tuple[bytes, ...]
    start: bytes
    end: bytes


JPEG = PictureFormat("JPEG", (b".jpg", b".jpeg"), b"\xff\xd8", b"\xff\xd9")
PNG = PictureFormat("PNG", (b".png",), b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xaeB`\x82")
PICTURE_FORMATS = (JPEG, PNG)
PICTURE_SUFFIX = re.compile(
    rf"(?:{'|'.join(re.escape(suffix.decode()) for known in PICTURE_FORMATS for suffix in known.suffixes)})(?:\.\d{{1,5}})?\Z",
    re.IGNORECASE,
)
"""What the name of a picture ends with; servers number a second `a.jpg` as `a.jpg.1` (the STOU command of FTP)."""

ORIENTATION, SHORT = 0x0112, 3  # the EXIF tag, and the type of its value
TURNS = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90",
}  # fmt: skip


def find_turn(exif: object) -> str | None:
    """Return the transposition, as Pillow calls it, that turns a picture with this EXIF block upright; None: it is."""
    return TURNS.get(read_orientation(exif.removeprefix(b"Exif\0\0"))) if isinstance(exif, bytes) else None


def read_orientation(tiff: bytes) -> int:
    """Read the orientation, 1 to 8, out of EXIF data; 1, upright, where there is none. Other tags may be broken."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(f"{order}I", tiff, 4)
        for n in range(*struct.unpack_from(f"{order}H", tiff, at)):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, at + 2 + 12 * n)
            if (tag, kind) == (ORIENTATION, SHORT):
                return int(value)
    except struct.error:  # it ends before that
        pass
    return 1
