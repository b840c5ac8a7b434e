"""Find the original of a picture, and keep the originals that an event's verdict rests on.

A file is the picture if its bytes are: what a camera wrote later under the same name is never shown as it. Originals are
found as uploaded, else where the same bytes are now, else as kept in `<data dir>/pictures/`. A kept file is a reflink where
the file system has them, else a copy, never a hard link: a camera that writes one name again and again would change it. It
appears in one piece and durably; what a kill leaves half written is written again, and its rest deleted by retention.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import blake2b
from io import BufferedWriter
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, cast

from hearthwatch.record import Record
from hearthwatch.record.copies import Copy, copies
from hearthwatch.record.disk import replace_file, sync_folder
from hearthwatch.record.paths import file_version, unescape
from hearthwatch.schemas.items import PER_FRAME, from_microseconds

FOLDER = "pictures"
FICLONE = 0x40049409  # of linux/fs.h: share the blocks of another file until one of the two is written


class Original(NamedTuple):
    """A file that may be the picture: its name below a folder."""

    folder: Path
    name: bytes
    size: int
    mtime_ns: int | None
    """None: of a kept one any will do."""
    content_hash: str | None

    @property
    def path(self) -> Path:
        return self.folder / os.fsdecode(self.name)

    def is_it(self, found: os.stat_result, read: Callable[[], bytes]) -> bool:
        """Check that a file of this state and content is the picture."""
        if found.st_size != self.size:
            return False
        if self.content_hash:
            return content_of(read()) == self.content_hash
        return self.mtime_ns in (None, found.st_mtime_ns)

    def read(self) -> bytes | None:
        """Read it; None: it is not there, or another picture is."""
        with suppress(OSError), self.path.open("rb") as file:
            found = os.fstat(file.fileno())
            data = file.read(self.size + 1)
            return data if self.is_it(found, lambda: data) else None
        return None


def content_of(data: bytes) -> str:
    """Return the `content_hash` of a file with these bytes."""
    return blake2b(data, digest_size=16).hexdigest()


def kept_path(frame_id: int, captured_at: int, upload: str) -> str:
    """Return where an original is kept, below the data dir; `captured_at` in microseconds, `upload`: its path."""
    suffix = "png" if ".png" in upload.rpartition("/")[2].lower() else "jpg"
    return f"{FOLDER}/{from_microseconds(captured_at):%Y-%m-%d}/{frame_id}.{suffix}"


def originals(record: Record, base: Path, data_dir: Path, frame_id: int) -> Iterator[Original]:
    """Yield the files that may be this frame's original: as it was uploaded, uploaded elsewhere (newest first), kept."""
    row = record.one(f"SELECT content_hash, {', '.join(Copy._fields)} FROM frames WHERE id = ?", frame_id)
    if row is None:
        return
    content, mine = row[0], Copy(*row[1:])
    same = [mine, *(copy for copy in (copies(record, content) if content else []) if copy.id != frame_id)]
    for copy in same:
        raw = unescape(copy.path)
        parent, _, last = raw.rpartition(b"/")
        folder, name = (Path(os.fsdecode(parent or b"/")), last) if raw[:1] == b"/" else (base, raw)
        yield Original(folder, name, copy.size, copy.mtime_ns, content)
    for copy in same:
        name = kept_path(copy.id, copy.captured_at, copy.path).encode()
        yield Original(data_dir, name, copy.size, None, content)


def read_original(record: Record, base: Path, data_dir: Path, frame_id: int) -> bytes | None:
    """Read the original; None: it is nowhere."""
    found = (original.read() for original in originals(record, base, data_dir, frame_id))
    return next((data for data in found if data is not None), None)


def frame_of(record: Record, path: str, version: str | None) -> int | None:
    """Return the frame that was uploaded to this path, in this version or last."""
    for frame, mtime_ns, size in record.rows(
        "SELECT id, mtime_ns, size FROM frames WHERE path = ? ORDER BY id DESC", path
    ):
        if version in (None, file_version(mtime_ns, size)):
            return int(frame)
    return None


def keep_event(
    record: Record,
    base: Path,
    data_dir: Path,
    event: int,
    which: Literal["evidence", "all"],
    recent: Callable[[int], bytes | None],
) -> None:
    """Keep the originals that this event's verdict cites, or all; delete others once the verdict is final.

    `recent`: bytes of pictures that were processed just now, whose files may be others by now.

    Raises:
        OSError: the disk refuses.
    """
    rows = record.rows(
        "SELECT f.id, f.captured_at, f.path, f.size, f.content_hash, e.status = 'closed' AND e.analysis_status <> 'pending', "
        f"? = 'all' OR f.id IN (SELECT value / {PER_FRAME} FROM json_each(coalesce(e.evidence, '[]'))) "
        "FROM events e JOIN frames f ON f.event_id = e.id WHERE e.id = ?", which, event,
    )  # fmt: skip
    for frame, captured_at, upload, size, content, is_final, is_wanted in rows:
        there = data_dir / kept_path(frame, captured_at, upload)
        if not is_wanted:
            if is_final:
                there.unlink(missing_ok=True)
        elif not _has_size(there, size):
            data = recent(frame)
            if data is None or (content and content_of(data) != content):
                data = read_original(record, base, data_dir, frame)
            if data is not None:
                _keep(there, data, base / os.fsdecode(unescape(upload)))
    if rows:
        for folder in {data_dir / FOLDER / f"{from_microseconds(at):%Y-%m-%d}" for _, at, *_ in rows}:
            sync_folder(folder, missing_ok=True)


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _keep(path: Path, data: bytes, upload: Path) -> None:
    """Write an original: as a reflink of its upload if that has these bytes, else as a copy."""

    def write(out: BinaryIO) -> None:
        with suppress(OSError), upload.open("rb") as file:
            fcntl.ioctl(out.fileno(), FICLONE, file.fileno())
            with Path(f"/proc/self/fd/{out.fileno()}").open("rb") as clone:
                if clone.read(len(data) + 1) == data:
                    return
        out.seek(0)
        out.truncate()
        cast(BufferedWriter, out).write(data)

    replace_file(path, write, last=False)
