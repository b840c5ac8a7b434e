"""Routes of detections: list, and the picture of each."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response

from hearthwatch.api import models
from hearthwatch.api.dependencies import State, run_on_slow_threads
from hearthwatch.api.file_serving import open_file, serve_file
from hearthwatch.api.params import CameraId, DetectionId, End, Limit, ObjectType, Offset, Start, span
from hearthwatch.record import Record, thumbnails
from hearthwatch.record.read import detections as queries
from hearthwatch.record.read.events import Filter
from hearthwatch.schemas.items import PER_FRAME

router = APIRouter(prefix="/api/detections", tags=["detections"])

CACHE_1_HOUR = "public, max-age=3600"


@router.get("", response_model=models.DetectionPage, responses=models.INVALID)
async def list_detections(
    state: State,
    camera_id: CameraId = None,
    object_type: ObjectType = None,
    min_confidence: Annotated[float, Query(ge=0, le=1, description="The least confidence.")] = 0.0,
    start_date: Start = None,
    end_date: End = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Response:
    """List boxes, newest first; `count` is the total."""
    start, end = span(start_date, end_date)
    f = Filter(camera_id=camera_id, object_type=object_type, start=start, end=end)
    return await state.cached_response(
        ("detections", f, min_confidence, limit, offset),
        lambda record: _page(record, f, min_confidence, limit, offset),
        slow=min_confidence > 0,
    )


def _page(record: Record, f: Filter, confidence: float, limit: int, offset: int) -> dict[str, Any]:
    count = queries.count_detections(record, f, confidence)
    found = queries.list_detections(record, f, confidence, limit, offset) if count > offset else []
    return {"detections": found, "count": count, "limit": limit, "offset": offset}


@router.get("/{detection_id}/image", response_class=Response, responses=models.JPEG_OR_NOT_FOUND)
@run_on_slow_threads
def detection_image(state: State, detection_id: DetectionId, request: Request) -> Response:
    """Get the thumbnail of its picture with all boxes; drawn again if it is missing and the upload still exists."""
    with state.reader.snapshot() as record:
        if not 0 <= detection_id < 1 << 63 or queries.detection(record, detection_id) is None:
            raise HTTPException(404, f"Detection with id {detection_id} not found")
        base, data = state.folders_of(detection_id // PER_FRAME)
        try:
            path = thumbnails.find(record, data, base, detection_id // PER_FRAME)
        except thumbnails.ThumbnailError as error:
            raise HTTPException(404, str(error)) from None
    name = str(path.relative_to(data)).encode()
    return serve_file(open_file(data, name, str(path)), request, CACHE_1_HOUR)
