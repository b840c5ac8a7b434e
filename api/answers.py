"""Answers that are made once for all who ask the same before the record changes.

Whether an answer still holds is asked of SQLite on the event loop, without a wait: most questions then need no thread.
Whoever asks after a commit gets an answer that has seen it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from pydantic_core import to_json

from record import Record
from record.reading import Reader

ANSWERS_MAX = 256  # a page of fifty events has 40 kB: 10 MB
ANSWER_BYTES_MAX = 256 * 1024

Key = tuple[Hashable, object]


class Answers:
    """JSON as bytes, by question; for one event loop."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._kept: OrderedDict[Hashable, tuple[object, bytes]] = OrderedDict()
        self._coming: dict[Key, asyncio.Future[bytes]] = {}

    async def get(
        self, question: Hashable, make: Callable[[Record], Any], limiter: CapacityLimiter | None = None
    ) -> bytes:
        """What `make` reads, as JSON; on a thread of `limiter` if it has to be made."""
        version = self._reader.version()  # first: an answer may be newer than its version, never older
        known = self._kept.get(question)
        if known and known[0] == version:
            return known[1]
        coming = self._coming.get((question, version))
        if coming is None:
            coming = asyncio.ensure_future(self._make((question, version), make, limiter))
            self._coming[question, version] = coming
        return await asyncio.shield(coming)  # one who hangs up takes it from nobody

    async def _make(self, key: Key, make: Callable[[Record], Any], limiter: CapacityLimiter | None) -> bytes:
        try:
            content = await run_sync(self._read, make, limiter=limiter)
        finally:
            del self._coming[key]
        self._keep(key, content)
        return content

    def _read(self, make: Callable[[Record], Any]) -> bytes:
        with self._reader.reading() as record:
            return to_json(make(record), inf_nan_mode="null")

    def _keep(self, key: Key, content: bytes) -> None:
        question, version = key
        if len(content) <= ANSWER_BYTES_MAX:
            self._kept[question] = version, content
        while len(self._kept) > ANSWERS_MAX:
            self._kept.popitem(last=False)
