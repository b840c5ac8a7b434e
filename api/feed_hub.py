"""The feed as it grows, to any number of browsers: one thread looks at the record, whoever listens is told.

At least once, in order of `seq`, and with a `Last-Event-ID` from where the client was: what it missed is read from the
record, what comes meanwhile waits in its bounded queue. A client that does not keep up is dropped, not buffered; it comes
back and resumes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool

from hearthwatch.record import Record, RecordError
from hearthwatch.record.feed import Feed
from hearthwatch.record.read.snapshot import SnapshotReader

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.1  # one pragma on an open file; what is new is told within this
STATUS_SECONDS = 2.0
WAITING_MAX = 1000  # messages of about 700 bytes, shared by all clients; beyond it a client is dropped
PAGE = 500  # rows read at once for a client that was away
CLIENTS_MAX = 1000

_AFTER = "SELECT seq, payload FROM feed WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"


class Told(NamedTuple):
    """A row of the feed: `payload` is the message of the contract, as JSON."""

    seq: int
    payload: str

    @property
    def sse(self) -> bytes:
        return f"id: {self.seq}\nevent: event\ndata: {self.payload}\n\n".encode()


class Client:
    """Somebody who listens. `start`: everything beyond it comes by itself, everything up to it is in the record."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.waiting: deque[Told] = deque()
        self.status: str | None = None
        self.dropped = False
        self.news = asyncio.Event()

    def tell(self, told: list[Told]) -> None:
        if len(self.waiting) + len(told) > WAITING_MAX:
            self.drop()
        else:
            self.waiting.extend(told)
            self.news.set()

    def drop(self) -> None:
        self.dropped = True
        self.waiting.clear()
        self.news.set()

    async def take(self) -> tuple[list[Told], str | None]:
        """What is new, at least one thing; nothing once dropped."""
        await self.news.wait()
        self.news.clear()
        told, self.waiting, status, self.status = list(self.waiting), deque(), self.status, None
        return ([], None) if self.dropped else (told, status)


class Hub:
    """Looks at the feed for all clients. `status` makes the page's first line, as JSON-ready dict."""

    def __init__(self, reader: SnapshotReader, status: Callable[[], dict[str, Any]]) -> None:
        self._reader, self._status = reader, status
        self._clients: set[Client] = set()
        self._seq = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    # -- on the event loop

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._seq = await run_in_threadpool(self._last)
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self.drop_all()

    def drop_all(self) -> None:
        """End every stream; clients come back by themselves."""
        for client in list(self._clients):
            client.drop()

    def join(self) -> Client | None:
        """A new client, from the feed's end on; None: there are too many."""
        if len(self._clients) >= CLIENTS_MAX or self._stopping.is_set():
            return None
        client = Client(self._seq)
        self._clients.add(client)
        return client

    def leave(self, client: Client) -> None:
        self._clients.discard(client)

    async def listen(self, client: Client, after: int | None) -> AsyncIterator[tuple[list[Told], str | None]]:
        """(messages, status or None), for ever: first what came after `after`, then what comes."""
        seq = client.start if after is None else after
        first = json.dumps(await run_in_threadpool(self._status))
        client.status = None  # older than this one
        yield [], first
        while seq < client.start and not client.dropped:
            missed = await run_in_threadpool(self._after, seq, client.start)
            if not missed:
                break
            yield missed, None
            seq = missed[-1].seq
        while not client.dropped:
            told, status = await client.take()
            if told or status:
                yield told, status

    def _publish(self, told: list[Told], status: str | None) -> None:
        if told:
            self._seq = told[-1].seq
        for client in list(self._clients):
            if told:
                client.tell(told)
            if status:
                client.status = status
                client.news.set()

    def _begin_anew(self, seq: int) -> None:
        """Another record took the place of the old one: positions in the old feed mean nothing."""
        self._seq = seq
        self.drop_all()

    # -- on the thread

    def _run(self) -> None:
        failed, due, seen = False, time.monotonic(), None
        seq, store = self._seq, self._reader.connection().store_id if self._reader.exists() else None
        while not self._stopping.wait(LOOK_SECONDS):
            try:
                record = self._reader.connection()
                if store not in (None, record.store_id) and self._reader.exists():
                    seq, seen = self._last(), None
                    self._call(self._begin_anew, seq)
                store = record.store_id if self._reader.exists() else store
                told, version = [], (id(record), record.one("PRAGMA data_version")[0])
                if version != seen:
                    told = self._after(seq, 1 << 62)
                    seen = version if len(told) < PAGE else None
                    seq = told[-1].seq if told else seq
                status = None
                if time.monotonic() >= due:
                    due = time.monotonic() + STATUS_SECONDS
                    status = json.dumps(self._status())
                if told or status:
                    self._call(self._publish, told, status)
                failed = False
            except (sqlite3.Error, RecordError, OSError) as error:
                if not failed:
                    log.warning("the record cannot be read: %s; trying again", error)
                failed = True
                self._stopping.wait(1.0)

    def _call(self, what: Callable[..., None], *args: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what, *args)

    def _last(self) -> int:
        try:
            return Feed(self._reader.connection()).last()
        except (sqlite3.Error, RecordError, OSError):
            return 0

    def _after(self, seq: int, until: int) -> list[Told]:
        record: Record = self._reader.connection()
        return [Told(*row) for row in record.rows(_AFTER, seq, until, PAGE)]
