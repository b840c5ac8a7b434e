"""How the feed goes over the wire: Server-Sent Events for browsers, a WebSocket for programs.

A client that takes nothing for half a minute is let go. Both end when the server stops, so that it can.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from hearthwatch.api.feed_hub import Client, Hub

SEND_SECONDS_MAX = 30.0
RETRY_MS = 1000  # how soon a browser comes back


class EventStream(Response):
    """`id`, `event` and `data` for each message; `event: status` every two seconds is the heartbeat."""

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, client: Client, after: int | None) -> None:
        self.status_code, self.background, self.body = 200, None, b""
        self.hub, self.client, self.after = hub, client, after
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [h for h in self.raw_headers if h[0] != b"content-length"],
                }
            )
            await _first(self._send(send), _gone(receive))
        finally:
            self.hub.leave(self.client)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.body", "body": f"retry: {RETRY_MS}\n\n".encode(), "more_body": True})
        async for told, status in self.hub.listen(self.client, self.after):
            parts = [message.sse for message in told]
            if status:
                parts.append(f"event: status\ndata: {status}\n\n".encode())
            async with asyncio.timeout(SEND_SECONDS_MAX):
                await send({"type": "http.response.body", "body": b"".join(parts), "more_body": True})
        async with asyncio.timeout(1.0):
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _first(*works: Any) -> None:
    """Until one of them ends; the others are cancelled. A client that is too slow or gone is no error."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(
                result, asyncio.CancelledError | TimeoutError | OSError | WebSocketDisconnect | RuntimeError
            ):
                raise result


async def serve_websocket(hub: Hub, socket: WebSocket, after: int | None) -> None:
    """`{"type":"event","data":{…}}` for each message; the server pings every 30 s by the protocol's own frames."""
    client = hub.join()
    await socket.accept()
    try:
        if client is None:
            await socket.close(1013, "too many clients")
            return
        await _first(_tell(hub, client, socket, after), _hear(socket))
        if client.dropped:
            async with asyncio.timeout(1.0):
                await socket.close(1013, "too slow, or the server stops: come back with after=<the last seq>")
    except (TimeoutError, OSError, RuntimeError, WebSocketDisconnect):
        pass  # it is gone already
    finally:
        if client:
            hub.leave(client)


async def _tell(hub: Hub, client: Client, socket: WebSocket, after: int | None) -> None:
    async for told, _ in hub.listen(client, after):
        for message in told:
            async with asyncio.timeout(SEND_SECONDS_MAX):
                await socket.send_text(f'{{"type":"event","data":{message.payload}}}')


async def _hear(socket: WebSocket) -> None:
    """Clients have nothing to say, but some ask whether we are there."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        if "ping" in (message.get("text") or ""):
            await socket.send_text('{"type":"pong"}')
