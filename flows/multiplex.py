"""Run all sources of a graph as one source with one partition, so that none of them waits for another one's epoch.

Bytewax lets a source start its next epoch only when all of them have ended the last one, and each counts its epochs from
the moment at which it happened to be polled first. So one that is polled every 0.2 s falls behind by as much at each epoch,
and the others wait for it: pictures stood still for 3.5 s of every ten after seven minutes, and for longer and longer.
Items come out as (node, item), in the order in which each source gave them.

Bytewax waits for times of the wall clock: one that is set back by two hours would stop every source, and every step that
waits for a time, for two hours. So this source is always due, and paces itself by elapsed time: it waits 10 ms at
most, and no longer once `Context.wake` is set.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from bytewax.inputs import DynamicSource, FixedPartitionedSource, StatefulSourcePartition
from bytewax.inputs import Source as BytewaxSource

from hearthwatch.flows.lifecycle import Lifecycle, SourcePartition
from hearthwatch.flows.runtime import exit_on_user_error
from hearthwatch.schemas.components import AT_ONCE
from hearthwatch.schemas.errors import UserError

ONLY = "all"  # the name of the partition
COOLDOWN = 0.001  # seconds; Bytewax's own, for a source that had nothing and does not say when to poll it again
PAUSE_SECONDS_MAX = 0.01  # steps that wait for something outside are polled this often

Name = tuple[str, str]
"""A node, and one of its partitions."""


class Multiplexed(FixedPartitionedSource[tuple[str, Any], Any]):
    """Holds the sources that were added until the graph runs. A snapshot holds those of all partitions."""

    def __init__(self, lifecycle: Lifecycle, wake: threading.Event | None = None) -> None:
        self.lifecycle, self.wake = lifecycle, wake or threading.Event()
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
        return MultiplexedPartition(parts, self.wake)


def _partitions(node: str, source: BytewaxSource[Any], states: dict[Name, Any]) -> Iterator[tuple[Name, Any]]:
    if isinstance(source, FixedPartitionedSource):
        for key in source.list_parts():
            yield (node, key), source.build_part(node, key, states.get((node, key)))
    elif isinstance(source, DynamicSource):
        yield (node, ""), source.build(node, 0, 1)


class MultiplexedPartition(StatefulSourcePartition[tuple[str, Any], dict[Name, Any]]):
    """Polls each partition when it is due, some of them when `wake` is set; ends with the last one."""

    def __init__(self, parts: dict[Name, SourcePartition], wake: threading.Event) -> None:
        self._parts, self._wake = parts, wake
        self._awake = dict.fromkeys(parts, 0.0)
        """When each is due, on the monotonic clock."""
        self._ended: dict[Name, Any] = {}

    def next_batch(self) -> list[tuple[str, Any]]:
        if not self._parts:
            raise StopIteration
        wait = min(self._awake.values()) - time.monotonic()
        woken = self._wake.wait(max(0.0, min(wait, PAUSE_SECONDS_MAX)))
        self._wake.clear()  # before what was announced is read
        now = time.monotonic()
        due = [name for name, at in self._awake.items() if at <= now or (woken and self._parts[name].wake())]
        return [(name[0], item) for name in due for item in self._poll(name)]

    def next_awake(self) -> datetime:
        return AT_ONCE

    def snapshot(self) -> dict[Name, Any]:
        return self._ended | {name: part.snapshot() for name, part in self._parts.items()}

    def close(self) -> None:
        for name in list(self._parts):
            self._close(name)

    def _poll(self, name: Name) -> list[Any]:
        part = self._parts[name]
        try:
            batch = list(part.next_batch())
        except StopIteration:
            self._ended[name] = part.snapshot()
            self._close(name)
            return []
        pause = part.pause_seconds()
        self._awake[name] = time.monotonic() + ((0.0 if batch else COOLDOWN) if pause is None else pause)
        return batch

    def _close(self, name: Name) -> None:
        del self._awake[name]
        self._parts.pop(name).close()
