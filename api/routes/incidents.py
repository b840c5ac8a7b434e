"""Routes of incidents: list, detail, review."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from hearthwatch.api import models
from hearthwatch.api.dependencies import State, json_response, run_on_slow_threads
from hearthwatch.api.params import IncidentFilter, IncidentId, Page, Paging
from hearthwatch.api.routes.events import in_range, not_found
from hearthwatch.record import Record
from hearthwatch.record.read import incidents as queries
from hearthwatch.record.read import lineage
from hearthwatch.record.read.events import FIRST_PAGE, Filter
from hearthwatch.record.units import LEVELS

router = APIRouter(prefix="/api/incidents", tags=["incidents"])


@router.get("", response_model=models.IncidentPage, responses=models.INVALID)
async def list_incidents(
    state: State,
    filter: IncidentFilter,
    page: Page,
    status: Annotated[Literal["open", "closed"] | None, Query(description="`open`: more events may join it.")] = None,
) -> Response:
    """List incidents that match, in order: those with an event of this camera, object, time and words. `count` is the total."""
    return await state.cached_response(
        ("incidents", filter, status, page), lambda record: _page(record, filter, status, page), slow=filter != Filter()
    )


def _page(record: Record, f: Filter, status: str | None, page: Paging) -> dict[str, Any]:
    levels, unreviewed = queries.count(record, f, status)
    skipped = 0 if page.after else page.offset
    found, more = queries.page(record, f, status, page.sort, page.limit, skipped, page.after or FIRST_PAGE)
    return {
        "incidents": found, "count": sum(levels[level] for level in f.risk_levels or LEVELS), "unreviewed": unreviewed,
        "levels": levels, "limit": page.limit, "offset": page.offset, "next_cursor": page.next_cursor(more),
    }  # fmt: skip


@router.patch("", response_model=models.ReviewResult, responses=models.INVALID)
@run_on_slow_threads
def review_incidents(state: State, filter: IncidentFilter, body: models.ReviewMatching) -> Response:
    """Mark all incidents that match, with all of their events; `ids` in the response are the events that changed."""
    with state.reader.snapshot() as record:
        found = queries.matching(record, filter)
    ids = state.review(body.reviewed, incidents=found)
    return json_response({"count": len(ids), "ids": ids})


@router.get("/{incident_id}", response_model=models.IncidentDetail, responses=models.EVENT_NOT_FOUND)
def get_incident(state: State, incident_id: IncidentId) -> Response:
    """Get one incident with its events. 404 for a merged one, with `merged_into`."""
    with state.reader.snapshot() as record:
        found = in_range(incident_id) and queries.incident(record, incident_id)
        into = in_range(incident_id) and lineage.merged_into(record, incident_id, "incidents")
    return json_response(found) if found else not_found("Incident", incident_id, into)


@router.patch("/{incident_id}", response_model=models.IncidentDetail, responses=models.EVENT_NOT_FOUND)
def edit_incident(state: State, incident_id: IncidentId, body: models.IncidentUpdate) -> Response:
    """Mark an incident and all of its events; an absent key changes nothing."""
    if in_range(incident_id) and (reviewed := body.reviewed) is not None:
        state.review(reviewed, incidents=[incident_id])
    return get_incident(state, incident_id)
