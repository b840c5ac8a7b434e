"""Ask a `Poller` of the graph's author on a thread, so that it may wait for a network and nothing else does.

At least once: the snapshot is the position behind what was handed on; after a kill it is asked from there again. What it raises
is logged, and it is asked again after a pause that doubles, up to a minute.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from queue import Empty, Full, Queue
from typing import Any

from bytewax.inputs import StatefulSourcePartition

from hearthwatch.schemas import Poller

log = logging.getLogger(__name__)

ANSWERS_MAX = 2  # that wait for the dataflow
TAKE_SECONDS = 0.01  # between two looks for an answer
STOP_SECONDS_MAX = 0.5  # of a thread that waits for a network: it ends with the process
PAUSE_SECONDS_MAX = 60.0
DOUBLINGS_MAX = 30  # a float takes no power of 1,024


class PollerPartition(StatefulSourcePartition[Any, Any]):
    """The answers of one poller, in order."""

    def __init__(self, node: str, poller: Poller, position: Any) -> None:
        self.node, self.poller, self.position = node, poller, position
        self._answers = Queue[tuple[list[Any], Any] | None](ANSWERS_MAX)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(position,), name=f"{node} polls", daemon=True)
        self._thread.start()

    def next_batch(self) -> list[Any]:
        try:
            answer = self._answers.get_nowait()
        except Empty:
            return []
        if answer is None:
            raise StopIteration
        items, self.position = answer
        return items

    def next_awake(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=TAKE_SECONDS)

    def snapshot(self) -> Any:
        return self.position

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(STOP_SECONDS_MAX)

    def _run(self, position: Any) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                found, position = self.poller.poll(position)
                items, failures = list(found), 0
            except StopIteration:
                self._put(None)
                return
            except Exception as error:
                items, failures = [], failures + 1
                log.warning("%s: %s: %s; it is asked again", self.node, type(error).__name__, error)
            if items:
                self._put((items, position))
            else:
                pause = self.poller.seconds * 2 ** min(failures, DOUBLINGS_MAX)
                self._stopping.wait(min(pause, max(self.poller.seconds, PAUSE_SECONDS_MAX)))

    def _put(self, answer: tuple[list[Any], Any] | None) -> None:
        while not self._stopping.is_set():
            with suppress(Full):
                self._answers.put(answer, timeout=STOP_SECONDS_MAX)
                return
