"""Routes of events: list, detail, review, totals, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, StreamingResponse

from hearthwatch.api import models
from hearthwatch.api.dependencies import AppState, State, json_response
from hearthwatch.api.params import End, EventFilter, EventId, Limit, Offset, Page, Paging, Start, span
from hearthwatch.record import Record, feedback, reviews
from hearthwatch.record.read import detections, lineage
from hearthwatch.record.read import events as queries
from hearthwatch.record.read.events import FIRST_PAGE, Filter
from hearthwatch.record.units import LEVELS

router = APIRouter(prefix="/api/events", tags=["events"])

ID_MAX = 1 << 63
CSV_COLUMNS = (
    "id batch_id camera_id camera_name started_at ended_at status risk_score risk_level summary reasoning analyzer analysis_status "
    "model prompt_version revision reviewed notes frame_count detection_count objects thumbnail_url incident_id"
).split()
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # a spreadsheet interprets these


@router.get("", response_model=models.EventPage, responses=models.INVALID)
async def list_events(state: State, filter: EventFilter, page: Page) -> Response:
    """List events that match, in order. `count` is the total, `levels` the totals without the level filter."""
    return await state.cached_response(
        ("events", filter, page), lambda record: _page(record, filter, page), slow=bool(filter.q)
    )


def _page(record: Record, f: Filter, page: Paging) -> dict[str, Any]:
    f = queries.narrow(record, f)
    levels = queries.count_levels(record, f)
    count = sum(levels[level] for level in f.risk_levels or LEVELS)
    which = queries.inbox if page.sort == "inbox" else queries.newest
    skipped = 0 if page.after else page.offset
    places = which(record, f, page.limit + 1, skipped, page.after or FIRST_PAGE) if count else []
    events = queries.events(record, [place.id for place in places[: page.limit]])
    more = page.next_cursor(places[page.limit - 1] if len(places) > page.limit else None)
    return {
        "events": events,
        "count": count,
        "levels": levels,
        "limit": page.limit,
        "offset": page.offset,
        "next_cursor": more,
    }


@router.patch("", response_model=models.ReviewResult, responses=models.INVALID)
def review_events(state: State, body: models.ReviewRequest) -> Response:
    """Mark all events of a level, or those with these ids; `ids` in the response are those that changed."""
    ids = state.review(body.reviewed, body.ids, body.risk_level, body.camera_id)
    return json_response({"count": len(ids), "ids": ids})


@router.get("/stats", response_model=models.EventStats, responses=models.INVALID)
async def event_stats(state: State, start_date: Start = None, end_date: End = None) -> Response:
    """Count events by level and by camera."""
    start, end = span(start_date, end_date)
    f = Filter(start=start, end=end)
    return await state.cached_response(("stats", f), lambda record: _stats(record, f))


def _stats(record: Record, f: Filter) -> dict[str, Any]:
    levels, cameras = queries.count_levels(record, f), queries.count_cameras(record, f)
    unreviewed = queries.count_levels(record, f._replace(reviewed=False))
    names = dict(record.rows("SELECT id, name FROM cameras"))
    return {
        "total_events": sum(levels.values()), "events_by_risk_level": levels, "unreviewed": sum(unreviewed.values()),
        "events_by_camera": [{"camera_id": id, "camera_name": names.get(id, id), "event_count": n} for id, n in cameras.items() if n],
    }  # fmt: skip


@router.get(
    "/export", response_class=StreamingResponse, responses=models.INVALID | {200: {"content": {"text/csv": {}}}}
)
def export_events(state: State, filter: EventFilter) -> StreamingResponse:
    """Export all events that match as CSV, newest first. A cell that a spreadsheet would interpret as a formula begins with `'`."""
    headers = {"content-disposition": 'attachment; filename="hearthwatch-events.csv"'}
    return StreamingResponse(_csv(state, filter), 200, headers, "text/csv; charset=utf-8")


def _csv(state: AppState, f: Filter) -> Iterator[str]:
    yield _lines([list(CSV_COLUMNS)])
    after = FIRST_PAGE
    while True:
        with state.reader.snapshot() as record:  # a page at a time: no long transaction keeps the log from shrinking
            places = queries.newest(record, queries.narrow(record, f), 200, after=after)
            rows = queries.events(record, [place.id for place in places])
        if not places:
            return
        yield _lines([[format_cell(row[column]) for column in CSV_COLUMNS] for row in rows])
        after = places[-1]


def _lines(rows: list[list[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue()


def format_cell(value: object) -> str:
    """Format a value for a spreadsheet, never as a formula."""
    if isinstance(value, dict):
        value = ", ".join(f"{n} {kind}" for kind, n in value.items())
    text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return f"'{text}" if text.lstrip(" \u00a0").startswith(FORMULA) or text.startswith(FORMULA) else text


@router.get("/{event_id}", response_model=models.EventDetail, responses=models.EVENT_NOT_FOUND)
def get_event(state: State, event_id: EventId) -> Response:
    """Get one event with its history, pictures and how long each step took. 404 for a merged one, with `merged_into`."""
    with state.reader.snapshot(event_id) as record:
        found = in_range(event_id) and queries.event(record, event_id)
        if not found:
            return not_found("Event", event_id, in_range(event_id) and lineage.merged_into(record, event_id))
        found |= {
            "history": lineage.history(record, event_id), "frames": lineage.frames(record, event_id),
            "latencies": lineage.latencies(record, event_id), "answer": feedback.last_answer(record, event_id),
        }  # fmt: skip
    return json_response(found)


@router.patch("/{event_id}", response_model=models.EventResponse, responses=models.EVENT_NOT_FOUND)
def edit_event(state: State, event_id: EventId, body: models.EventUpdate) -> Response:
    """Set `reviewed` or `notes`; an absent key changes nothing, null clears the notes."""
    changes = body.model_dump(exclude_unset=True)
    if changes.get("reviewed", False) is None:
        del changes["reviewed"]
    if not in_range(event_id) or not state.write(lambda record: reviews.edit_event(record, event_id, changes)):
        with state.reader.snapshot(event_id) as record:
            return not_found("Event", event_id, in_range(event_id) and lineage.merged_into(record, event_id))
    if "reviewed" in changes and len(state.cells) > 1:
        state.mark_copies(changes["reviewed"], [event_id])
    with state.reader.snapshot(event_id) as record:
        return json_response(queries.event(record, event_id))


@router.get("/{event_id}/detections", response_model=models.DetectionPage, responses=models.EVENT_NOT_FOUND)
def event_detections(state: State, event_id: EventId, limit: Limit = 1000, offset: Offset = 0) -> Response:
    """List the event's boxes in order of capture."""
    with state.reader.snapshot(event_id) as record:
        if not in_range(event_id) or queries.event(record, event_id) is None:
            return not_found("Event", event_id, in_range(event_id) and lineage.merged_into(record, event_id))
        found = detections.detections_of_event(record, event_id)
    return json_response(
        {"detections": found[offset : offset + limit], "count": len(found), "limit": limit, "offset": offset}
    )


def in_range(id: int) -> bool:
    return 0 <= id < ID_MAX


def not_found(what: str, id: int, merged_into: int | bool | None) -> Response:
    body: dict[str, Any] = {"detail": f"{what} with id {id} not found"}
    if merged_into:
        body["merged_into"] = merged_into
    return JSONResponse(body, 404)
