"""The bases of every source, stage and sink: a component is its options, frozen and typed, and declares its ports.

A flow file's table becomes the component's keyword arguments; an unknown or wrong option is reported before anything
starts. `build(context)` makes what runs; a component never runs itself. Nothing here runs anything: `flows/` wires
components into a Bytewax dataflow.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from hearthwatch.schemas.context import Context
from hearthwatch.schemas.items import Event
from hearthwatch.schemas.messages import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bytewax.dataflow import Stream
    from bytewax.inputs import Source as BytewaxSource
    from bytewax.outputs import Sink as BytewaxSink


AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)
"""What `notify_at` returns to be called again soon. Never a time to come: Bytewax compares it with a wall clock that may be
set back; the sources of a graph pace its steps, at 10 ms or less."""


class Component(BaseModel):
    """Options of one node. Subclass `Source`, `Stage`, `Sink`, `Consumer` or `Job`, not this."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    accepts: ClassVar[type | tuple[type, ...]] = ()
    """The item types that may flow in. Ticks flow around a component unless `Tick` is listed here."""
    emits: ClassVar[type | None] = None
    """The item type that flows out; None: nothing does."""
    durable: ClassVar[bool] = False
    """True: what leaves this node is in the record by then, so consumers and jobs may read behind it."""

    def label(self) -> str:
        """What the drawn graph shows behind the node's name; a node with options that matter says them here."""
        return type(self).__name__

    def off(self) -> str | None:
        """Why this node does nothing (`REDIS_URL is not set: events are not published`); None: it works."""
        return None

    def probe(self) -> str | None:
        """Ask the service of a node that is not off: what it answers, None: it needs none. Raises UserError: what to do."""
        return None

    def copy_fresh(self) -> Self:
        """A component with the same options and nothing of what this one may have kept while it ran."""
        return self.model_construct(_fields_set=self.model_fields_set, **dict(self))


class Source(Component):
    """Where items come from. `emits = Upload` for pictures (the engine ledgers them), anything else for taps."""

    follows: ClassVar[bool] = False
    """True: it never ends by itself (a clock, samples), but when every other source has ended."""

    def build(self, context: Context) -> BytewaxSource[Any]:
        """Make the Bytewax source of this node; called once, when the dataflow is built."""
        raise NotImplementedError(
            f"{type(self).__name__} is a source: it needs a `build(context)` that returns a Bytewax source"
        )


class Poller(Source):
    """A source that is asked for items, on a thread, so it may wait for a network: implement `poll`."""

    seconds: float = 10
    """Between two questions when there was nothing new."""

    def poll(self, position: Any) -> tuple[Sequence[Any], Any]:
        """Return what is new behind this position (None: at first), and the new position, which is kept over restarts.

        Raise to be asked again later; StopIteration: there is no more, ever.
        """
        raise NotImplementedError(f"{type(self).__name__} is a poller: it needs `poll(position) -> items, position`")

    def build(self, context: Context) -> Any:
        """Make what is asked in one graph; by default a copy of the poller."""
        return self.copy_fresh()


class StageWorker:
    """What a stage's `build` returns. Implement `process` (simple), or `attach` (anything Bytewax can do)."""

    def open(self) -> None:
        """Load what `process` needs (a model, a file). Called once, before the first frame is handed out."""

    def process(self, items: list[Any]) -> list[Any]:
        """Turn items into items, in order. Between `files` and `batch` no item may vanish.

        Raise `Reject(reason)` for an item that cannot be processed: it becomes that item's in-band error. The list is
        tried again one by one to find it, so `process` must not keep state between calls.
        """
        raise NotImplementedError(f"{type(self).__name__} is a stage: it needs `process(items) -> items` or `attach`")

    def attach(self, step_id: str, up: Stream[Any]) -> Stream[Any]:
        """Add Bytewax steps named after `step_id` and return the stream out, for what `process` cannot do.

        Ticks come along in order; pass on what is not yours.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """Stop waiting for anything: the graph ends. Called from a signal handler."""

    def close(self) -> None:
        """Release what `open` took. Called once, at a clean end."""


class Stage(Component, StageWorker):
    """Turns items into items: `build` returns a worker, or the methods of `StageWorker` are on the stage itself."""

    def build(self, context: Context) -> StageWorker:
        """Make what runs in one graph; by default a copy of the stage, so that two graphs share nothing."""
        return self.copy_fresh()


class Sink(Component):
    """Where items go."""

    def build(self, context: Context) -> BytewaxSink[Any]:
        """Make the Bytewax sink of this node. With `-r`, only a `FixedPartitionedSink` holds a commit until it has written."""
        raise NotImplementedError(
            f"{type(self).__name__} is a sink: it needs a `build(context)` that returns a Bytewax sink"
        )


class ConsumerWorker:
    """What a consumer's `build` returns: reads the feed on its own thread, behind a durable cursor; may block."""

    def open(self) -> None:
        """Connect. Called on the consumer's own thread before the first `deliver`; raise = try again later."""

    def resume(self, messages: Sequence[Any]) -> None:
        """Take the newest messages that were delivered before, in an earlier run too. Called once after `open`."""

    def deliver(self, messages: Sequence[Any]) -> None:
        """Deliver these messages, of the types that it `accepts`, oldest first. Raise to get the same ones again after a while."""
        raise NotImplementedError(f"{type(self).__name__} is a consumer: it needs `deliver(messages)`")

    def idle(self) -> None:
        """Check a connection. Called about once a second while there is no news. Raise = as in `deliver`."""

    def close(self) -> None:
        """Disconnect. Called on the consumer's thread at a clean end."""


class Mirror(ConsumerWorker):
    """A worker that copies the whole feed elsewhere and reads its rows itself."""

    idle_seconds = 1.0
    """After so long `catch_up` is called again, if nothing new is announced before."""

    def catch_up(self) -> int:
        """Bring the mirror to the feed's end; the number of the last row on both sides. Raise to be called again."""
        raise NotImplementedError


class Consumer(Component, ConsumerWorker):
    """Reads the feed, at least once and in order. A new consumer starts at the feed's end.

    `build` returns a worker, or the methods of `ConsumerWorker` are on the consumer itself.
    """

    accepts: ClassVar[type | tuple[type, ...]] = Message
    whole: ClassVar[bool] = False
    """True: it mirrors the feed as it is, so `only` is a mistake."""

    def build(self, context: Context) -> ConsumerWorker:
        """Make what runs in one graph; by default a copy of the consumer, so that two graphs share nothing."""
        return self.copy_fresh()


class JobWorker:
    """What a job's `build` returns: works from time to time on its own thread, at low priority."""

    def run(self, now: datetime, stop: Callable[[], bool]) -> None:
        """Do what is due at `now`; return soon once `stop()` is true. Raise = again after a while."""
        raise NotImplementedError(f"{type(self).__name__} is a job: it needs `run(now, stop)`")

    def finish(self, now: datetime, stop: Callable[[], bool]) -> None:
        """Do what should be done before a clean end, for as long as a stop may take."""


class Job(Component):
    """Works on the record from time to time: the lake, retention."""

    accepts: ClassVar[type | tuple[type, ...]] = Event

    def pause_seconds(self) -> float:
        """Seconds between two runs; the first is at the start."""
        raise NotImplementedError

    def build(self, context: Context) -> JobWorker:
        """Make what runs. Called on the job's own thread, where a slow import delays nothing."""
        raise NotImplementedError(f"{type(self).__name__} is a job: it needs a `build(context)` that returns a worker")


def build_worker(component: Component, context: Context) -> Any:
    """Call the component's `build(context)`; one of 0.1 has a `build()` without a parameter."""
    build: Callable[..., Any] = component.build  # type: ignore[attr-defined]
    code = getattr(build, "__code__", None)
    return build() if code is not None and code.co_argcount == 1 else build(context)
