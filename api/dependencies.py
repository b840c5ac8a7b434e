"""State of the application and helpers that all routes share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Hashable
from datetime import datetime
from functools import partial, wraps
from typing import Annotated, Any, ParamSpec, TypeVar
from zoneinfo import ZoneInfo

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Depends, HTTPException, Response
from pydantic_core import to_json
from starlette.requests import HTTPConnection

from hearthwatch.api.cache import ResponseCache
from hearthwatch.api.feed_hub import FeedHub
from hearthwatch.api.health import Health
from hearthwatch.api.security import SessionAttempts
from hearthwatch.record import Record, now
from hearthwatch.record.read.snapshot import SnapshotReader
from hearthwatch.schemas.items import to_microseconds
from hearthwatch.schemas.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 4  # the interpreter runs one at a time: with 12 an event in full took 37 ms at its p99 instead of 21
SLOW_THREADS = 8  # separate ones for disks, services and queries of a million rows
PREVIEW = [*("nice", sys.executable, "-m", "hearthwatch.cli", "whatif"), *"--zones - --since 7d --json".split()]
PREVIEW_SECONDS_MAX = 60  # some thousand pictures with boxes a second; the page waits for it
FRESH_SECONDS = 1.0  # how long a response that depends on the time is cached while the record does not change


class AppState:
    """One per application. Any thread reads; one at a time writes."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.reader = SnapshotReader(settings.database_path)
        self.health = Health(settings, self.reader)
        self.hub = FeedHub(self.reader, self.cached_status_line)
        self.session_attempts = SessionAttempts()
        self.started = time.monotonic()
        self.slow_threads = CapacityLimiter(SLOW_THREADS)
        self._cache = ResponseCache(self.reader)
        self._writer: Record | None = None
        self._write_lock, self._preview_lock = threading.Lock(), threading.Lock()
        self._status_lock = threading.Lock()
        self._status: tuple[object, dict[str, Any]] = None, {}

    def write(self, work: Callable[[Record], T]) -> T:
        """Run `work` on the record, which is created if it does not exist.

        Raises:
            RecordError: it stays locked, or the disk is full.
        """
        with self._write_lock:
            if self._writer is None or not self.reader.exists():
                self._writer = Record(self.settings.database_path)
            return work(self._writer)

    async def cached_response(
        self, key: Hashable, read: Callable[[Record], Any], *, time_dependent: bool = False, slow: bool = False
    ) -> Response:
        """Respond with what `read` returns, as JSON, cached until the record changes.

        `time_dependent`: for a second at most. `slow`: it may read a million rows, so it runs on the slow threads.
        """
        period = time.monotonic() // FRESH_SECONDS if time_dependent else None
        content = await self._cache.get(key, read, period, self.slow_threads if slow else None)
        return Response(content, media_type="application/json")

    def status_line(self, record: Record) -> dict[str, Any]:
        """Read the page's first line."""
        return self.health.status_line(record, now(), self.midnight())

    def cached_status_line(self) -> dict[str, Any]:
        """Read the page's first line once for all clients of the live stream."""
        with self._status_lock:
            key = self.reader.version(), time.monotonic() // FRESH_SECONDS
            if self._status[0] != key:
                with self.reader.snapshot() as record:
                    self._status = key, self.status_line(record)
            return self._status[1]

    def midnight(self) -> int:
        """When today began in the cameras' time zone, in microseconds."""
        zone = self.settings.hearthwatch_timezone
        today = datetime.now(ZoneInfo(zone) if zone else None).replace(hour=0, minute=0, second=0, microsecond=0)
        return to_microseconds(today.astimezone())

    def preview(self, camera: str, zones: list[Any]) -> dict[str, Any]:
        """Ask `hearthwatch whatif` what these zones would have changed; one at a time, in a separate process.

        Raises:
            HTTPException: another one runs, or it gave no answer.
        """
        if not self._preview_lock.acquire(blocking=False):
            raise HTTPException(503, "another preview is being computed: try again", {"retry-after": "5"})
        try:
            done = subprocess.run(
                [*PREVIEW, f"--camera={camera}"], input=json.dumps(zones), capture_output=True, text=True, timeout=PREVIEW_SECONDS_MAX,
                env={**os.environ, "DATABASE_URL": f"sqlite:///{self.settings.database_path}"},
            )  # fmt: skip
            if not done.returncode:
                return json.loads(done.stdout)  # type: ignore[no-any-return]
            why = done.stderr.strip().rpartition("\n")[2]
        except subprocess.TimeoutExpired:
            why = f"it takes more than {PREVIEW_SECONDS_MAX} s; use `hearthwatch whatif`"
        finally:
            self._preview_lock.release()
        raise HTTPException(503, f"no preview: {why}", {"retry-after": "60"})

    def close(self) -> None:
        self.hub.stop()
        if self._writer:
            self._writer.close()


def json_response(content: Any, status_code: int = 200) -> Response:
    """Respond with JSON, not validated: tests compare every response with its documented model."""
    return Response(to_json(content, inf_nan_mode="null"), status_code, media_type="application/json")


def run_on_slow_threads(route: Callable[P, Response]) -> Callable[P, Awaitable[Response]]:
    """Run a route that waits for a disk or a service on the slow threads, so that other routes do not wait for it."""

    @wraps(route)
    async def run(*args: P.args, **named: P.kwargs) -> Response:
        state: AppState = named["state"]  # type: ignore[assignment]
        return await run_sync(partial(route, *args, **named), limiter=state.slow_threads)

    return run


async def _app_state(connection: HTTPConnection) -> AppState:
    state: AppState = connection.app.state.app_state
    return state


State = Annotated[AppState, Depends(_app_state)]
