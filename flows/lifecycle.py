"""Start and stop a graph: locks first, then models, then frames; one stop for all sources; every stage closed.

Bytewax builds every source's partition before it polls the first one for items. So stages are opened at that first poll:
what a source refuses (a lock that is held) is reported before a model is loaded, and no frame waits for one. One worker for
each cell: a record's order is one line. Where there are several cells, each has its own lifecycle on the worker that reads it.
The stop budgets stand in `schemas/context.py`: a stop ends within STOP_SECONDS_MAX whatever waits.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from bytewax.inputs import StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from hearthwatch.flows.runtime import exit_after, exit_on_user_error
from hearthwatch.schemas import StageWorker
from hearthwatch.schemas.context import STOP_SECONDS_MAX
from hearthwatch.schemas.errors import UserError

log = logging.getLogger(__name__)

STOP_LATENCY_SECONDS = 0.2  # a source that sleeps for an hour is still asked this often whether to stop
STEP_MIN = 1.0  # seconds by which a wall clock that was set differs; slewing is less
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def refuse_several_workers(worker_count: int) -> None:
    """Raise UserError if this is one of several workers."""
    if worker_count > 1:
        raise UserError(
            f"{worker_count} Bytewax workers were asked for (-w, -p or -i), but a cell has one and there is one cell: start without, "
            f"or set HEARTHWATCH_CELLS={worker_count} (docs/scale.md)"
        )


class Lifecycle:
    """What is open, what still runs, and whether to stop. One per dataflow."""

    def __init__(self) -> None:
        self.on_start: list[Callable[[], None]] = []
        """Called in this order before the first frame is handed out."""
        self.on_end: list[Callable[[], None]] = []
        """Called when the last source has ended."""
        self.stopping = False
        self.cells = [self]
        """The lifecycles of all cells of this process: a signal stops all of them."""
        self._thread: int | None = None
        self._turn = threading.RLock()
        self._partitions: list[SourcePartition] = []
        self._has_leader = self._started = False
        self._open: list[StageWorker] = []
        self._handlers: dict[signal.Signals, Any] = {}

    def open_at_start(self, stage: StageWorker) -> None:
        """Open this stage when the graph starts."""
        self.on_start.append(lambda: self._open_stage(stage))

    def _open_stage(self, stage: StageWorker) -> None:
        stage.open()
        self._open.append(stage)

    def close(self, stage: StageWorker) -> None:
        """Close a stage whose stream has ended: it will not be called again."""
        with self._turn:
            if stage in self._open:
                self._open.remove(stage)
                stage.close()

    def is_here(self) -> bool:
        """Whether this is the worker that reads the cell; streams end on all of them."""
        return self._thread in (None, threading.get_ident())

    def start(self) -> None:
        """Start everything once, at the first poll of any source."""
        with self._turn:
            if not self._started:
                self._started = True
                with exit_on_user_error(2):
                    for start in self.on_start:
                        if not self.stopping:
                            start()

    def add(self, partition: SourcePartition) -> None:
        with self._turn:
            self._partitions.append(partition)
            self._thread = threading.get_ident() if len(self.cells) > 1 else None
            self._has_leader |= not partition.follows

    def remove(self, partition: SourcePartition) -> None:
        with self._turn:
            if partition in self._partitions:
                self._partitions.remove(partition)
            if not self._partitions:
                self._has_leader = self._started = self.stopping = False
                self.restore_signals()
                for end in self.on_end:
                    end()

    def has_to_end(self, partition: SourcePartition) -> bool:
        """Whether this source has to end now: the graph is stopping, or those that it follows have ended."""
        followers_only = all(other.follows for other in self._partitions)
        return self.stopping or (partition.follows and self._has_leader and followers_only)

    def handle_signals(self) -> None:
        """End every source at SIGTERM and SIGINT, so that a snapshot is taken; a handler set before is called as well."""
        handled = any(cell._handlers for cell in self.cells)
        if not handled and threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._stop) for number in SIGNALS}

    def restore_signals(self) -> None:
        """Give the signals back to the handlers set before."""
        others = any(cell._partitions for cell in self.cells if cell is not self)
        if others or threading.current_thread() is not threading.main_thread():
            return
        for cell in self.cells:
            for number, handler in cell._handlers.items():
                signal.signal(number, handler)
            cell._handlers.clear()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if not self.stopping:
            log.info("%s: stopping", signal.Signals(number).name)
            exit_after(
                STOP_SECONDS_MAX, "stopped in the middle of a step: what was in flight comes again at the next start"
            )
        for cell in self.cells:
            cell.stopping = True
            for stage in cell._open:
                stage.stop()
        before = self._handlers.get(signal.Signals(number))
        if callable(before) and before is not signal.default_int_handler:
            before(number, frame)


class SourcePartition:
    """A partition of any source, which starts the graph with its first poll and ends when it has to."""

    def __init__(self, inner: Any, lifecycle: Lifecycle, follows: bool) -> None:
        self.inner, self.lifecycle, self.follows = inner, lifecycle, follows
        self.due: float | None = 0.0
        """When to poll again, on the monotonic clock: what it answers is a time of the wall clock, which may be set."""
        self._awake(_read_step())
        lifecycle.add(self)

    def next_batch(self) -> Any:
        self.lifecycle.start()
        if self.lifecycle.has_to_end(self):
            raise StopIteration
        if self.due is not None and self.due > time.monotonic():
            return []
        step = _read_step()
        with exit_on_user_error(1):
            batch = self.inner.next_batch()
        self._awake(step)
        return batch

    def wake(self) -> bool:
        """Make it due, if it waits for `Context.wake`; return whether it does."""
        if is_woken := getattr(self.inner, "is_woken", False):
            self.due = None
        return bool(is_woken)

    def _awake(self, step: float) -> None:
        """Ask when to poll again; as Bytewax does, once after each batch: `now + pause` is a fine answer.

        At once if the clock was set since `step` was read: `now` may have been hours off.
        """
        at = self.inner.next_awake()
        pause = None if at is None else (at - datetime.now(UTC)).total_seconds()
        self.due = None if pause is None or abs(_read_step() - step) > STEP_MIN else time.monotonic() + pause

    def pause_seconds(self) -> float | None:
        """How long not to poll it; None: it does not say."""
        return None if self.due is None else min(self.due - time.monotonic(), STOP_LATENCY_SECONDS)

    def snapshot(self) -> Any:
        return self.inner.snapshot() if isinstance(self.inner, StatefulSourcePartition) else None

    def close(self) -> None:
        self.inner.close()
        self.lifecycle.remove(self)


def _read_step() -> float:
    """By how many seconds the wall clock is ahead of the monotonic one."""
    return time.time() - time.monotonic()


class StreamObserver(DynamicSink[Any], StatelessSinkPartition[Any]):
    """Calls back when items pass and when a stream ends; Bytewax builds it before any source."""

    def __init__(
        self, at_end: Callable[[], None], on_items: Callable[[], None] = lambda: None, is_cell: bool = False
    ) -> None:
        self.at_end, self.on_items, self.is_cell = at_end, on_items, is_cell

    def build(self, step_id: str, worker_index: int, worker_count: int) -> StreamObserver:
        with exit_on_user_error(2):
            if not self.is_cell:
                refuse_several_workers(worker_count)
        return self

    def write_batch(self, items: list[Any]) -> None:
        self.on_items()

    def close(self) -> None:
        self.at_end()
