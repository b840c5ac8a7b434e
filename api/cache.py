"""Cache JSON responses until the record changes.

SQLite is asked on the event loop whether the record changed, without waiting, so most requests need no thread. A request
that comes after a commit gets a response that includes it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from pydantic_core import to_json

from hearthwatch.record import Record
from hearthwatch.record.read.snapshot import SnapshotReader

RESPONSES_MAX = 256  # a page of fifty events has 40 kB: 10 MB
RESPONSE_BYTES_MAX = 256 * 1024


class PendingResponse(NamedTuple):
    """A response that is being read, of this version of the record or a later one."""

    version: object
    content: asyncio.Future[bytes]


class ResponseCache:
    """JSON as bytes, by key; for one event loop."""

    def __init__(self, reader: SnapshotReader) -> None:
        self._reader = reader
        self._cached: OrderedDict[Hashable, tuple[object, bytes]] = OrderedDict()
        self._pending: dict[Hashable, PendingResponse] = {}

    async def get(
        self,
        key: Hashable,
        read: Callable[[Record], Any],
        period: object = None,
        limiter: CapacityLimiter | None = None,
    ) -> bytes:
        """Return what `read` reads, as JSON: cached for the same record and `period`, else read on a thread of `limiter`.

        One thread at a time reads for a key, however many requests wait and however often the record changes.
        """
        version = self._reader.version(), period  # first: a response may be newer than its version, never older
        cached, pending = self._cached.get(key), self._pending.get(key)
        if cached and cached[0] == version:
            return cached[1]
        if pending and pending.version != version:  # it may have read before the change; one that starts later has not
            await asyncio.wait([pending.content])
            pending = self._pending.get(key)
        if pending is None:
            pending = PendingResponse(version, asyncio.ensure_future(self._fill(key, version, read, limiter)))
            self._pending[key] = pending
        return await asyncio.shield(pending.content)  # a client that disconnects does not cancel it for the others

    async def _fill(
        self, key: Hashable, version: object, read: Callable[[Record], Any], limiter: CapacityLimiter | None
    ) -> bytes:
        try:
            content = await run_sync(self._read, read, limiter=limiter)
        finally:
            del self._pending[key]
        if len(content) <= RESPONSE_BYTES_MAX:
            self._cached[key] = version, content
        while len(self._cached) > RESPONSES_MAX:
            self._cached.popitem(last=False)
        return content

    def _read(self, read: Callable[[Record], Any]) -> bytes:
        with self._reader.snapshot() as record:
            return to_json(read(record), inf_nan_mode="null")
