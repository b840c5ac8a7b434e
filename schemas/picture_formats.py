"""List the formats of uploaded pictures. A new one is added here, its decoder and limits in `gpu/decode.py`."""

from __future__ import annotations

import re
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
