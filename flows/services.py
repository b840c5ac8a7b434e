"""Consumers of the feed: each on a thread of its own, behind a durable cursor; a slow one delays nobody.

At least once, in order. The cursor moves after `deliver` returned; when it raises, the same messages come again after a
while (full jitter, at most 30 s), and an outage is logged once. A new consumer starts at the feed's end. A consumer of the
same name in a second process on the same record waits until the first one ends, and goes on where that stopped.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hearthwatch.flows.only import wants
from hearthwatch.record import Lock, Record, RecordError, acquire_lock
from hearthwatch.record.feed import Feed
from hearthwatch.schemas import Consumer, Message

log = logging.getLogger(__name__)

MESSAGES_MAX = 100  # per `deliver`: about 100 kB of JSON, and what is repeated at most after a failure
RESUMED_MAX = 200  # messages shown again to a consumer that starts: what may still go on was told of among them
LOOK_SECONDS = 1.0  # looks at the feed this often by itself, should the dataflow's thread be busy for long
BACKOFF_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 2.0  # for all consumers together: a stop has to end within 5 s, and what is left comes next time


class Readers:
    """All consumers of a graph: started together, stopped together."""

    def __init__(self) -> None:
        self._running: list[Reader] = []
        self._deadline = 0.0

    def start(self, reader: Reader) -> None:
        reader.start()
        self._running.append(reader)

    def wake(self) -> None:
        for reader in self._running:
            reader.news.set()

    def stop(self) -> None:
        """Let everybody take what is there already, for a bounded time; called once for each of them."""
        deadline = time.monotonic() + STOP_SECONDS_MAX
        for reader in self._running:
            reader.stop(deadline)
        for reader in self._running:
            reader.join(deadline)
        self._running.clear()


class Reader:
    """One consumer, its thread and its cursor."""

    def __init__(self, name: str, consumer: Consumer, only: Mapping[str, Any], path: Path) -> None:
        self.name, self.consumer, self.only, self.path = name, consumer, only, path
        self._lock: Lock | None = None

    def start(self) -> None:
        """The cursor exists when this returns: whatever is written from now on will be delivered."""
        self.news, self._stopping, self._until = threading.Event(), threading.Event(), 0.0
        self._record = Record(self.path)
        self._feed = Feed(self._record)
        self._cursor = self._feed.cursor(self.name)
        self._thread = threading.Thread(target=self._run, name=f"consumer {self.name}", daemon=True)
        self._thread.start()

    def stop(self, deadline: float) -> None:
        self._until = deadline
        self._stopping.set()
        self.news.set()

    def join(self, deadline: float) -> None:
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            log.warning("%s is still delivering: its messages will come again at the next start", self.name)

    def _run(self) -> None:
        try:
            opened = self._alone() and self._patiently(self.consumer.open) and self._patiently(self._resume)
            while opened and self._patiently(self._take):
                pass
            if opened:
                self.consumer.close()
        except Exception:
            log.exception("%s could not be closed", self.name)
        finally:
            self._record.close()
            if self._lock:
                self._lock.release()

    def _alone(self) -> bool:
        """Wait until no other process tells the same. False: time to go."""
        told = False
        while True:
            try:
                self._lock = acquire_lock(self.path.parent, f"tell.{quote(self.name, safe='')}")
            except RecordError as error:
                if not told:
                    log.warning("%s: %s; until then nothing is told from here", self.name, error)
                told = True
            else:
                return True
            if self._stopping.wait(LOOK_SECONDS):
                return False

    def _resume(self) -> None:
        """Remind it of what it knew. The feed may have gaps, where events were forgotten."""
        self._cursor = self._feed.cursor(self.name)  # another process may have moved it
        before = self._feed.after(self._cursor - RESUMED_MAX, RESUMED_MAX)
        self.consumer.resume([m for m in before if m.seq <= self._cursor and wants(self.only, m)])

    def _take(self) -> bool:
        """Deliver what is new, or wait for news. False: time to go."""
        self.news.clear()
        messages = self._feed.after(self._cursor, MESSAGES_MAX)
        if messages:
            self._deliver(messages)
            return not self._stopping.is_set() or time.monotonic() < self._until
        if not self._stopping.is_set():
            if not self.news.wait(LOOK_SECONDS):
                self.consumer.idle()
            return True
        return False

    def _deliver(self, messages: list[Message]) -> None:
        wanted = [message for message in messages if wants(self.only, message)]
        if wanted:
            self.consumer.deliver(wanted)
        self._feed.advance(self.name, messages[-1].seq)
        self._cursor = messages[-1].seq

    def _patiently(self, work: Any) -> bool:
        """Call until it does not raise; True unless it returned False or we were told to stop first."""
        failures, began = 0, time.monotonic()
        while True:
            try:
                result = work()
            except Exception as error:
                if not failures:
                    log.warning("%s: %s: %s; trying again until it works", self.name, type(error).__name__, error)
                failures += 1
                if self._stopping.wait(min(BACKOFF_SECONDS_MAX, 2.0**failures / 4) * random.random()):
                    return False
            else:
                if failures:
                    log.info("%s works again after %.0f s", self.name, time.monotonic() - began)
                return result is not False
