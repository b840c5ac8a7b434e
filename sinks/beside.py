"""Work that ticks wake and that the dataflow never waits for: one thread for each node, of low priority.

What fails is told once and tried again at the next tick; what is under way at a stop gets a moment to come to an end.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime

from bytewax.outputs import DynamicSink, StatelessSinkPartition

from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.items import Tick

log = logging.getLogger(__name__)

STOP_SECONDS_MAX = 1.0  # a stop has to end within 5 s in all; whatever is cut off here goes on at the next start
NICENESS = 10

Work = Callable[[datetime, Callable[[], bool]], None]
"""Called with the time of the tick, and a function that says whether to come to an end."""


class Beside(DynamicSink[Tick]):
    """A sink that works on a thread of its own. `make` is called there, and gives what is called at every tick.

    `at_end`: work once more before a clean stop, for as long as a stop may take.
    """

    def __init__(self, name: str, make: Callable[[], Work], *, at_end: bool = False) -> None:
        self.name, self.make, self.at_end = name, make, at_end

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Worker:
        return Worker(self.name, self.make, at_end=self.at_end)


class Worker(StatelessSinkPartition[Tick]):
    """The thread. Ticks that come while it works are one tick."""

    def __init__(self, name: str, make: Callable[[], Work], *, at_end: bool = False) -> None:
        self.name, self.make, self.at_end = name, make, at_end
        self._tick: Tick | None = None
        self._news, self._ends = threading.Event(), threading.Event()
        self._deadline = 0.0
        self._fails = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)  # a disk that hangs keeps no process
        self._thread.start()

    def write_batch(self, items: list[Tick]) -> None:
        self._tick = items[-1]
        self._news.set()

    def close(self) -> None:
        """Come to an end, for a bounded time."""
        self._deadline = time.monotonic() + STOP_SECONDS_MAX
        self._ends.set()
        self._news.set()
        self._thread.join(STOP_SECONDS_MAX)

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)  # on Linux each thread has its own
        work: Work | None = None
        while self._news.wait() and not self._ends.is_set():
            self._news.clear()
            work = self._tried(work, self._ends.is_set)
        if self.at_end:
            self._tried(work, lambda: time.monotonic() > self._deadline)

    def _tried(self, work: Work | None, stop: Callable[[], bool]) -> Work | None:
        try:
            work = work or self.make()
            if self._tick:
                work(self._tick.now, stop)
            self._fails = False
        except (UserError, OSError) as error:
            if not self._fails:
                log.warning("%s: %s; trying again at every tick", self.name, error)
            self._fails = True
        except Exception:
            log.exception("%s failed; trying again at the next tick", self.name)
        _give_back()
        return work


def _give_back() -> None:
    """Memory that is free again goes to the system: glibc keeps it for the next time, in each thread's arena anew."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # other C libraries do so by themselves
        trim(0)
