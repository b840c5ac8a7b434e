"""Uploads and thumbnails by path."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Query, Request, Response
from starlette.convertors import PathConvertor, register_url_convertor

from hearthwatch.api import models
from hearthwatch.api.dependencies import Here, Shared, patient
from hearthwatch.api.file_serving import ASK_AGAIN, FOREVER, File, Refused, checked, opened, sent
from hearthwatch.api.params import CameraName, FilePath, ThumbnailPath
from hearthwatch.api.routes.cameras import folder_of
from hearthwatch.record import thumbnails

router = APIRouter(prefix="/api/media", tags=["media"])


class AnyPath(PathConvertor):
    """Starlette's own `path` ends at a line break, which file names may hold: the rest would be another route's 404."""

    regex = "(?s:.*)"


register_url_convertor("any_path", AnyPath())

_THUMBNAIL = re.compile(rb"(\d{4}-\d\d-\d\d)/(\d{1,18})_thumb\.jpg")
_BARE = re.compile(rb"(\d{1,18})_thumb\.jpg")

ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/*": {}, "video/*": {}}, "description": "The file."},
    206: {"description": "The part that was asked for."},
    304: {"description": "The client has it already."},
    **{code: {"model": models.MediaProblem, "description": why} for code, why in {
        400: "No file can have this name.", 403: "Outside its folder, or not a picture or video.", 404: "There is no such file.",
        414: "Longer than 4096 characters.", 416: "Nothing of this range is in the file.",
    }.items()},
    422: models.INVALID,
}  # fmt: skip


@router.get("/cameras/{camera_id}/{filename:any_path}", response_class=Response, responses=ANSWERS)
@patient
def upload(
    here: Shared,
    camera_id: CameraName,
    filename: FilePath,
    request: Request,
    v: str | None = Query(
        None, description="The file's version, as our own URLs have it: then it may be cached for ever."
    ),
) -> Response:
    """A picture or video as the camera uploaded it; `Range` and `If-None-Match` work."""
    name = checked(filename)
    if b"\0" in os.fsencode(camera_id) or camera_id in (".", ".."):
        raise Refused(403, "a path may not leave its folder", filename)
    with here.reader.snapshot() as record:
        folder = folder_of(record, camera_id)
    base = here.settings.foscam_base_path
    file = opened(None if folder is None else base / os.fsdecode(folder), name, filename)
    if v is None:
        return sent(file, request, ASK_AGAIN)
    if v != file.version:
        os.close(file.descriptor)
        raise Refused(404, "a newer upload took this file's place", filename)
    return sent(file, request, FOREVER.replace("public", "private"))


@router.get("/thumbnails/{filename:any_path}", response_class=Response, responses=ANSWERS)
@patient
def thumbnail(here: Shared, filename: ThumbnailPath, request: Request) -> Response:
    """A picture with its boxes; drawn anew if it is missing. `{detection_id}_thumb.jpg` alone is that detection's."""
    return sent(_thumbnail(here, checked(filename), filename), request, FOREVER)


def _thumbnail(here: Here, name: bytes, shown: str) -> File:
    if bare := _BARE.fullmatch(name):
        name = _of_detection(here, int(bare[1]), shown)
    folder = here.settings.hearthwatch_data_dir / "thumbnails"
    if match := _THUMBNAIL.fullmatch(name):
        _draw_if_missing(here, folder, name, int(match[2]), shown)
    return opened(folder, name, shown)


def _of_detection(here: Here, id: int, shown: str) -> bytes:
    with here.reader.snapshot() as record:
        row = record.one(
            "SELECT thumbnail_path FROM frames WHERE id = (SELECT frame_id FROM detections WHERE id = ?)", id
        )
    if row is None or row[0] is None:
        raise Refused(404, "there is no such file", shown)
    return str(row[0]).removeprefix("thumbnails/").encode()


def _draw_if_missing(here: Here, folder: Path, name: bytes, frame_id: int, shown: str) -> None:
    if thumbnails.is_whole(folder / name.decode()):
        return
    with here.reader.snapshot() as record:
        row = record.one("SELECT thumbnail_path FROM frames WHERE id = ?", frame_id)
        if row is None or row[0] != f"thumbnails/{name.decode()}":
            return
        try:
            thumbnails.find(record, here.settings.hearthwatch_data_dir, here.settings.foscam_base_path, frame_id)
        except thumbnails.ThumbnailError as error:
            raise Refused(404, str(error), shown) from None
        except OSError as error:
            raise Refused(404, f"it cannot be drawn: {error.strerror}", shown) from None
