"""Routes of uploads and thumbnails."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Query, Request, Response
from starlette.convertors import PathConvertor, register_url_convertor

from hearthwatch.api import models
from hearthwatch.api.dependencies import AppState, State, run_on_slow_threads
from hearthwatch.api.file_serving import (
    FOREVER,
    REVALIDATE,
    FileRefused,
    OpenFile,
    open_file,
    open_original,
    parse_filename,
    serve_file,
)
from hearthwatch.api.params import CameraName, FilePath, FrameId, ThumbnailPath
from hearthwatch.api.routes.cameras import camera_folders
from hearthwatch.record import thumbnails
from hearthwatch.record.paths import escape
from hearthwatch.record.pictures import frame_of

router = APIRouter(prefix="/api/media", tags=["media"])


class AnyPath(PathConvertor):
    """Match any path. Starlette's `path` ends at a line break, which file names may contain."""

    regex = "(?s:.*)"


register_url_convertor("any_path", AnyPath())

_THUMBNAIL = re.compile(rb"(\d{4}-\d\d-\d\d)/(\d{1,18})_thumb\.jpg")
_DETECTION = re.compile(rb"(\d{1,18})_thumb\.jpg")

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/*": {}, "video/*": {}}, "description": "The file."},
    206: {"description": "The requested part."},
    304: {"description": "The client has the current version."},
    **{code: {"model": models.MediaErrorResponse, "description": why} for code, why in {
        400: "No file can have this name.", 403: "Outside its folder, or not a picture or video.", 404: "There is no such file.",
        414: "Longer than 4096 characters.", 416: "Nothing of this range is in the file.",
    }.items()},
    **models.INVALID,
}  # fmt: skip


@router.get("/cameras/{camera_id}/{filename:any_path}", response_class=Response, responses=RESPONSES)
@run_on_slow_threads
def upload(
    state: State,
    camera_id: CameraName,
    filename: FilePath,
    request: Request,
    v: str | None = Query(
        None, description="The file's version, as in URLs that this API returns; then it is cached for ever."
    ),
) -> Response:
    """Get a picture or video as the camera uploaded it; `Range` and `If-None-Match` work."""
    name = parse_filename(filename)
    if b"\0" in os.fsencode(camera_id) or camera_id in (".", ".."):
        raise FileRefused(403, "a path may not leave its folder", filename)
    file = _upload(state, camera_id, name, filename, v)
    return serve_file(file, request, REVALIDATE if v is None else FOREVER.replace("public", "private"))


def _upload(state: AppState, camera_id: str, name: bytes, shown: str, version: str | None) -> OpenFile:
    """Open it where it was uploaded; or, if it was moved, replaced or deleted, where the same bytes are now."""
    refused, frame = FileRefused(404, "there is no such file", shown), None
    with state.reader.snapshot() as record:
        folders = camera_folders(record, camera_id)
        uploads = (frame_of(record, escape(os.path.normpath(folder + b"/" + name)), version) for folder in folders)
        frame = next((upload for upload in uploads if upload is not None), None)
        sql = "SELECT id FROM frames WHERE camera_id = ? AND state = 'settled' LIMIT 1"
        base, data_dir = state.folders_of(frame or (record.one(sql, camera_id) or (0,))[0])
        if version and frame is not None and (original := open_original(record, base, data_dir, frame, shown)):
            return original
    for folder in folders:
        try:
            file = open_file(base / os.fsdecode(folder), name, shown)
        except FileRefused as error:
            if error.status_code != 404:
                raise
            continue
        if version is None or (version == file.version and frame is None):
            return file
        os.close(file.descriptor)
        refused = FileRefused(404, "a newer upload replaced this file", shown)
    if version is None and frame is not None:
        with state.reader.snapshot() as record:
            if original := open_original(record, base, data_dir, frame, shown):
                return original
    raise refused


@router.get("/frames/{frame_id}", response_class=Response, responses=RESPONSES)
@run_on_slow_threads
def frame_picture(state: State, frame_id: FrameId, request: Request) -> Response:
    """Get a picture by its frame, also one that was never in the upload tree: from its file, else as it was kept."""
    shown = str(frame_id)
    with state.reader.snapshot() as record:
        base, data_dir = state.folders_of(frame_id)
        file = open_original(record, base, data_dir, frame_id, shown) if 0 <= frame_id < 1 << 63 else None
    if file is None:
        raise FileRefused(404, "there is no such file", shown)
    return serve_file(file, request, FOREVER.replace("public", "private"))


@router.get("/thumbnails/{filename:any_path}", response_class=Response, responses=RESPONSES)
@run_on_slow_threads
def thumbnail(state: State, filename: ThumbnailPath, request: Request) -> Response:
    """Get a picture with its boxes; drawn again if it is missing. `{detection_id}_thumb.jpg` alone is that detection's."""
    return serve_file(_thumbnail(state, parse_filename(filename), filename), request, FOREVER)


def _thumbnail(state: AppState, name: bytes, shown: str) -> OpenFile:
    if match := _DETECTION.fullmatch(name):
        name = _thumbnail_of_detection(state, int(match[1]), shown)
    match = _THUMBNAIL.fullmatch(name)
    folder = state.folders_of(int(match[2]) if match else 0)[1] / "thumbnails"
    if match:
        _draw_if_missing(state, folder, name, int(match[2]), shown)
    return open_file(folder, name, shown)


def _thumbnail_of_detection(state: AppState, id: int, shown: str) -> bytes:
    with state.reader.snapshot() as record:
        row = record.one(
            "SELECT thumbnail_path FROM frames WHERE id = (SELECT frame_id FROM detections WHERE id = ?)", id
        )
    if row is None or row[0] is None:
        raise FileRefused(404, "there is no such file", shown)
    return str(row[0]).removeprefix("thumbnails/").encode()


def _draw_if_missing(state: AppState, folder: Path, name: bytes, frame_id: int, shown: str) -> None:
    if thumbnails.is_whole(folder / name.decode()):
        return
    with state.reader.snapshot() as record:
        row = record.one("SELECT thumbnail_path FROM frames WHERE id = ?", frame_id)
        if row is None or row[0] != f"thumbnails/{name.decode()}":
            return
        try:
            thumbnails.find(record, folder.parent, state.folders_of(frame_id)[0], frame_id)
        except thumbnails.ThumbnailError as error:
            raise FileRefused(404, str(error), shown) from None
        except OSError as error:
            raise FileRefused(404, f"it cannot be drawn: {error.strerror}", shown) from None
