"""Store one thumbnail per frame with detections: its path, its file, its checksum. `thumbnail_drawing` draws it.

Its path follows from the frame, so a message names it before it is drawn and never waits for it. A thumbnail is replaced
atomically; one that is missing or was torn by a power cut is drawn again from the upload (`find`).
"""

from __future__ import annotations

import os
import threading
import time
import zlib
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path

from PIL import Image

from hearthwatch.record import Record, RecordError
from hearthwatch.record.paths import unescape
from hearthwatch.record.pictures import read_original
from hearthwatch.record.thumbnail_drawing import draw
from hearthwatch.record.units import CELL_BITS, box_ids
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.items import Detection, from_microseconds
from hearthwatch.schemas.messages import IncidentMessage
from hearthwatch.schemas.picture_formats import JPEG, PICTURE_FORMATS, find_turn

START = b"\xff\xd8"  # of every JPEG
MARKED = START + b"\xff\xfe\x00\x0acrc:"  # … and of ours: a comment of eight bytes, the last four of them the sum
MEDIA = "/api/media/"  # where the API serves the data dir
WAIT_SECONDS, POLL_SECONDS = 2.0, 0.02  # a notification waits for its picture, which is drawn within a second


class ThumbnailError(RecordError):
    """There is no thumbnail and none can be drawn: the message says why."""


def path(frame_id: int, captured_at: int) -> str:
    """Return the path of a frame's thumbnail below the data dir; `captured_at` in microseconds."""
    return f"thumbnails/{from_microseconds(captured_at):%Y-%m-%d}/{frame_id}_thumb.jpg"


def url(path: str) -> str:
    """Return where the API serves it."""
    return f"{MEDIA}{path}"


def find(record: Record, data_dir: Path, base: Path, frame_id: int) -> Path:
    """Return the thumbnail of this frame; draw it from its original, wherever that is now, if it is missing or torn.

    Raises:
        ThumbnailError: there is none and it cannot be drawn.
    """
    row = record.one("SELECT thumbnail_path, path FROM frames WHERE id = ?", frame_id)
    if row is None or row[0] is None:
        raise ThumbnailError(f"frame {frame_id} {'does not exist' if row is None else 'has no detections'}")
    there = data_dir / str(row[0])
    if not is_whole(there):
        upload = base / os.fsdecode(unescape(row[1]))
        data = read_original(record, base, data_dir, frame_id)
        if data is None and upload.is_file():
            raise ThumbnailError(f"{upload} was replaced by a newer upload, or cannot be read")
        write(there, draw(_decode(upload, data), detections(record, frame_id)))
    return there


def read_picture(context: Context, frame_id: int) -> tuple[Image.Image, str] | None:
    """Read a frame's picture for a model: `original`, else its `thumbnail` without black margins; None: both are gone."""
    with closing(Record(context.record_path)) as record, suppress(RecordError, OSError, ValueError):
        row = record.one("SELECT thumbnail_path, width, height, path FROM frames WHERE id = ?", frame_id)
        if data := read_original(record, context.base_path, context.data_dir, frame_id):
            return _decode(Path(row[3]), data), "original"
        if row and row[0] and is_whole(context.data_dir / row[0]):
            with Image.open(context.data_dir / row[0]) as image:
                scale = min(image.width / row[1], image.height / row[2])
                left, top = (image.width - row[1] * scale) / 2, (image.height - row[2] * scale) / 2
                edges = round(left), round(top), round(image.width - left), round(image.height - top)
                return image.convert("RGB").crop(edges), "thumbnail"
    return None


def detections(record: Record, frame_id: int) -> list[Detection]:
    """Read all boxes of a frame, suppressed ones included."""
    columns = "SELECT id, object_type, confidence, bbox_x, bbox_y, bbox_width, bbox_height FROM"
    mine = box_ids(frame_id)
    rows = record.rows(
        f"{columns} detections WHERE id BETWEEN ? AND ? UNION ALL {columns} suppressed WHERE id BETWEEN ? AND ? ORDER BY id",
        *mine, *mine,
    )  # fmt: skip
    return [Detection(label, score, (x, y, w, h)) for _, label, score, x, y, w, h in rows]


def bind_picture(message: IncidentMessage, context: Context) -> IncidentMessage:
    """Return the message with its way to the picture."""
    return replace(message, source=partial(read_url, context))


def read_url(context: Context, url: str) -> bytes | None:
    """Read the thumbnail of this URL; wait for the node that draws it, else draw it here. None: that cannot be done."""
    frame = Path(url).name.partition("_")[0]
    if cell := next((cell for cell in context.cells if cell.number == int(frame) >> CELL_BITS), None):
        context = replace(context, record_path=cell.record_path, data_dir=cell.data_dir, base_path=cell.base_path)
    there, until = context.data_dir / url.removeprefix(MEDIA), time.monotonic() + WAIT_SECONDS
    while not is_whole(there) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    with suppress(ThumbnailError, OSError):
        if not is_whole(there):
            with closing(Record(context.record_path)) as record:
                find(record, context.data_dir, context.base_path, int(frame))
        return there.read_bytes()
    return None


def is_whole(thumbnail: Path) -> bool:
    """Check that it is as `write` wrote it: a power cut may have lost any sector of it."""
    try:
        jpeg = thumbnail.read_bytes()
    except OSError:
        return False
    if jpeg.startswith(MARKED):
        return jpeg[len(MARKED) : len(MARKED) + 4] == _sum(jpeg[len(MARKED) + 4 :])
    return jpeg.startswith(START) and jpeg.endswith(b"\xff\xd9")  # of a version that wrote no sum


def write(thumbnail: Path, jpeg: bytes) -> None:
    """Replace a thumbnail atomically. No fsync: that would compete with the record's, and it can be redrawn."""
    thumbnail.parent.mkdir(parents=True, exist_ok=True)
    part = thumbnail.with_name(f".{thumbnail.name}.{os.getpid()}.{threading.get_native_id()}")
    try:
        part.write_bytes(add_checksum(jpeg))
        part.replace(thumbnail)
    finally:
        part.unlink(missing_ok=True)


def add_checksum(jpeg: bytes) -> bytes:
    """Add a checksum to a JPEG, in a comment."""
    rest = jpeg.removeprefix(START)
    return MARKED + _sum(rest) + rest


def _sum(rest: bytes) -> bytes:
    return zlib.crc32(rest).to_bytes(4, "big")


def _decode(upload: Path, data: bytes | None) -> Image.Image:
    """Decode the picture that was uploaded here, upright."""
    try:
        with Image.open(BytesIO((data or b"") + JPEG.end), formats=[known.name for known in PICTURE_FORMATS]) as image:
            picture, turn = image.convert("RGB"), find_turn(image.info.get("exif"))  # it may have been cut short
            return picture.transpose(Image.Transpose[turn]) if turn else picture
    except OSError as error:
        reason = error.strerror or error if data else "No such file or directory"
        raise ThumbnailError(f"{upload}: {reason}: the upload is gone or cannot be read") from None
