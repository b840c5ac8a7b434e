"""What all routes share: the settings, the record to read, the one writer, and the time."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from datetime import datetime
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

from fastapi import Depends, Response
from pydantic_core import to_json
from starlette.requests import HTTPConnection

from api.health import Health
from api.live import Hub
from api.metrics import Steps
from record import Record, now
from record.reading import Reader
from schemas.items import to_microseconds
from schemas.settings import Settings

T = TypeVar("T")

ANSWERS_MAX = 256  # a page of fifty events has 40 kB: 10 MB
ANSWER_BYTES_MAX = 256 * 1024


class Here:
    """One per application. Reading is free for all threads; writing is done by one at a time."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.reader = Reader(settings.database_path)
        self.health = Health(settings, self.reader)
        self.hub = Hub(self.reader, self.status)
        self.steps = Steps()
        self.began = time.monotonic()
        self._answers: OrderedDict[Hashable, tuple[object, bytes]] = OrderedDict()
        self._making = [threading.Lock() for _ in range(16)]
        self._writer: Record | None = None
        self._turn = threading.Lock()

    def write(self, work: Callable[[Record], T]) -> T:
        """Run `work` on the record, which is made if there is none yet. Raises RecordError if it stays locked or full."""
        with self._turn:
            if self._writer is None or not self.reader.exists():
                self._writer = Record(self.settings.database_path)
            return work(self._writer)

    def answer(self, key: Hashable, make: Callable[[Record], Any]) -> Response:
        """What `make` reads, as JSON; made once for all who ask the same before the record changes."""
        with self._making[hash(key) % len(self._making)]:
            version = self.reader.version()  # first: an answer may be newer than its version, never older
            known = self._answers.get(key)
            if known is None or known[0] != version:
                with self.reader.reading() as record:
                    known = version, to_json(make(record), inf_nan_mode="null")
                self._keep(key, known)
        return Response(known[1], media_type="application/json")

    def _keep(self, key: Hashable, answer: tuple[object, bytes]) -> None:
        if len(answer[1]) <= ANSWER_BYTES_MAX:
            self._answers[key] = answer
        while len(self._answers) > ANSWERS_MAX:
            self._answers.popitem(last=False)

    def midnight(self) -> int:
        """When today began where the cameras are, in microseconds."""
        zone = self.settings.hearthwatch_timezone
        today = datetime.now(ZoneInfo(zone) if zone else None).replace(hour=0, minute=0, second=0, microsecond=0)
        return to_microseconds(today.astimezone())

    def status(self) -> dict[str, Any]:
        """The page's first line."""
        with self.reader.reading() as record:
            return self.health.status(record, now(), self.midnight())

    def close(self) -> None:
        self.hub.stop()
        if self._writer:
            self._writer.close()


def answer(content: Any, status_code: int = 200) -> Response:
    """JSON as it is, without a second look at every field: what the tests hold against the documented models."""
    return Response(to_json(content, inf_nan_mode="null"), status_code, media_type="application/json")


async def _here(connection: HTTPConnection) -> Here:
    here: Here = connection.app.state.here
    return here


Shared = Annotated[Here, Depends(_here)]
