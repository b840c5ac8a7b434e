"""Serve uploads and thumbnails, inline, and never a file outside their folders.

Checks in this order: longer than 4096 characters 414; a `..` part or an absolute path 403; NUL or a name that no file can
have 400; resolves outside its folder 403; missing 404; neither a picture nor a video 403. The
file that was checked is the file that is served.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from hearthwatch.record import Record
from hearthwatch.record.paths import file_version, unescape
from hearthwatch.record.pictures import originals

PATH_CHARACTERS_MAX = 4096
CHUNK = 256 * 1024
WHOLE_MAX = 8 * 1024 * 1024  # pictures are sent in one piece, videos in chunks
TYPES = {
    "jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "gif": "image/gif",
    "mp4": "video/mp4", "avi": "video/x-msvideo", "webm": "video/webm",
}  # fmt: skip
FOREVER = "public, max-age=31536000, immutable"
REVALIDATE = "private, no-cache"

_PARTS = re.compile(rb"[/\\]")


class FileRefused(Exception):  # noqa: N818  (it is a response)
    """The response instead of a file."""

    def __init__(self, status_code: int, error: str, path: str) -> None:
        self.status_code, self.error, self.path = status_code, error, path
        super().__init__(error)

    def response(self) -> Response:
        detail = {"error": self.error, "path": self.path[:PATH_CHARACTERS_MAX]}
        return JSONResponse({"detail": detail}, self.status_code)


class OpenFile(NamedTuple):
    """An open file that may be served."""

    descriptor: int
    size: int
    mtime_ns: int
    content_type: str

    @property
    def version(self) -> str:
        return file_version(self.mtime_ns, self.size)


def parse_filename(filename: str) -> bytes:
    """Check what needs no disk, and return the name as bytes.

    Raises:
        FileRefused: too long, leaves its folder, or no name of a file.
    """
    if len(filename) > PATH_CHARACTERS_MAX:
        raise FileRefused(414, f"a path may have {PATH_CHARACTERS_MAX} characters", filename)
    name = unescape(filename)
    if b".." in _PARTS.split(name) or name.startswith((b"/", b"\\")):
        raise FileRefused(403, "a path may not leave its folder", filename)
    if b"\0" in name or any(len(part) > 255 for part in name.split(b"/")):
        raise FileRefused(400, "no file can have this name", filename)
    return name


def open_file(folder: Path, name: bytes, shown: str) -> OpenFile:
    """Open the file below `folder`.

    Raises:
        FileRefused: outside the folder, missing, unreadable, or neither a picture nor a video.
    """
    try:
        root = os.path.realpath(os.fsencode(folder))
        path = os.path.realpath(root + b"/" + name)
        if not path.startswith(root + b"/"):
            raise FileRefused(403, "a path may not leave its folder", shown)
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError:
        raise FileRefused(400, "no file can have this name", shown) from None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ):
            raise FileRefused(400, "no file can have this name", shown) from None
        if error.errno in (errno.EACCES, errno.EPERM):
            raise FileRefused(403, "the file cannot be read", shown) from None
        raise FileRefused(404, "there is no such file", shown) from None
    try:
        return _check_type(descriptor, root, name, shown)
    except BaseException:
        os.close(descriptor)
        raise


def open_original(record: Record, base: Path, data_dir: Path, frame: int, shown: str) -> OpenFile | None:
    """Open the original of this frame, wherever it is; None: it is nowhere, or another picture took its place."""
    for original in originals(record, base, data_dir, frame):
        try:
            file = open_file(original.folder, original.name, shown)
        except FileRefused:
            continue
        if original.is_it(os.fstat(file.descriptor), partial(os.pread, file.descriptor, original.size, 0)):
            return file
        os.close(file.descriptor)
    return None


def _check_type(descriptor: int, root: bytes, name: bytes, shown: str) -> OpenFile:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise FileRefused(404, "there is no such file", shown)
    real = os.fsencode(Path(f"/proc/self/fd/{descriptor}").readlink())
    if not real.startswith(root + b"/"):  # a folder became a link since the check
        raise FileRefused(403, "a path may not leave its folder", shown)
    # a.jpg.1 is the second a.jpg of an FTP server
    suffix = re.sub(rb"(?<=\w)\.\d{1,5}\Z", b"", name).rpartition(b".")[2]
    content_type = TYPES.get(suffix.decode("ascii", "replace").lower())
    if content_type is None or b"." not in name.rpartition(b"/")[2]:
        raise FileRefused(403, f"only {', '.join(TYPES)} are served", shown)
    return OpenFile(descriptor, found.st_size, found.st_mtime_ns, content_type)


def serve_file(file: OpenFile, request: Request, cache_control: str) -> Response:
    """Respond with the file, with the part that `Range` names, or with 304 if the client has it. Closes the file."""
    etag = f'"{file.version}"'
    headers = {
        "etag": etag, "cache-control": cache_control, "accept-ranges": "bytes", "content-disposition": "inline",
        "last-modified": formatdate(file.mtime_ns // 1_000_000_000, usegmt=True),
    }  # fmt: skip
    if is_cached(request.headers.get("if-none-match"), etag):
        os.close(file.descriptor)
        return Response(status_code=304, headers=headers)
    span = request.headers.get("range") if request.headers.get("if-range", etag) == etag else None
    try:
        start, end = parse_range(span, file.size)
    except ValueError:
        os.close(file.descriptor)
        return Response(status_code=416, headers={"content-range": f"bytes */{file.size}", "cache-control": "no-store"})
    partial = (start, end) != (0, file.size)
    headers["content-length"] = str(end - start)
    if partial:
        headers["content-range"] = f"bytes {start}-{end - 1}/{file.size}"
    status_code = 206 if partial else 200
    if end - start <= WHOLE_MAX:
        return Response(b"".join(_Chunks(file.descriptor, start, end)), status_code, headers, file.content_type)
    return StreamingResponse(_Chunks(file.descriptor, start, end), status_code, headers, file.content_type)


class _Chunks:
    """A part of a file in chunks; closes the file even if no chunk is ever read."""

    def __init__(self, descriptor: int, start: int, end: int) -> None:
        self.descriptor, self.start, self.end = descriptor, start, end

    def __iter__(self) -> Iterator[bytes]:
        while self.start < self.end and (
            chunk := os.pread(self.descriptor, min(CHUNK, self.end - self.start), self.start)
        ):
            self.start += len(chunk)
            yield chunk

    def __del__(self) -> None:
        os.close(self.descriptor)


def is_cached(if_none_match: str | None, etag: str) -> bool:
    """Whether the client's copy is current."""
    if if_none_match is None:
        return False
    given = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in given or etag in given


def parse_range(header: str | None, size: int) -> tuple[int, int]:
    """Parse `bytes=a-b` into (start, end); the whole file without such a header, or with another kind of range.

    Raises:
        ValueError: nothing of the range is in the file.
    """
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", (header or "").replace(" ", ""))
    if match is None or not (match[1] or match[2]):
        return 0, size
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start, end = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
        if match[2] and int(match[2]) < int(match[1]):
            return 0, size
    if start >= size or start >= end:
        raise ValueError(header)
    return start, end
