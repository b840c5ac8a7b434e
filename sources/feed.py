"""The feed as a node of the graph: tells consumers that there is news; the messages themselves they read by themselves.

Emits the newest `seq`, once at the start and whenever it grew. Keeps nothing: cursors are in the record.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from hearthwatch.record import Record
from hearthwatch.record.feed import Feed as Rows
from hearthwatch.schemas import Message, Source

LOOK_AFTER = timedelta(seconds=0.01)  # an indexed lookup of 10 µs; an alert waits at most so long


class Feed(Source):
    """Every revision of every event, as it is written."""

    emits: ClassVar[type | None] = Message
    follows: ClassVar[bool] = True

    record_path: Path
    """The record whose feed this is."""

    def build(self) -> FixedPartitionedSource[int, None]:
        return _Source(self.record_path)


class _Source(FixedPartitionedSource[int, None]):
    def __init__(self, path: Path) -> None:
        self.path = path

    def list_parts(self) -> list[str]:
        return ["record"]

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> _Part:
        return _Part(Record(self.path))


class _Part(StatefulSourcePartition[int, None]):
    def __init__(self, record: Record) -> None:
        self.record, self.rows = record, Rows(record)
        self.seen, self.due = -1, datetime.now(UTC)

    def next_batch(self) -> list[int]:
        self.due = datetime.now(UTC) + LOOK_AFTER
        before, self.seen = self.seen, self.rows.last()
        return [self.seen] if self.seen != before else []

    def next_awake(self) -> datetime:
        return self.due

    def snapshot(self) -> None:
        return None

    def close(self) -> None:
        self.record.close()
