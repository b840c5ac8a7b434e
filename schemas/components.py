"""The bases of every source, stage and sink: a component is its options, frozen and typed, and declares its ports.

A flow file's table becomes the component's keyword arguments; an unknown or wrong option is reported before anything
starts. Nothing here runs anything: `flows/` wires components into a Bytewax dataflow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from hearthwatch.schemas.items import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bytewax.dataflow import Stream
    from bytewax.inputs import Source as BytewaxSource
    from bytewax.outputs import Sink as BytewaxSink


class Component(BaseModel):
    """Options of one node. Subclass `Source`, `Stage`, `Sink` or `Consumer`, not this."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    accepts: ClassVar[type | tuple[type, ...]] = ()
    """The item types that may flow in. Ticks flow around a component unless `Tick` is listed here."""
    emits: ClassVar[type | None] = None
    """The item type that flows out; None: nothing does."""

    def label(self) -> str:
        """What the drawn graph shows behind the node's name; a node with options that matter says them here."""
        return type(self).__name__

    def off(self) -> str | None:
        """Why this sink or consumer does nothing (`REDIS_URL is not set: events are not published`); None: it works."""
        return None


class Source(Component):
    """Where items come from. `emits = Upload` for pictures (the engine ledgers them), anything else for taps."""

    follows: ClassVar[bool] = False
    """True: it has no end of its own (the feed, a clock) and ends when every other source has ended."""

    def build(self) -> BytewaxSource[Any]:
        """The Bytewax source of this node; called once, when the dataflow is built."""
        raise NotImplementedError(
            f"{type(self).__name__} is a source: it needs a `build()` that returns a Bytewax source"
        )


class Stage(Component):
    """Turns items into items. Implement `process` (simple), or `attach` (anything Bytewax can do)."""

    def open(self) -> None:
        """Load what `process` needs (a model, a file). Called once, before the first frame is handed out."""

    def process(self, items: list[Any]) -> list[Any]:
        """Items in, items out, in order. Between `files` and `batch` no item may vanish.

        Raise `Reject(reason)` for an item that cannot be processed: it becomes that item's in-band error. The list is
        tried again one by one to find it, so `process` must not keep state between calls.
        """
        raise NotImplementedError(f"{type(self).__name__} is a stage: it needs `process(items) -> items` or `attach`")

    def attach(self, step_id: str, up: Stream[Any]) -> Stream[Any]:
        """For a stage that needs more than `process`: add Bytewax steps named after `step_id`, return the stream out.

        Ticks come along in order; pass on what is not yours.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Let go of what `open` took. Called once, at a clean end."""


class Sink(Component):
    """Where items go."""

    def build(self) -> BytewaxSink[Any]:
        """The Bytewax sink of this node. With `-r`, only a `FixedPartitionedSink` holds a commit until it has written."""
        raise NotImplementedError(f"{type(self).__name__} is a sink: it needs a `build()` that returns a Bytewax sink")


class Consumer(Component):
    """Reads the feed, on a thread of its own, after a durable cursor; may block.

    At least once, in order. A new consumer starts at the feed's end.
    """

    accepts: ClassVar[type | tuple[type, ...]] = Message
    whole: ClassVar[bool] = False
    """True: it mirrors the feed as it is, so `only` is a mistake."""

    def open(self) -> None:
        """Connect. Called on the consumer's own thread before the first `deliver`; raise = try again later."""

    def resume(self, messages: Sequence[Message]) -> None:
        """Called once after `open`, with the newest messages that were delivered before, in an earlier run too."""

    def deliver(self, messages: Sequence[Message]) -> None:
        """Take these messages, oldest first. Raise to get the same ones again after a while."""
        raise NotImplementedError(f"{type(self).__name__} is a consumer: it needs `deliver(messages)`")

    def idle(self) -> None:
        """Called about once a second while there is no news, to look after a connection. Raise = as in `deliver`."""

    def close(self) -> None:
        """Disconnect. Called on the consumer's thread at a clean end."""
