"""Translate names on disk to names in the record: camera ids, paths that survive any bytes, and where the API serves an upload.

`unescape(escape(raw)) == raw` for every path that a Linux file system can hold, and an escaped path is printable text:
it can be logged, stored, sent as JSON and typed. Ordinary names are left as they are.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from urllib.parse import quote

# Undecodable bytes (as surrogates), C0 and C1 control characters, delete, and the backslash that marks them.
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\\\\\udc80-\udcff]")
_ESCAPED = re.compile(rb"\\(?:x([0-9a-f]{2})|(\\))")


@lru_cache(4096)
def camera_id(folder: str) -> str:
    """Return the id of the camera that uploads into `folder` (its name as `escape` writes it): `Front-Door Cam` -> `front_door_cam`.

    Lower case; spaces and hyphens become `_`, other punctuation is dropped, runs of `_` collapse, ends are trimmed.
    Letters and digits of any script stay, so nothing is left only of a name without any: such a folder is no camera.
    """
    name = unicodedata.normalize("NFC", folder).lower()
    return re.sub("_+", "_", "".join(_kept(char) for char in name)).strip("_")


def _kept(char: str) -> str:
    if char.isspace() or char in "_-\u2010\u2011":
        return "_"
    return char if unicodedata.category(char)[0] in "LNM" else ""


def escape(relative: bytes) -> str:
    r"""Write a path as text: `caf\xe9.jpg` for a name in Latin-1, `a\\b.jpg` for one with a backslash."""
    return _ODD.sub(_escaped, relative.decode("utf-8", "surrogateescape"))


def _escaped(match: re.Match[str]) -> str:
    char = match[0]
    return "\\\\" if char == "\\" else "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))


def unescape(path: str) -> bytes:
    """Return the bytes of a path that `escape` wrote. Other text is taken literally."""
    return _ESCAPED.sub(_unescaped, path.encode("utf-8", "surrogateescape"))


def _unescaped(match: re.Match[bytes]) -> bytes:
    return b"\\" if match[2] else bytes([int(match[1], 16)])


def is_below(path: str, folder: str) -> bool:
    """Whether a path is this folder or lies in it; `.` is the upload tree."""
    return folder == "." or path == folder or path.startswith(f"{folder}/")


def picture_url(camera_id: str, folder: str, id: int, path: str, mtime_ns: int, size: int) -> str:
    """Return where the API serves a frame's picture; it changes when the file does, so it may be cached for ever.

    `folder` is the camera's: as many of the path's folders are left out, whatever they were called when it was uploaded.
    """
    if path.startswith("/"):
        return f"/api/media/frames/{id}"  # outside the upload tree
    depth = 0 if folder == "." else folder.count("/") + 1
    below = "/".join(path.split("/")[depth:])
    return f"/api/media/cameras/{quote(camera_id, safe='')}/{quote(below)}?v={file_version(mtime_ns, size)}"


def file_version(mtime_ns: int, size: int) -> str:
    """Return a text that differs between a file and the one that replaces it."""
    return f"{mtime_ns:x}-{size:x}"
