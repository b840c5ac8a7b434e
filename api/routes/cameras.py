"""Routes of cameras: list, add, edit, delete, snapshot, timeline."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException, Query, Request, Response

from hearthwatch.api import models
from hearthwatch.api.dependencies import AppState, State, json_response, run_on_slow_threads
from hearthwatch.api.file_serving import REVALIDATE, open_original, serve_file
from hearthwatch.api.params import CameraName
from hearthwatch.record import Record, now
from hearthwatch.record import cameras as stored
from hearthwatch.record.paths import camera_id, escape, unescape
from hearthwatch.record.read import status as queries
from hearthwatch.record.read import zone_suggestions
from hearthwatch.record.read.events import iso
from hearthwatch.record.surroundings import zones_of
from hearthwatch.record.thumbnail_drawing import cut_borders
from hearthwatch.record.thumbnails import ThumbnailError, find
from hearthwatch.record.units import LEVELS, QUARTER, SECOND
from hearthwatch.schemas.zones import ZONES_MAX

router = APIRouter(prefix="/api", tags=["cameras"])

PREVIEWED_MAX = 50  # events
SNAPSHOTS_TRIED = 20  # newest uploads that may be deleted already by another program
CELLS_MAX = 1000
CLEARED_BY_NULL = ("notes", "zones", "neighbours", "notify_level")


@router.get("/cameras", response_model=models.CameraList, responses=models.INVALID)
async def list_cameras(
    state: State, status: Annotated[models.Status | None, Query(description="Only these.")] = None
) -> Response:
    """List all cameras by name. `silent`: no picture for longer than usual for that camera, which is then `offline`."""
    return await state.cached_response(
        ("cameras", status), lambda record: _cameras(state, record, status), time_dependent=True
    )


def _cameras(state: AppState, record: Record, status: str | None) -> dict[str, Any]:
    found = queries.cameras(record, now(), state.midnight(), status)
    return {"cameras": found, "count": len(found)}


@router.post(
    "/cameras", response_model=models.CameraResponse, status_code=201, responses=models.INVALID | models.CONFLICT
)
def add_camera(state: State, body: models.CameraCreate) -> Response:
    """Add a camera before its first picture. Its id comes from its folder; 409 if this id exists."""
    folder = _folder(state, body.folder_path or body.name or "")
    id, name = camera_id(folder), body.name or folder
    if other := _merged_into(state, id):
        raise HTTPException(409, f"Camera {id} was merged into {other}, to which its folder delivers")
    with state.reader.snapshot() as record:
        is_known = record.one("SELECT 1 FROM cameras WHERE id = ?", id)
    if is_known or not state.write(lambda r: stored.add_camera(r, id, name, folder, body.status, body.notes), 0):
        raise HTTPException(409, f"Camera with id {id} already exists")
    return json_response(_camera(state, id), 201)


@router.get("/cameras/{camera_id}", response_model=models.CameraResponse, responses=models.NOT_FOUND)
def get_camera(state: State, camera_id: CameraName) -> Response:
    """Get one camera."""
    return json_response(_camera(state, camera_id))


@router.patch("/cameras/{camera_id}", response_model=models.CameraResponse, responses=models.NOT_FOUND)
def edit_camera(state: State, camera_id: CameraName, body: models.CameraUpdate) -> Response:
    """Change name, notes, status, zones, neighbours or the level of notifications; an absent key changes nothing."""
    _camera(state, camera_id)
    changes = _changes(state, camera_id, body.model_dump(exclude_unset=True))
    if not state.write_camera(camera_id, lambda record: stored.edit_camera(record, camera_id, changes)):
        raise _not_found(camera_id)
    return json_response(_camera(state, camera_id))


@router.put("/cameras/{camera_id}/zones", response_model=models.CameraResponse, responses=models.NOT_FOUND)
def put_zones(
    state: State, camera_id: CameraName, body: Annotated[list[models.CameraZone], Body(max_length=ZONES_MAX)]
) -> Response:
    """Replace all zones of a camera. Open events are judged again with them."""
    return edit_camera(state, camera_id, models.CameraUpdate(zones=body))


@router.post("/cameras/{camera_id}/zones/preview", response_model=models.ZonesPreview, responses=models.NOT_FOUND)
@run_on_slow_threads
def preview_zones(
    state: State, camera_id: CameraName, body: Annotated[list[models.CameraZone], Body(max_length=ZONES_MAX)]
) -> Response:
    """Compute what these zones would have changed in the last 7 days; nothing is saved. 503: another preview runs, or it takes too long."""
    _camera(state, camera_id)
    report = state.preview(camera_id, [zone.model_dump() for zone in body])
    rows = [
        {key: row[key] for key in ("kind", "started_at", "why")}
        | {
            side: max((each["risk_level"] for each in row[side]), key=LEVELS.index, default=None)
            for side in ("before", "after")
        }
        | {
            key: (row["before"] + row["after"])[0][name]
            for key, name in (("event_id", "id"), ("thumbnail", "thumbnail"))
        }
        for row in report["differences"]["events"][:PREVIEWED_MAX]
    ]
    totals = {
        side: {name: report[side][name] for name in models.PreviewTotals.model_fields} for side in ("before", "after")
    }
    return json_response(
        {"since": report["since"], "frames": report["frames"], "counts": report["counts"]["events"], "events": rows}
        | totals
    )


@router.get("/cameras/{camera_id}/zones/suggestions", response_model=models.Suggestions, responses=models.NOT_FOUND)
@run_on_slow_threads
def suggest_zones(state: State, camera_id: CameraName) -> Response:
    """Suggest zones from where people were first seen and where they passed in the last 30 days."""
    drawn = zones_of(camera_id, json.dumps(_camera(state, camera_id)["zones"] or []))
    with state.reader.snapshot(camera_id) as record:
        return json_response({"zones": zone_suggestions.suggest(record, camera_id, drawn, now())})


@router.delete("/cameras/{camera_id}", status_code=204, responses=models.NOT_FOUND)
def remove_camera(state: State, camera_id: CameraName) -> Response:
    """Delete a camera with its detections and events. Uploads stay and are not processed again; a new one creates it again."""
    _camera(state, camera_id)
    if not state.write_camera(
        camera_id, lambda record: stored.remove_camera(record, camera_id, state.data_dir_of(record))
    ):
        raise _not_found(camera_id)
    return Response(status_code=204)


@router.post(
    "/cameras/{camera_id}/merge", response_model=models.CameraResponse, responses=models.NOT_FOUND | models.CONFLICT
)
@run_on_slow_threads
def merge_camera(state: State, camera_id: CameraName, body: models.CameraMerge) -> Response:
    """Declare that this camera is another one, as when its folder was renamed: all that is known of it becomes the other's.

    Its folder delivers to the other camera from now on. Events stay as they are. May be called again if it was cut short.
    """
    if camera_id == body.into:
        raise HTTPException(422, f"Camera {camera_id} cannot be merged into itself")
    already = _merged_into(state, camera_id)
    if already not in (None, body.into):
        raise HTTPException(409, f"Camera {camera_id} was merged into {already}")
    if other := _merged_into(state, body.into):
        raise HTTPException(409, f"Camera {body.into} was merged into {other}: merge {camera_id} into that one")
    for id in (body.into, camera_id)[: 1 if already else 2]:
        _camera(state, id)

    def merge(record: Record) -> list[bool]:
        with state.reader.snapshot() as cells:
            elsewhere = stored.read_settings(cells, body.into)
        return [stored.merge_camera(record, camera_id, body.into, elsewhere)]

    state.write(merge)
    return json_response(_camera(state, body.into))


@router.get("/cameras/{camera_id}/snapshot", response_class=Response, responses=models.JPEG_OR_NOT_FOUND)
@run_on_slow_threads
def snapshot(state: State, camera_id: CameraName, request: Request) -> Response:
    """Get the newest picture of the camera; if all originals are gone, the newest thumbnail."""
    _camera(state, camera_id)
    with state.reader.snapshot() as record:
        newest = [picture["id"] for picture in queries.newest_pictures(record, camera_id, SNAPSHOTS_TRIED)]
        sql = "SELECT frame_id FROM detections WHERE camera_id = ? ORDER BY detected_at DESC LIMIT ?"
        seen = [frame for (frame,) in record.rows(sql, camera_id, SNAPSHOTS_TRIED)]
        for frame in dict.fromkeys((*newest, *seen)):
            base, data_dir = state.folders_of(frame)
            if file := open_original(record, base, data_dir, frame, camera_id):
                return serve_file(file, request, REVALIDATE)
        for frame in dict.fromkeys(seen):
            with suppress(ThumbnailError, OSError):
                size = record.one("SELECT width, height FROM frames WHERE id = ?", frame)
                base, data_dir = state.folders_of(frame)
                picture = cut_borders(find(record, data_dir, base, frame).read_bytes(), *size)
                return Response(picture, 200, {"cache-control": REVALIDATE}, "image/jpeg")
    raise HTTPException(404, f"Camera {camera_id} has no picture")


@router.get("/timeline", response_model=models.Timeline, responses=models.INVALID)
async def timeline(
    state: State,
    hours: Annotated[int, Query(ge=1, le=24 * 31, description="How far back.")] = 24,
    step: Annotated[int, Query(ge=900, le=86_400, multiple_of=900, description="Seconds per cell.")] = 3600,
    tz_offset_minutes: Annotated[
        int | None, Query(ge=-840, le=840, multiple_of=15, description="Local time minus UTC; else the server's.")
    ] = None,
) -> Response:
    """Get per camera and hour: events, the highest risk, pictures; the last cell is the current hour. Aligned to local time."""
    at, wide = now(), step * SECOND
    east = (at - state.midnight()) if tz_offset_minutes is None else at + tz_offset_minutes * 60 * SECOND
    cells = max(1, min(CELLS_MAX, -(-hours * 3600 // step)))
    end = (at - east % wide) // QUARTER * QUARTER + wide
    start = end - cells * wide
    return await state.cached_response(
        ("timeline", start, end, wide),
        lambda record: {
            "from": iso(start),
            "step_seconds": step,
            "cameras": queries.timeline(record, start, end, wide),
        },
    )


def _camera(state: AppState, id: str) -> dict[str, Any]:
    with state.reader.snapshot() as record:
        found = queries.cameras(record, now(), state.midnight(), id=id)
    if not found:
        raise _not_found(id)
    return found[0]


def _merged_into(state: AppState, id: str) -> str | None:
    with state.reader.snapshot() as record:
        return stored.merged_into(record, id)


def _not_found(id: str) -> HTTPException:
    return HTTPException(404, f"Camera with id {id} not found")


def _folder(state: AppState, path: str) -> str:
    """Return the name of a folder directly below the upload tree, as the record spells it; 422 for anything else."""
    base = state.settings.foscam_base_path.absolute()
    folder = Path(path)
    if folder.is_absolute() and folder.parent == base:
        folder = Path(folder.name)
    name = str(folder)
    if len(folder.parts) != 1 or name == ".." or not camera_id(name) or "\0" in name or len(os.fsencode(name)) > 255:
        raise HTTPException(
            422, f"{path!r} is no folder directly below {base}: give its name, with a letter or digit in it"
        )
    return escape(os.fsencode(name)) if escape(unescape(name)) != name else name


def _changes(state: AppState, id: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the columns to write; 422 for a folder of another camera."""
    if "ignore_zones" in given:  # 0.1's, until 0.3
        ignored = [zone | {"kind": "ignore"} for zone in given.pop("ignore_zones") or []]
        drawn = given.get("zones", _camera(state, id)["zones"]) or []
        given["zones"] = [zone for zone in drawn if zone["kind"] != "ignore"] + ignored
    changes = {name: value for name, value in given.items() if value is not None or name in CLEARED_BY_NULL}
    if not changes.get("zones", True):
        changes["zones"] = None
    if "folder_path" in changes:
        changes["folder_path"] = _folder(state, changes["folder_path"])
        if camera_id(changes["folder_path"]) != id:
            raise HTTPException(
                422,
                f"the folder {changes['folder_path']} belongs to the camera {camera_id(changes['folder_path'])}, not to {id}",
            )
    return {name: json.dumps(value) if isinstance(value, list) else value for name, value in changes.items()}


def camera_folders(record: Record, id: str) -> list[bytes]:
    """Read the folders of a camera below the upload tree: its own, then those of cameras that were merged into it."""
    rows = record.rows(
        "WITH this(id) AS (SELECT coalesce((SELECT into_id FROM camera_aliases WHERE id = ?1), ?1)) "
        "SELECT folder_path FROM cameras WHERE id IN this UNION ALL SELECT folder_path FROM camera_aliases WHERE into_id IN this",
        id,
    )
    return [unescape(folder) for (folder,) in rows]
