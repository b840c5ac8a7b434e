"""List the formats of uploaded pictures. A new one is added here, its decoder and limits in `gpu/decode.py`."""

from __future__ import annotations

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
