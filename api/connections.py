"""Limit connections: how many there are, and how long a client may take to send a request or to read an answer.

What gives way is the oldest connection without a complete request, so that a client with a thousand half-open connections
cannot keep out others, or even its own next request. A connection with a request in progress never gives way: when there are
only those, new ones are closed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_SECONDS_MAX = 10.0  # from the connection, or the answer before, to the end of a request
READ_SECONDS_MAX = 60.0  # without any byte read of an answer that waits; WebSockets have their pings
HEAD_BYTES_MAX = 64 * 1024  # httptools sets no limit
CLIENT_CONNECTIONS_MAX = 256  # of one address; this machine's own, which may be a proxy, has only the limit of all
CONNECTIONS_MAX = 2048
FILES_RESERVED = 200  # of the limit of open files: record, pictures, libraries
SWEEP_SECONDS = 1.0
LOG_SECONDS = 60.0

log = logging.getLogger(__name__)


def connections_max(files_max: int) -> int:
    """Return how many connections a process that may open so many files takes."""
    return max(16, min(CONNECTIONS_MAX, files_max - FILES_RESERVED))


class Connections:
    """All open connections, oldest first."""

    def __init__(self, total_max: int, client_max: int = CLIENT_CONNECTIONS_MAX) -> None:
        self.total_max, self.client_max = total_max, client_max
        self._open: dict[LimitedProtocol, None] = {}
        self._sweeps = False
        self._logged = -LOG_SECONDS

    def add(self, new: LimitedProtocol) -> None:
        """Take this one; where there are too many, abort another, or else this one."""
        self._open[new] = None
        if not self._sweeps:
            self._sweeps = True
            new.loop.call_later(SWEEP_SECONDS, self._sweep, new.loop)
        if len(self._open) > self.total_max:
            self._make_room(list(self._open), new)
        elif len(self._open) > self.client_max and not is_loopback_address(new.address):
            mine = [one for one in self._open if one.address == new.address]
            if len(mine) > self.client_max:
                self._make_room(mine, new)

    def discard(self, one: LimitedProtocol) -> None:
        self._open.pop(one, None)

    def _make_room(self, candidates: list[LimitedProtocol], new: LimitedProtocol) -> None:
        now = time.monotonic()
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            log.warning(
                "%d connections, the last one from %s: unfinished ones are closed", len(self._open), new.address
            )
        closed = next((one for one in candidates if one.is_closed()), None)
        self._abort(closed or next((one for one in candidates if one.awaits_request() and one is not new), new))

    def _abort(self, one: LimitedProtocol) -> None:
        self.discard(one)
        one.transport.abort()

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close what takes too long."""
        now = time.monotonic()
        for one in list(self._open):
            if one.is_closed():
                self.discard(one)
            elif one.is_overdue(now):
                self._abort(one)
        self._sweeps = bool(self._open)
        if self._sweeps:
            loop.call_later(SWEEP_SECONDS, self._sweep, loop)


class LimitedProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol, for as many connections as there may be, each with time limits."""

    def __init__(self, limits: Connections, **options: Any) -> None:
        super().__init__(**options)
        self.limits = limits
        self.address = ""
        self._in_head, self._head_bytes = False, 0
        self._seen: object = None
        self._seen_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = client_address(self.client)
        self._seen_at = time.monotonic()
        self.limits.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.limits.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._head_bytes = self._head_bytes + len(data) if self._in_head else 0
        if self._head_bytes > HEAD_BYTES_MAX:
            self.transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        self._in_head = False  # what comes is a body, also of a request that was refused already
        super().on_headers_complete()

    def is_websocket(self) -> bool:
        return self.transport.get_protocol() is not self

    def is_closed(self) -> bool:
        """Whether a WebSocket has ended: that protocol does not report it here."""
        return self.is_websocket() and self.transport.is_closing()

    def awaits_request(self) -> bool:
        """Whether the client has to send something before there is anything to do."""
        return not self.is_websocket() and (self.cycle is None or self.cycle.response_complete or self.cycle.more_body)

    def is_overdue(self, now: float) -> bool:
        """Whether nothing has changed for too long; called again and again. `now`: monotonic seconds."""
        waits, unread = self.awaits_request(), self.transport.get_write_buffer_size()
        seen = (self.cycle, waits, unread)
        if seen != self._seen:
            self._seen_at, self._seen = (self._seen_at if self._seen is None else now), seen
        if self.is_websocket():
            return False
        return now - self._seen_at > (READ_SECONDS_MAX if unread else REQUEST_SECONDS_MAX) and (waits or unread > 0)


def client_address(client: tuple[str, int] | None) -> str:
    """Return what counts as one client: an IPv4 address, or the first half of an IPv6 address, which one home has."""
    try:
        address = ipaddress.ip_address((client[0] if client else "").partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if address.version == 6 and not address.is_loopback:
        return str(ipaddress.ip_network((address, 64), strict=False).network_address)
    return str(address)


def is_loopback_address(address: str) -> bool:
    return address == "" or ipaddress.ip_address(address).is_loopback
