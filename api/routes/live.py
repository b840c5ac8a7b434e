"""Routes of live events and of the page's first line."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Query, Response, WebSocket

from hearthwatch.api import models, openapi_examples
from hearthwatch.api.dependencies import AppState, State
from hearthwatch.api.transports import EventStream, serve_websocket

router = APIRouter(tags=["live"])

After = Annotated[int | None, Query(ge=0, lt=1 << 63, description="Resume after this `seq`; else only new messages.")]


@router.get(
    "/api/live",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {"example": openapi_examples.LIVE}}}, 422: models.INVALID},
)
async def live(
    state: State,
    after: After = None,
    last_event_id: Annotated[
        str | None, Header(description="What a browser sends when it reconnects: the last `seq`.")
    ] = None,
) -> Response:
    """Stream Server-Sent Events: `event` with the message of the feed (its id is `seq`), `status` every two seconds."""
    subscriber = state.hub.subscribe()
    if subscriber is None:
        raise HTTPException(503, "too many clients: try again later", {"retry-after": "10"})
    return EventStream(state.hub, subscriber, _parse_seq(last_event_id, after))


@router.websocket("/ws/events")
async def events(websocket: WebSocket) -> None:
    state: AppState = websocket.app.state.app_state
    given = websocket.headers.get("last-event-id") or websocket.query_params.get("after")
    await serve_websocket(state.hub, websocket, _parse_seq(given, None))


@router.get("/api/status", response_model=models.StatusLine)
async def status(state: State) -> Response:
    """Get the page's first line. `at` is the pipeline's heartbeat: a running server does not mean a running pipeline."""
    return await state.cached_response("status", state.status_line, time_dependent=True)


def _parse_seq(text: str | None, otherwise: int | None) -> int | None:
    return int(text) if text and re.fullmatch(r"\d{1,18}", text) else otherwise
