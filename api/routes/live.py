"""Routes of live events and of the page's first line."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Query, Response, WebSocket

from hearthwatch.api import models
from hearthwatch.api.dependencies import AppState, State
from hearthwatch.api.feed_hub import POSITION, Seqs
from hearthwatch.api.transports import EventStream, serve_websocket

router = APIRouter(tags=["live"])

EXAMPLE = 'id: 5f0c2a91.17\nevent: event\ndata: {"schema":"hearthwatch.event.v1","seq":17,"type":"event.opened",…}\n\n'

After = Annotated[
    str | None, Query(pattern=f"^{POSITION}$", description="Resume after this `id` or `seq`; else only new messages.")
]


@router.get(
    "/api/live",
    response_class=Response,
    responses=models.INVALID | {200: {"content": {"text/event-stream": {"example": EXAMPLE}}}},
)
async def live(
    state: State,
    after: After = None,
    last_event_id: Annotated[
        str | None, Header(description="What a browser sends when it reconnects: the last `id`.")
    ] = None,
) -> Response:
    """Stream Server-Sent Events: `event` with the message of the feed (its `id` is opaque), `status` every two seconds."""
    subscriber = state.hub.subscribe()
    if subscriber is None:
        raise HTTPException(503, "too many clients: try again later", {"retry-after": "10"})
    return EventStream(state.hub, subscriber, _resume(state, last_event_id, after))


@router.websocket("/ws/events")
async def events(websocket: WebSocket) -> None:
    state: AppState = websocket.app.state.app_state
    given = websocket.headers.get("last-event-id") or websocket.query_params.get("after")
    await serve_websocket(state.hub, websocket, _resume(state, given))


@router.get("/api/status", response_model=models.StatusLine)
async def status(state: State) -> Response:
    """Get the page's first line. `at` is the pipeline's heartbeat: a running server does not mean a running pipeline."""
    return await state.cached_response("status", state.status_line, time_dependent=True)


def _resume(state: AppState, *given: str | None) -> Seqs | None:
    found = (state.hub.parse_position(text) for text in given)
    return next((seq for seq in found if seq is not None), None)
