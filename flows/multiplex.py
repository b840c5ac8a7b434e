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
from hearthwatch.record.cells import prepare_cell
from hearthwatch.schemas.components import AT_ONCE
from hearthwatch.schemas.context import PULSE, PULSE_END, Context
from hearthwatch.schemas.errors import UserError

ONLY = "all"  # the name of the partition
COOLDOWN = 0.001  # seconds; Bytewax's own, for a source that had nothing and does not say when to poll it again
PAUSE_SECONDS_MAX = 0.01  # steps that wait for something outside are polled this often

SET_BACK_SECONDS_MAX = 10.0
"""Cells wait for each other's epochs, which Bytewax ends at times of the wall clock: set back by more, and they are started again."""
PULSE_SECONDS = 0.005  # between two calls of a busy cell's steps that wait for something

Name = tuple[str, str]
"""A node, and one of its partitions."""
POSITIONS: Name = "", "positions"  # in the snapshot of a cell: what its steps remember


class Multiplexed(FixedPartitionedSource[tuple[str, Any], Any]):
    """Holds the sources that were added until the graph runs. A snapshot holds those of all partitions."""

    def __init__(
        self, lifecycle: Lifecycle, wake: threading.Event | None = None, context: Context | None = None
    ) -> None:
        self.lifecycle, self.wake, self.context = lifecycle, wake or threading.Event(), context
        self._sources: dict[str, tuple[BytewaxSource[Any], bool]] = {}

    def add(self, node: str, source: BytewaxSource[Any], follows: bool) -> None:
        if not isinstance(source, FixedPartitionedSource | DynamicSource):
            raise UserError(f"`build()` returned {type(source).__name__}, which is not a Bytewax source")
        self._sources[node] = source, follows

    def list_parts(self) -> list[str]:
        """List all cells' partitions in the source of each, so that Bytewax spreads them over its workers in the same way."""
        return cell_parts(self.context) or [ONLY]

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> MultiplexedPartition:
        cell = self.context and self.context.cell
        if self.context and cell and for_part != cell.part:
            return MultiplexedPartition({}, self.wake)  # another source's
        states: dict[Name, Any] = resume_state or {}
        self.lifecycle.handle_signals()  # before a source starts a thread, or a model loads for minutes
        try:
            with exit_on_user_error(2):
                if self.context and cell:
                    prepare_cell(cell)
                    self.context.positions.update(states.get(POSITIONS, {}))
                parts = {
                    name: SourcePartition(inner, self.lifecycle, follows)
                    for node, (source, follows) in self._sources.items()
                    for name, inner in _partitions(node, source, states)
                }
        except BaseException:
            self.lifecycle.restore_signals()
            raise
        if self.context and cell:
            return CellPartition(parts, self.wake, self.context.positions)
        return MultiplexedPartition(parts, self.wake)


def cell_parts(context: Context | None) -> list[str]:
    """Return the names of all cells' partitions, of their sources and of their sinks; none, if there is one cell."""
    return [cell.part for cell in context.cells] if context else []


def _partitions(node: str, source: BytewaxSource[Any], states: dict[Name, Any]) -> Iterator[tuple[Name, Any]]:
    if isinstance(source, FixedPartitionedSource):
        for key in source.list_parts():
            yield (node, key), source.build_part(node, key, states.get((node, key)))
    elif isinstance(source, DynamicSource):
        yield (node, ""), source.build(node, 0, 1)


class MultiplexedPartition(StatefulSourcePartition[tuple[str, Any], dict[Name, Any]]):
    """Polls each partition when it is due, some of them when `wake` is set; ends with the last one."""

    def __init__(self, parts: dict[Name, SourcePartition], wake: threading.Event) -> None:
        self._parts, self._wake, self._pause_seconds_max = parts, wake, PAUSE_SECONDS_MAX
        self._awake = dict.fromkeys(parts, 0.0)
        """When each is due, on the monotonic clock."""
        self._ended: dict[Name, Any] = {}

    def next_batch(self) -> list[tuple[str, Any]]:
        if not self._parts:
            raise StopIteration
        wait = min(self._awake.values()) - time.monotonic()
        woken = self._wake.wait(max(0.0, min(wait, self._pause_seconds_max)))
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


class CellPartition(MultiplexedPartition):
    """Also calls the steps of its cell at each poll and at the end, and shares its worker with other cells."""

    def __init__(self, parts: dict[Name, SourcePartition], wake: threading.Event, positions: dict[str, int]) -> None:
        super().__init__(parts, wake)
        self._positions, self._was_busy, self._has_ended = positions, False, False
        self._pulse_due, self._step = 0.0, time.time() - time.monotonic()
        self._worker = _workers.setdefault(threading.get_ident(), [])
        self._worker.append(self)

    def next_batch(self) -> list[tuple[str, Any]]:
        if not self._parts:
            if self._has_ended:
                raise StopIteration
            self._has_ended = True
            return [(PULSE, PULSE_END)]
        self._check_clock()
        is_busy = any(cell._was_busy for cell in self._worker if cell is not self)
        self._pause_seconds_max = 0.0 if is_busy else PAUSE_SECONDS_MAX / len(self._worker)
        items = super().next_batch()
        self._was_busy = bool(items)
        if items and time.monotonic() < self._pulse_due:
            return items
        self._pulse_due = time.monotonic() + PULSE_SECONDS
        return [*items, (PULSE, PULSE)]

    def _check_clock(self) -> None:
        before, self._step = self._step, time.time() - time.monotonic()
        if before - self._step > SET_BACK_SECONDS_MAX:
            with exit_on_user_error(1):
                raise UserError(
                    f"the server's clock was set back by {before - self._step:.0f} s, and cells would wait for each other as long: "
                    "start again, nothing is lost"
                )

    def snapshot(self) -> dict[Name, Any]:
        return super().snapshot() | {POSITIONS: dict(self._positions)}

    def close(self) -> None:
        self._worker.remove(self)
        super().close()


_workers: dict[int, list[CellPartition]] = {}
"""The cells of each worker, which is a thread."""
