"""Write items of any graph to the record, each once, so that consumers and jobs may read behind them.

Exactly once in effect: an item has a hash of its content, so one that comes again after a kill is there already. With a recovery
store (`hearthwatch run` keeps one) a source continues behind what was written; without one it reads again.
"""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from hearthwatch.record import Record, now
from hearthwatch.record.journal import entry_of, write
from hearthwatch.schemas import ItemMessage, Sink
from hearthwatch.schemas.context import Context

log = logging.getLogger(__name__)


class Journal(Sink):
    """Keep each item, a dataclass or a mapping, once and for good; `redis`, `webhook` and your own consumers read behind it."""

    accepts: ClassVar[type | tuple[type, ...]] = object
    emits: ClassVar[type | None] = ItemMessage
    durable = True

    key: tuple[str, ...] = ()
    """Fields that make an item itself: of those with the same values only the first counts; unset: all its fields."""

    def build(self, context: Context) -> FixedPartitionedSink[Any, None]:
        return _Journal(self, context)


class _Journal(FixedPartitionedSink[Any, None]):
    def __init__(self, options: Journal, context: Context) -> None:
        self.options, self.context = options, context

    def list_parts(self) -> list[str]:
        return ["record"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _JournalPart:
        node = step_id.split(".")[-2]  # flow.node.write
        return _JournalPart(node, self.options.key, Record(self.context.record_path))


class _JournalPart(StatefulSinkPartition[Any, None]):
    def __init__(self, node: str, key: tuple[str, ...], record: Record) -> None:
        self.node, self.key, self.record = node, key, record

    def write_batch(self, values: list[Any]) -> None:
        entries = [entry_of(value, self.key) for value in values]
        write(self.record, self.node, entries, now())
        for entry in entries:
            if entry.error:
                log.error("%s: %s (it is in the journal as `failed`)", self.node, entry.error)

    def snapshot(self) -> None:
        return None

    def close(self) -> None:
        self.record.close()
