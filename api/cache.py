"""Answers that are made once for all who ask the same before the record changes.

Whether an answer still holds is asked of SQLite on the event loop, without a wait: most questions then need no thread.
Whoever asks after a commit gets an answer that has seen it.
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

ANSWERS_MAX = 256  # a page of fifty events has 40 kB: 10 MB
ANSWER_BYTES_MAX = 256 * 1024


class Coming(NamedTuple):
    """An answer that is being made, of this version or a later one."""

    version: object
    content: asyncio.Future[bytes]


class Answers:
    """JSON as bytes, by question; for one event loop."""

    def __init__(self, reader: SnapshotReader) -> None:
        self._reader = reader
        self._kept: OrderedDict[Hashable, tuple[object, bytes]] = OrderedDict()
        self._coming: dict[Hashable, Coming] = {}

    async def get(
        self,
        question: Hashable,
        make: Callable[[Record], Any],
        period: object = None,
        limiter: CapacityLimiter | None = None,
    ) -> bytes:
        """What `make` reads, as JSON; on a thread of `limiter` if it has to be made. It holds for this `period` at most.

        One thread at a time works on a question, however many ask and however often the record changes meanwhile.
        """
        version = self._reader.version(), period  # first: an answer may be newer than its version, never older
        known, coming = self._kept.get(question), self._coming.get(question)
        if known and known[0] == version:
            return known[1]
        if (
            coming and coming.version != version
        ):  # it may have read before the last change: whatever begins after it has not
            await asyncio.wait([coming.content])
            coming = self._coming.get(question)
        if coming is None:
            coming = Coming(version, asyncio.ensure_future(self._make(question, version, make, limiter)))
            self._coming[question] = coming
        return await asyncio.shield(coming.content)  # one who hangs up takes it from nobody

    async def _make(
        self, question: Hashable, version: object, make: Callable[[Record], Any], limiter: CapacityLimiter | None
    ) -> bytes:
        try:
            content = await run_sync(self._read, make, limiter=limiter)
        finally:
            del self._coming[question]
        if len(content) <= ANSWER_BYTES_MAX:
            self._kept[question] = version, content
        while len(self._kept) > ANSWERS_MAX:
            self._kept.popitem(last=False)
        return content

    def _read(self, make: Callable[[Record], Any]) -> bytes:
        with self._reader.snapshot() as record:
            return to_json(make(record), inf_nan_mode="null")
