"""Routes to look back: all pictures by time, what each day of a month had, search."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from hearthwatch.api import models
from hearthwatch.api.dependencies import AppState, State
from hearthwatch.api.params import (
    CameraId,
    Cursor,
    End,
    IncidentFilter,
    Limit,
    Start,
    format_cursor,
    parse_cursor,
    span,
)
from hearthwatch.record import Record, now
from hearthwatch.record.read import look_back as queries
from hearthwatch.record.read.events import Filter, events

router = APIRouter(prefix="/api", tags=["history"])

Month = Annotated[
    str | None, Query(pattern=r"^[12]\d{3}-(0[1-9]|1[0-2])$", description="The month; else the current one.", examples=["2026-11"])
]  # fmt: skip


@router.get("/frames", response_model=models.FramePage, responses=models.INVALID)
async def list_frames(
    state: State, camera_id: CameraId = None, start_date: Start = None, end_date: End = None, limit: Limit = 50, cursor: Cursor = None
) -> Response:  # fmt: skip
    """List pictures, newest first, also those without detections. Quarantined and duplicate ones are not among them."""
    start, end = span(start_date, end_date)
    f, after = Filter(camera_id, start=start, end=end), parse_cursor("f", 2, cursor)
    return await state.cached_response(
        ("frames", f, limit, after), lambda record: _frames(record, f, limit, (after[0], after[1])), slow=True
    )


def _frames(record: Record, f: Filter, limit: int, after: tuple[int, int]) -> dict[str, Any]:
    found, more = queries.pictures(record, f, limit, after)
    next_cursor = format_cursor("f", *more) if more else None
    return {"frames": found, "count": queries.count_pictures(record, f), "limit": limit, "next_cursor": next_cursor}


@router.get("/calendar", response_model=models.Calendar, responses=models.INVALID)
async def calendar(state: State, month: Month = None, camera_id: CameraId = None) -> Response:
    """Count what each day of a month had, by the clocks of the cameras' time zone."""
    month = month or f"{datetime.fromtimestamp(now() / 1e6, state.zone):%Y-%m}"
    year, number = int(month[:4]), int(month[5:])
    days = [date(year, number, n + 1) for n in range(monthrange(year, number)[1])]
    return await state.cached_response(
        ("calendar", month, camera_id),
        lambda record: {"month": month, "days": queries.calendar(record, days, state.zone, camera_id)},
    )


@router.get("/search", response_model=models.SearchPage, responses=models.INVALID)
async def search(state: State, filter: IncidentFilter, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Find events by the words of summary, reasoning, notes, objects and camera, all of them, in any order; newest first.

    Times and names of cameras in `q` are understood as `filters`; in quotes they are words. The other parameters narrow it down.
    """
    row, cell = parse_cursor("w", 2, cursor)
    return await state.cached_response(
        ("search", filter, limit, row, cell), lambda record: _search(state, record, filter, limit, (row, cell)), time_dependent=True,
        slow=filter != Filter(q=filter.q),
    )  # fmt: skip


def _search(state: AppState, record: Record, f: Filter, limit: int, after: tuple[int, int]) -> dict[str, Any]:
    cameras = record.rows("SELECT id, name FROM cameras ORDER BY id")
    search = queries.parse_search(f.q or "", cameras, state.zone, now())
    ids, count, more = queries.search(record, search, f, state.zone, limit, after)
    return {
        "q": f.q or "", "filters": search.filters(), "events": events(record, ids), "count": count, "limit": limit,
        "next_cursor": None if more is None else format_cursor("w", *more),
    }  # fmt: skip
