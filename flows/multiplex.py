"""Run all sources of a graph as one source with one partition, so that none of them waits for another one's epoch.

Bytewax lets a source start its next epoch only when all of them have ended the last one, and each counts its epochs from
the moment at which it happened to be polled first. So one that is polled every 0.2 s falls behind by as much at each epoch,
and the others wait for it: pictures stood still for 3.5 s of every ten after seven minutes, and for longer and longer.
Items come out as (node, item), in the order in which each source gave them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from bytewax.inputs import DynamicSource, FixedPartitionedSource, StatefulSourcePartition
from bytewax.inputs import Source as BytewaxSource

from hearthwatch.flows.lifecycle import Lifecycle, SourcePartition
from hearthwatch.flows.runtime import exit_on_user_error
from hearthwatch.schemas.errors import UserError

ONLY = "all"  # the name of the partition
COOLDOWN = timedelta(
    milliseconds=1
)  # Bytewax's own, for a source that had nothing and does not say when to poll it again

Name = tuple[str, str]
"""A node, and one of its partitions."""


class Multiplexed(FixedPartitionedSource[tuple[str, Any], Any]):
    """Holds the sources that were added until the graph runs. A snapshot holds those of all partitions."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self.lifecycle = lifecycle
        self._sources: dict[str, tuple[BytewaxSource[Any], bool]] = {}

    def add(self, node: str, source: BytewaxSource[Any], follows: bool) -> None:
        if not isinstance(source, FixedPartitionedSource | DynamicSource):
            raise UserError(f"`build()` returned {type(source).__name__}, which is not a Bytewax source")
        self._sources[node] = source, follows

    def list_parts(self) -> list[str]:
        return [ONLY]

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> MultiplexedPartition:
        states: dict[Name, Any] = resume_state or {}
        with exit_on_user_error(2):
            parts = {
                name: SourcePartition(inner, self.lifecycle, follows)
                for node, (source, follows) in self._sources.items()
                for name, inner in _partitions(node, source, states)
            }
        return MultiplexedPartition(parts)


def _partitions(node: str, source: BytewaxSource[Any], states: dict[Name, Any]) -> Iterator[tuple[Name, Any]]:
    if isinstance(source, FixedPartitionedSource):
        for key in source.list_parts():
            yield (node, key), source.build_part(node, key, states.get((node, key)))
    elif isinstance(source, DynamicSource):
        yield (node, ""), source.build(node, 0, 1)


class MultiplexedPartition(StatefulSourcePartition[tuple[str, Any], dict[Name, Any]]):
    """Polls each partition when it is due; ends with the last one."""

    def __init__(self, parts: dict[Name, SourcePartition]) -> None:
        self._parts = parts
        self._awake = dict.fromkeys(parts, datetime.min.replace(tzinfo=UTC))
        self._ended: dict[Name, Any] = {}

    def next_batch(self) -> list[tuple[str, Any]]:
        if not self._parts:
            raise StopIteration
        now = datetime.now(UTC)
        due = [name for name, at in self._awake.items() if at <= now]
        return [(name[0], item) for name in due for item in self._poll(name, now)]

    def next_awake(self) -> datetime | None:
        return min(self._awake.values(), default=None)

    def snapshot(self) -> dict[Name, Any]:
        return self._ended | {name: part.snapshot() for name, part in self._parts.items()}

    def close(self) -> None:
        for name in list(self._parts):
            self._close(name)

    def _poll(self, name: Name, now: datetime) -> list[Any]:
        part = self._parts[name]
        try:
            batch = list(part.next_batch())
        except StopIteration:
            self._ended[name] = part.snapshot()
            self._close(name)
            return []
        self._awake[name] = part.next_awake() or (now if batch else now + COOLDOWN)
        return batch

    def _close(self, name: Name) -> None:
        del self._awake[name]
        self._parts.pop(name).close()
