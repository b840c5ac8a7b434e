"""The feed as it grows, and the page's first line."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Query, Response, WebSocket

from hearthwatch.api import examples, models, system_models
from hearthwatch.api.dependencies import Here, Shared
from hearthwatch.api.transports import EventStream, serve_websocket

router = APIRouter(tags=["live"])

After = Annotated[int | None, Query(ge=0, lt=1 << 63, description="Resume behind this `seq`; else from now on.")]


@router.get(
    "/api/live",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {"example": examples.LIVE}}}, 422: models.INVALID},
)
async def live(
    here: Shared,
    after: After = None,
    last_event_id: Annotated[
        str | None, Header(description="What a browser sends when it comes back: the last `seq`.")
    ] = None,
) -> Response:
    """Server-Sent Events: `event` with the message of the feed (its id is `seq`), `status` every two seconds."""
    client = here.hub.join()
    if client is None:
        raise HTTPException(503, "too many listen already", {"retry-after": "10"})
    return EventStream(here.hub, client, _seq(last_event_id, after))


@router.websocket("/ws/events")
async def events(websocket: WebSocket) -> None:
    here: Here = websocket.app.state.here
    given = websocket.headers.get("last-event-id") or websocket.query_params.get("after")
    await serve_websocket(here.hub, websocket, _seq(given, None))


@router.get("/api/status", response_model=system_models.StatusLine)
async def status(here: Shared) -> Response:
    """The page's first line. `at` is the pipeline's heartbeat: that this server answers proves nothing about cameras."""
    return await here.answer("status", here.look, ages=True)


def _seq(text: str | None, otherwise: int | None) -> int | None:
    return int(text) if text and re.fullmatch(r"\d{1,18}", text) else otherwise
