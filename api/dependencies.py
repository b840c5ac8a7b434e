"""What all routes share: the settings, the record to read, the one writer, and the time."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Hashable
from datetime import datetime
from functools import partial, wraps
from typing import Annotated, Any, ParamSpec, TypeVar
from zoneinfo import ZoneInfo

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Depends, Response
from pydantic_core import to_json
from starlette.requests import HTTPConnection

from hearthwatch.api.cache import Answers
from hearthwatch.api.feed_hub import Hub
from hearthwatch.api.health import Health
from hearthwatch.record import Record, now
from hearthwatch.record.read.snapshot import SnapshotReader
from hearthwatch.schemas.items import to_microseconds
from hearthwatch.schemas.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 4  # the interpreter runs one at a time: with 12 an event in full took 37 ms at its p99 instead of 21
PATIENT_THREADS = 8  # beside them, for what waits for disks and services or reads a million rows
FRESH_SECONDS = 1.0  # for so long an answer that speaks of the time holds while the record stays as it is


class Here:
    """One per application. Reading is free for all threads; writing is done by one at a time."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.reader = SnapshotReader(settings.database_path)
        self.health = Health(settings, self.reader)
        self.hub = Hub(self.reader, self.status)
        self.began = time.monotonic()
        self.patient = CapacityLimiter(PATIENT_THREADS)
        self._answers = Answers(self.reader)
        self._writer: Record | None = None
        self._turn = threading.Lock()
        self._status_turn = threading.Lock()
        self._status: tuple[object, dict[str, Any]] = None, {}

    def write(self, work: Callable[[Record], T]) -> T:
        """Run `work` on the record, which is made if there is none yet. Raises RecordError if it stays locked or full."""
        with self._turn:
            if self._writer is None or not self.reader.exists():
                self._writer = Record(self.settings.database_path)
            return work(self._writer)

    async def answer(
        self, question: Hashable, make: Callable[[Record], Any], *, ages: bool = False, patient: bool = False
    ) -> Response:
        """What `make` reads, as JSON; made once for all who ask the same before the record changes.

        `ages`: it speaks of the time, too, so it holds for a second at most. `patient`: it may read a million rows.
        """
        period = time.monotonic() // FRESH_SECONDS if ages else None
        content = await self._answers.get(question, make, period, self.patient if patient else None)
        return Response(content, media_type="application/json")

    def look(self, record: Record) -> dict[str, Any]:
        """The page's first line."""
        return self.health.status(record, now(), self.midnight())

    def midnight(self) -> int:
        """When today began where the cameras are, in microseconds."""
        zone = self.settings.hearthwatch_timezone
        today = datetime.now(ZoneInfo(zone) if zone else None).replace(hour=0, minute=0, second=0, microsecond=0)
        return to_microseconds(today.astimezone())

    def status(self) -> dict[str, Any]:
        """The page's first line, for those who are told; many who begin to listen at once see the same."""
        with self._status_turn:
            key = self.reader.version(), time.monotonic() // FRESH_SECONDS
            if self._status[0] != key:
                with self.reader.snapshot() as record:
                    self._status = key, self.look(record)
            return self._status[1]

    def close(self) -> None:
        self.hub.stop()
        if self._writer:
            self._writer.close()


def answer(content: Any, status_code: int = 200) -> Response:
    """JSON as it is, without a second look at every field: what the tests hold against the documented models."""
    return Response(to_json(content, inf_nan_mode="null"), status_code, media_type="application/json")


def patient(route: Callable[P, Response]) -> Callable[P, Awaitable[Response]]:
    """A route that waits for a disk or a service does so on threads of its own: no page of events waits behind it."""

    @wraps(route)
    async def waiting(*args: P.args, **named: P.kwargs) -> Response:
        here: Here = named["here"]  # type: ignore[assignment]
        return await run_sync(partial(route, *args, **named), limiter=here.patient)

    return waiting


async def _here(connection: HTTPConnection) -> Here:
    here: Here = connection.app.state.here
    return here


Shared = Annotated[Here, Depends(_here)]
