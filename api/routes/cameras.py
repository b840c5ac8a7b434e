"""Cameras: what they are, what they saw last, the heat strip; and the few things that people change about them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response

from hearthwatch.api import models
from hearthwatch.api.dependencies import Here, Shared, answer, patient
from hearthwatch.api.file_serving import ASK_AGAIN, Refused, checked, opened, sent
from hearthwatch.api.params import CameraName
from hearthwatch.record import Record, now
from hearthwatch.record import reviews as edits
from hearthwatch.record.paths import camera_id, escape, unescape
from hearthwatch.record.read import status as pulse
from hearthwatch.record.read.events import iso
from hearthwatch.record.units import QUARTER, SECOND

router = APIRouter(prefix="/api", tags=["cameras"])

SNAPSHOTS_TRIED = 20  # uploads that are gone already, because somebody else clears the tree
CELLS_MAX = 1000


@router.get("/cameras", response_model=models.Cameras, responses={422: models.INVALID})
async def list_cameras(
    here: Shared, status: Annotated[models.Status | None, Query(description="Only these.")] = None
) -> Response:
    """All cameras by name. `silent`: no picture for longer than is usual for that camera, which is then `offline`."""
    return await here.answer(("cameras", status), lambda record: _cameras(here, record, status), ages=True)


def _cameras(here: Here, record: Record, status: str | None) -> dict[str, Any]:
    found = pulse.cameras(record, now(), here.midnight(), status)
    return {"cameras": found, "count": len(found)}


@router.post(
    "/cameras", response_model=models.Camera, status_code=201, responses={409: models.NOT_FOUND, 422: models.INVALID}
)
def add_camera(here: Shared, body: models.NewCamera) -> Response:
    """Make a camera before its first picture. Its id comes from its folder; 409 if there is one with this id."""
    folder = _folder(here, body.folder_path or body.name or "")
    id, name = camera_id(folder), body.name or folder
    if not here.write(lambda record: edits.add_camera(record, id, name, folder, body.status, body.notes)):
        raise HTTPException(409, f"Camera with id {id} already exists")
    return answer(_camera(here, id), 201)


@router.get(
    "/cameras/{camera_id}", response_model=models.Camera, responses={404: models.NOT_FOUND, 422: models.INVALID}
)
def get_camera(here: Shared, camera_id: CameraName) -> Response:
    """One camera."""
    return answer(_camera(here, camera_id))


@router.patch(
    "/cameras/{camera_id}", response_model=models.Camera, responses={404: models.NOT_FOUND, 422: models.INVALID}
)
def edit_camera(here: Shared, camera_id: CameraName, body: models.CameraEdit) -> Response:
    """Change name, notes, status or the zones that are ignored; an absent key is left alone."""
    _camera(here, camera_id)
    changes = _changes(here, camera_id, body.model_dump(exclude_unset=True))
    if not here.write(lambda record: edits.edit_camera(record, camera_id, changes)):
        raise _missing(camera_id)
    return answer(_camera(here, camera_id))


@router.delete("/cameras/{camera_id}", status_code=204, responses={404: models.NOT_FOUND, 422: models.INVALID})
def remove_camera(here: Shared, camera_id: CameraName) -> Response:
    """Forget a camera with its detections and events. Uploads stay and are not taken in again; a new one makes it anew."""
    _camera(here, camera_id)
    if not here.write(lambda record: edits.remove_camera(record, camera_id, here.settings.hearthwatch_data_dir)):
        raise _missing(camera_id)
    return Response(status_code=204)


@router.get(
    "/cameras/{camera_id}/snapshot",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, 404: models.NOT_FOUND, 422: models.INVALID},
)
@patient
def snapshot(here: Shared, camera_id: CameraName, request: Request) -> Response:
    """The newest picture of the camera."""
    _camera(here, camera_id)
    with here.reader.snapshot() as record:
        newest = pulse.newest_pictures(record, camera_id, SNAPSHOTS_TRIED)
    for picture in newest:
        try:
            file = opened(here.settings.foscam_base_path, checked(picture["path"]), picture["path"])
        except Refused:
            continue  # it is gone: the one before may be there
        return sent(file, request, ASK_AGAIN)
    raise HTTPException(404, f"Camera {camera_id} has no picture")


@router.get("/timeline", response_model=models.Timeline, responses={422: models.INVALID})
async def timeline(
    here: Shared,
    hours: Annotated[int, Query(ge=1, le=24 * 31, description="How far back.")] = 24,
    step: Annotated[int, Query(ge=900, le=86_400, multiple_of=900, description="Seconds per cell.")] = 3600,
    tz_offset_minutes: Annotated[
        int | None, Query(ge=-840, le=840, multiple_of=15, description="Local time minus UTC; else the server's.")
    ] = None,
) -> Response:
    """Per camera and hour: events, the highest risk, pictures; the last cell is the hour that runs. Aligned to local time."""
    at, wide = now(), step * SECOND
    east = (at - here.midnight()) if tz_offset_minutes is None else at + tz_offset_minutes * 60 * SECOND
    cells = max(1, min(CELLS_MAX, -(-hours * 3600 // step)))
    end = (at - east % wide) // QUARTER * QUARTER + wide
    start = end - cells * wide
    return await here.answer(
        ("timeline", start, end, wide),
        lambda record: {"from": iso(start), "step_seconds": step, "cameras": pulse.timeline(record, start, end, wide)},
    )


def _camera(here: Here, id: str) -> dict[str, Any]:
    with here.reader.snapshot() as record:
        found = pulse.cameras(record, now(), here.midnight(), id=id)
    if not found:
        raise _missing(id)
    return found[0]


def _missing(id: str) -> HTTPException:
    return HTTPException(404, f"Camera with id {id} not found")


def _folder(here: Here, path: str) -> str:
    """The name of a folder directly below the upload tree, as the record spells it. 422 for anything else."""
    base = here.settings.foscam_base_path.absolute()
    folder = Path(path)
    if folder.is_absolute() and folder.parent == base:
        folder = Path(folder.name)
    name = str(folder)
    if len(folder.parts) != 1 or name == ".." or not camera_id(name) or "\0" in name or len(os.fsencode(name)) > 255:
        raise HTTPException(
            422, f"{path!r} is no folder directly below {base}: give its name, with a letter or digit in it"
        )
    return escape(os.fsencode(name)) if escape(unescape(name)) != name else name


def _changes(here: Here, id: str, given: dict[str, Any]) -> dict[str, Any]:
    """The columns to write. 422 for a folder that is another camera's."""
    changes = {name: value for name, value in given.items() if value is not None or name in ("notes", "ignore_zones")}
    if "folder_path" in changes:
        changes["folder_path"] = _folder(here, changes["folder_path"])
        if camera_id(changes["folder_path"]) != id:
            raise HTTPException(
                422,
                f"the folder {changes['folder_path']} belongs to the camera {camera_id(changes['folder_path'])}, not to {id}",
            )
    if changes.get("ignore_zones") is not None:
        changes["ignore_zones"] = json.dumps(changes["ignore_zones"])
    return changes


def folder_of(record: Record, id: str) -> bytes | None:
    """The folder of a camera below the upload tree."""
    row = record.one("SELECT folder_path FROM cameras WHERE id = ?", id)
    return None if row is None else unescape(row[0])
