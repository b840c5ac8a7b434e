"""Deliver new messages of the feed to all live clients: one thread polls the record, each client has a bounded queue.

At least once, in order of `seq` of each cell, after the client's position if it gives one (`Last-Event-ID`): older messages are
read from the record first. A position has the number of each cell's last message. A client that is too slow is dropped, not buffered; it reconnects and resumes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sqlite3
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool

from hearthwatch.record import RecordError
from hearthwatch.record.feed import Feed
from hearthwatch.record.read.snapshot import SnapshotReader

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1  # one pragma on an open file; a new message is sent within this
STATUS_SECONDS = 2.0
QUEUE_MAX = 1000  # messages of about 700 bytes, shared by all clients; a client with more is dropped
ROWS_MAX = 500  # rows of the feed read at once
CLIENTS_MAX = 1000
POSITION_STORE = 8  # characters of the record's id in a position
POSITION = rf"(?:([^.]{{1,{POSITION_STORE}}})\.)?(\d{{1,18}}(?:-\d{{1,18}})*)"  # 0.1 sent the number alone

Seqs = tuple[int, ...]
"""The last message of each cell."""
_AFTER = "SELECT seq, payload, kind FROM {}.feed WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"


class FeedRow(NamedTuple):
    """A row of the feed: `payload` is the message of the contract, as JSON; `kind` is `event`, `incident` or `system`."""

    seq: Seqs
    payload: str
    kind: str


class Subscriber:
    """The queue of one client: messages after `start`; those up to `start` are in the record."""

    def __init__(self, start: Seqs) -> None:
        self.start = start
        self.queue: deque[FeedRow] = deque()
        self.status: str | None = None
        self.dropped = False
        self._changed = asyncio.Event()

    def push(self, rows: list[FeedRow], status: str | None = None) -> None:
        """Queue messages; drop the client if they are too many. Only the newest status is kept."""
        if len(self.queue) + len(rows) > QUEUE_MAX:
            self.drop()
        else:
            self.queue.extend(rows)
            self.status = status or self.status
            self._changed.set()

    def drop(self) -> None:
        self.dropped = True
        self.queue.clear()
        self._changed.set()

    async def pop_all(self) -> tuple[list[FeedRow], str | None]:
        """Wait for messages or a status, and take them; nothing once dropped."""
        await self._changed.wait()
        self._changed.clear()
        rows, self.queue, status, self.status = list(self.queue), deque(), self.status, None
        return ([], None) if self.dropped else (rows, status)


class FeedHub:
    """Polls the feed for all clients. `status` reads the page's first line, as a JSON-ready dict."""

    def __init__(self, reader: SnapshotReader, status: Callable[[], dict[str, Any]]) -> None:
        self._reader, self._status = reader, status
        self._subscribers: set[Subscriber] = set()
        self._seq: Seqs = (0,)
        self._store = ""
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    # -- on the event loop

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._seq = await run_in_threadpool(self._last_seq)
        store = await run_in_threadpool(self._first_store)
        self._store = store or ""
        self._thread = threading.Thread(target=self._poll, name="feed", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self.drop_all()

    def drop_all(self) -> None:
        """End every stream; clients reconnect."""
        for subscriber in list(self._subscribers):
            subscriber.drop()

    def position(self, seq: Seqs) -> str:
        """Format the position behind this message: opaque to clients, and of this record only."""
        numbers = "-".join(map(str, seq))
        return f"{self._store[:POSITION_STORE]}.{numbers}" if self._store else numbers

    def parse_position(self, text: str | None) -> Seqs | None:
        """Return the numbers that a client resumes after, 0 if its position is of another record; None: it is no position."""
        found = re.fullmatch(POSITION, text or "")
        if found is None:
            return None
        is_ours = found[1] is None or not self._store or found[1] == self._store[:POSITION_STORE]
        return tuple(map(int, found[2].split("-"))) if is_ours else (0,)

    def subscribe(self) -> Subscriber | None:
        """Add a client at the end of the feed; None: there are too many."""
        if len(self._subscribers) >= CLIENTS_MAX or self._stopping.is_set():
            return None
        subscriber = Subscriber(self._seq)
        self._subscribers.add(subscriber)
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        self._subscribers.discard(subscriber)

    async def stream(
        self, subscriber: Subscriber, after: Seqs | None
    ) -> AsyncIterator[tuple[list[FeedRow], str | None]]:
        """Yield (messages, status or None) until the client is dropped: the status, what came after `after`, what is new."""
        seq = subscriber.start if after is None else after
        first = json.dumps(await run_in_threadpool(self._status))
        subscriber.status = None  # older than this one
        yield [], first
        while not subscriber.dropped:
            missed = await run_in_threadpool(self._read, seq, subscriber.start)
            if not missed:
                break
            yield missed, None
            seq = missed[-1].seq
        while not subscriber.dropped:
            rows, status = await subscriber.pop_all()
            if rows or status:
                yield rows, status

    def _publish(self, rows: list[FeedRow], status: str | None) -> None:
        if rows:
            self._seq = rows[-1].seq
        for subscriber in list(self._subscribers):
            subscriber.push(rows, status)

    def _reset(self, seq: Seqs) -> None:
        """Start at the end of another record: positions in the old feed mean nothing."""
        self._seq = seq
        self.drop_all()

    # -- on the thread

    def _poll(self) -> None:
        failed, due, seen = False, time.monotonic(), None
        seq, store = self._seq, self._first_store()
        while not self._stopping.wait(POLL_SECONDS):
            try:
                record = self._reader.connection()
                if store not in (None, record.store_id) and self._reader.exists():
                    seq, seen = self._last_seq(), None
                    self._call(self._reset, seq)
                store = record.store_id if self._reader.exists() else store
                self._store = store or ""
                rows, version = (
                    [],
                    (id(record), [record.one(f"PRAGMA {schema}.data_version")[0] for schema in record.schemas]),
                )
                if version != seen:
                    rows = self._read(seq, (1 << 62,) * len(record.schemas))
                    seen = version if len(rows) < ROWS_MAX else None
                    seq = rows[-1].seq if rows else seq
                status = None
                if time.monotonic() >= due:
                    due = time.monotonic() + STATUS_SECONDS
                    status = json.dumps(self._status())
                if rows or status:
                    self._call(self._publish, rows, status)
                failed = False
            except (sqlite3.Error, RecordError, OSError) as error:
                if not failed:
                    log.warning("the record cannot be read: %s; live messages wait, retrying every second", error)
                failed = True
                self._stopping.wait(1.0)

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    def _first_store(self) -> str | None:
        """Return whose feed this is; None: there is none yet, "": it cannot be read yet."""
        try:
            return self._reader.connection().store_id if self._reader.exists() else None
        except (sqlite3.Error, RecordError, OSError):
            return ""

    def _last_seq(self) -> Seqs:
        try:
            record = self._reader.connection()
            return tuple(Feed(record).last(schema) for schema in record.schemas)
        except (sqlite3.Error, RecordError, OSError):
            return (0,)

    def _read(self, seq: Seqs, until: Seqs) -> list[FeedRow]:
        record, out, at = self._reader.connection(), list[FeedRow](), list(seq)
        at += [0] * (len(record.schemas) - len(seq))  # a cell that has come since
        for n, (schema, last) in enumerate(zip(record.schemas, until, strict=False)):
            for number, payload, kind in record.rows(_AFTER.format(schema), at[n], last, ROWS_MAX - len(out)):
                at[n] = number
                out.append(FeedRow(tuple(at), payload, kind))
        return out
