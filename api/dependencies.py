"""State of the application and helpers that all routes share."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from datetime import datetime
from functools import partial, wraps
from pathlib import Path
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
from hearthwatch.record import Record, cameras, feedback, now, reviews
from hearthwatch.record.cells import find_cells
from hearthwatch.record.read.snapshot import SnapshotReader
from hearthwatch.record.units import CELL_BITS
from hearthwatch.schemas.context import Cell
from hearthwatch.schemas.items import to_microseconds
from hearthwatch.schemas.settings import Settings

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 4  # the interpreter runs one at a time: with 12 an event in full took 37 ms at its p99 instead of 21
CELLS_READ_MAX = 11  # SQLite attaches ten files to one
SLOW_THREADS = 8  # separate ones for disks, services and queries of a million rows
COMMAND = "nice", sys.executable, "-m", "hearthwatch.cli"
PREVIEW_SECONDS_MAX = 60  # some thousand pictures with boxes a second; the page waits for it
TEST_SECONDS_MAX = 40  # a notifier gives up after ten or so; loading the graph takes some
FRESH_SECONDS = 1.0  # how long a response that depends on the time is cached while the record does not change


class AppState:
    """One per application. Any thread reads; one at a time writes."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.zone = ZoneInfo(settings.hearthwatch_timezone) if settings.hearthwatch_timezone else None
        places = settings.database_path, settings.hearthwatch_data_dir, settings.foscam_base_path
        found = find_cells(settings.hearthwatch_cells, *places)
        self.cells = found[:CELLS_READ_MAX]
        if unread := found[CELLS_READ_MAX:]:
            names = ", ".join(cell.name for cell in unread)
            log.warning("the API and the page show %d of %d cells, not %s", len(self.cells), len(found), names)
        self.reader = SnapshotReader(self.cells[0].record_path, [cell.record_path for cell in self.cells[1:]])
        self.health = Health(settings, self.reader, found, [cell.name for cell in unread])
        self.hub = FeedHub(self.reader, self.cached_status_line)
        self.session_attempts = SessionAttempts()
        self.started = time.monotonic()
        self.slow_threads = CapacityLimiter(SLOW_THREADS)
        self._cache = ResponseCache(self.reader)
        self._writers: dict[int, Record] = {}
        self._write_lock = threading.Lock()
        self._command_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._status_lock = threading.Lock()
        self._status: tuple[object, dict[str, Any]] = None, {}

    def write(self, work: Callable[[Record], T], id: int | None = None) -> T:
        """Run `work` on the record of this id's cell, else on each cell's until it finds what it changes; lists are joined.

        Raises:
            RecordError: it stays locked, or the disk is full.
        """
        found: list[Any] = []
        with self._write_lock:
            for cell in self.cells if id is None else [self.cell_of(id)]:
                if cell.number not in self._writers or not self.reader.exists():
                    if cell != self.cells[0] and not cell.record_path.exists():
                        continue
                    self._writers[cell.number] = Record(cell.record_path)
                result = work(self._writers[cell.number])
                if not isinstance(result, list) and (result or len(self.cells) == 1):
                    return result
                found += result if isinstance(result, list) else []
        return found if isinstance(result, list) else result  # type: ignore[return-value]

    def write_camera(self, id: str, work: Callable[[Record], bool]) -> bool:
        """Run `work` on the records that have a second row of a camera, then on its cell's; whether there is this camera."""
        seconds = self.write(lambda record: [work(record)] if cameras.is_second_row(record, id) else [])
        return self.write(lambda record: not cameras.is_second_row(record, id) and work(record)) or any(seconds)

    def review(
        self, reviewed: bool, ids: Sequence[int] | None = None, level: str | None = None, camera: str | None = None,
        incidents: Sequence[int] | None = None,
    ) -> list[int]:  # fmt: skip
        """Mark events of all cells, or incidents with theirs; the ids of the events that changed."""
        changed = self.write(lambda record: reviews.review(record, reviewed, ids, level, camera, incidents))
        if len(self.cells) > 1:
            self.mark_copies(reviewed, changed, incidents or ())
        return changed

    def mark_copies(self, reviewed: bool, ids: Sequence[int], incidents: Sequence[int] = ()) -> None:
        """Let incidents show at once that events of other cells were marked."""
        first = self.cells[0].number << CELL_BITS
        self.write(lambda record: reviews.mark_copies(record, reviewed, ids, incidents), first)

    def answer(self, event: int, answer: feedback.Answer, at: int, *, once: bool = False) -> int | None:
        """Write an answer about an event; that about the gravest one of an incident speaks for its events of all cells.

        Raises:
            FeedbackError: it cannot be answered so.
        """
        id = self.write(lambda record: feedback.write_answer(record, event, answer, at, once=once))
        if id and len(self.cells) > 1:
            with self.reader.snapshot() as record:
                sql = "SELECT id FROM incidents WHERE gravest_event_id = ? AND status <> 'merged'"
                whole = [incident for (incident,) in record.rows(sql, event)]
            self.review(True, [event])
            self.review(True, incidents=whole)
        return id

    def cell_of(self, id: int) -> Cell:
        """Return the cell of a frame, an event or an incident."""
        return next((cell for cell in self.cells if cell.number == id >> CELL_BITS), self.cells[0])

    def folders_of(self, id: int) -> tuple[Path, Path]:
        """Return the upload tree and the data dir of a frame, an event or an incident."""
        return self.cell_of(id).base_path, self.cell_of(id).data_dir

    def data_dir_of(self, record: Record) -> Path:
        """Return the data dir of a cell's record."""
        return next(cell.data_dir for cell in self.cells if cell.record_path == record.path)

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
        today = datetime.now(self.zone).replace(hour=0, minute=0, second=0, microsecond=0)
        return to_microseconds(today.astimezone())

    def preview(self, camera: str, zones: list[Any]) -> dict[str, Any]:
        """Ask `hearthwatch whatif` what these zones would have changed; one at a time, in a separate process.

        Raises:
            HTTPException: another one runs, or it gave no answer.
        """
        command = "whatif", *"--zones - --since 7d --json".split(), f"--camera={camera}"
        if len(self.cells) > 1:
            with self.reader.snapshot(camera) as record:
                command += (f"--cell={self.cell_of(record.number << CELL_BITS).name}",)
        failed, text = self._run(command, "preview is being computed", PREVIEW_SECONDS_MAX, json.dumps(zones))
        if failed:
            raise HTTPException(503, f"no preview: {text}", {"retry-after": "60"})
        return json.loads(text)  # type: ignore[no-any-return]

    def test_notifier(self, name: str) -> dict[str, Any]:
        """Let `hearthwatch notify --test` send a notification through this notifier: `ok`, and its result in words.

        Raises:
            HTTPException: another test runs.
        """
        failed, text = self._run(("notify", "--test", name), "test is being sent", TEST_SECONDS_MAX)
        return {"ok": not failed, "message": text.rpartition("\n")[2]}

    def _run(self, command: Sequence[str], doing: str, seconds_max: int, content: str = "") -> tuple[bool, str]:
        """Run a command of this product, which may import what this process must not; one of a kind at a time: if it failed, and what it says."""
        lock = self._command_locks[command[0]]
        if not lock.acquire(blocking=False):
            raise HTTPException(503, f"another {doing}: try again", {"retry-after": "5"})
        try:
            done = subprocess.run(
                [*COMMAND, *command], input=content, capture_output=True, text=True, timeout=seconds_max,
                env={**os.environ, "DATABASE_URL": f"sqlite:///{self.settings.database_path}"},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return True, f"it takes more than {seconds_max} s; use `hearthwatch {command[0]}`"
        finally:
            lock.release()
        return done.returncode != 0, done.stderr.strip().rpartition("\n")[2] if done.returncode else done.stdout.strip()

    def close(self) -> None:
        self.hub.stop()
        for writer in self._writers.values():
            writer.close()


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
