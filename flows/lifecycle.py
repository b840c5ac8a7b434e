"""The life of a running graph: locks first, then models, then frames; one stop for all sources; every stage closed.

Bytewax builds every source's partition before it asks the first one for items. So stages are opened at that first
question: what a source refuses (a lock that is held) is told before a model is loaded, and no frame waits for one.
One worker: a record's order is one line, and each process of a Bytewax cluster would deliver the whole feed again.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

from bytewax.inputs import StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from hearthwatch.flows.runtime import end_after, plainly
from hearthwatch.schemas import Stage
from hearthwatch.schemas.errors import UserError

log = logging.getLogger(__name__)

STOP_LATENCY = timedelta(seconds=0.2)  # a source that sleeps for an hour still looks this often whether to stop
STOP_SECONDS_MAX = 4.5  # then the process ends all the same: a stage may wait for a service that is away
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def alone(worker_count: int) -> None:
    """UserError if this is one of several workers."""
    if worker_count > 1:
        raise UserError(
            f"{worker_count} Bytewax workers were asked for (-w, -p or -i), but a record has one: start without, and for more "
            "cameras, cards or hosts start one pipeline with a data folder of its own for each (docs/scale.md)"
        )


class Life:
    """What is open, who still runs, and whether to stop. One per dataflow."""

    def __init__(self) -> None:
        self.starts: list[Callable[[], None]] = []
        """Called in this order before the first frame is handed out."""
        self.stopping = False
        self._turn = threading.RLock()
        self._parts: list[Part] = []
        self._led = self._started = False
        self._open: list[Stage] = []
        self._handlers: dict[signal.Signals, Any] = {}

    def opens(self, stage: Stage) -> None:
        self.starts.append(lambda: self._open_stage(stage))

    def _open_stage(self, stage: Stage) -> None:
        stage.open()
        self._open.append(stage)

    def close(self, stage: Stage) -> None:
        """The stage's own stream has ended: it will not be asked again."""
        with self._turn:
            if stage in self._open:
                self._open.remove(stage)
                stage.close()

    def start(self) -> None:
        with self._turn:
            if not self._started:
                self._started = True
                self._listen()  # before the models: loading one takes longer than anybody waits for a stop
                with plainly(2):
                    for start in self.starts:
                        if not self.stopping:
                            start()

    def joins(self, part: Part) -> None:
        with self._turn:
            self._parts.append(part)
            self._led |= not part.follows

    def leaves(self, part: Part) -> None:
        with self._turn:
            if part in self._parts:
                self._parts.remove(part)
            if not self._parts:
                self._led = self._started = self.stopping = False
                for number, handler in self._handlers.items():
                    signal.signal(number, handler)
                self._handlers.clear()

    def ends(self, part: Part) -> bool:
        """Whether this source has to end now: we were told to stop, or those that it follows have ended."""
        return self.stopping or (part.follows and self._led and all(other.follows for other in self._parts))

    def _listen(self) -> None:
        """SIGTERM and SIGINT end every source, so that a snapshot is taken; a handler set before is called as well."""
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._stop) for number in SIGNALS}

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if not self.stopping:
            log.info("%s: stopping", signal.Signals(number).name)
            end_after(
                STOP_SECONDS_MAX, "stopped in the middle of a step: what was in hand comes again at the next start"
            )
        self.stopping = True
        before = self._handlers.get(signal.Signals(number))
        if callable(before) and before is not signal.default_int_handler:
            before(number, frame)


class Part:
    """A partition of any source, which starts the graph with its first question and ends when it is told to."""

    def __init__(self, inner: Any, life: Life, follows: bool) -> None:
        self.inner, self.life, self.follows = inner, life, follows
        self.due: datetime | None = inner.next_awake()
        """When to ask again. As Bytewax does, it is asked for once after each batch: `now + pause` is a fine answer."""
        life.joins(self)

    def next_batch(self) -> Any:
        self.life.start()
        if self.life.ends(self):
            raise StopIteration
        if self.due is not None and self.due > datetime.now(UTC):
            return []
        with plainly(1):
            batch = self.inner.next_batch()
        self.due = self.inner.next_awake()
        return batch

    def next_awake(self) -> datetime | None:
        return None if self.due is None else min(self.due, datetime.now(UTC) + STOP_LATENCY)

    def snapshot(self) -> Any:
        return self.inner.snapshot() if isinstance(self.inner, StatefulSourcePartition) else None

    def close(self) -> None:
        self.inner.close()
        self.life.leaves(self)


class Watch(DynamicSink[Any], StatelessSinkPartition[Any]):
    """Sees that items pass, and a stream's end; Bytewax builds it before any source."""

    def __init__(self, at_end: Callable[[], None], on_items: Callable[[], None] = lambda: None) -> None:
        self.at_end, self.on_items = at_end, on_items

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Watch:
        with plainly(2):
            alone(worker_count)
        return self

    def write_batch(self, items: list[Any]) -> None:
        self.on_items()

    def close(self) -> None:
        self.at_end()
