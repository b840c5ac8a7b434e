"""Nodes that passed every check -> a Bytewax dataflow. Each node is one step that bears its name; pieces lie inside it.

Everything before `batch` is one stream per edge: nothing is merged or keyed there, so order is the source's order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow, Stream, operator
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from hearthwatch.flows.guard import Process, is_for, types
from hearthwatch.flows.lifecycle import Life, Watch
from hearthwatch.flows.multiplex import Together
from hearthwatch.flows.node import FLOW, Node
from hearthwatch.flows.only import wants
from hearthwatch.flows.runtime import plainly
from hearthwatch.flows.services import Reader, Readers
from hearthwatch.record import Record
from hearthwatch.record.ledger import Ledger
from hearthwatch.schemas import Consumer, Event, Sink, Source, Stage, Upload
from hearthwatch.schemas.errors import UserError

SOURCES = "0_sources"  # the step that all sources are; no node can be called that
KEY = "record"  # one key, so one partition: Bytewax keeps the order within it


class Wiring:
    """One dataflow being put together; nodes come in an order in which everything upstream is there already."""

    def __init__(self, record_path: Path) -> None:
        self.flow = Dataflow(FLOW)
        self.record_path = record_path
        self.life, self.readers = Life(), Readers()
        self.together = Together(self.life)
        self.items = op.input(SOURCES, self.flow, self.together)
        self.streams: dict[str, Stream[Any]] = {}
        self.stages: dict[str, Process] = {}

    def add(self, node: Node, taken: bool) -> None:
        ups = tuple(self._port(name) for name in node.after)
        match node.component:
            case Source() as source:
                self._source(node, source, taken)
            case Stage() as stage:
                self._stage(node, stage, *ups)
            case Sink() as sink:
                _last_step(node.name, node.label(), partial(self._sink, node, sink), *ups)
            case Consumer() as consumer:
                _last_step(node.name, node.label(), partial(self._consumer, node, consumer), *ups)

    def _port(self, name: str) -> Stream[Any]:
        """A node's stream, or what failed in it: a tap that hangs on the first one."""
        if name not in self.streams:
            stage = name.partition(".")[0]
            take = partial(op.flat_map_batch, "take", mapper=self.stages[stage].failures)
            self.streams[name] = _step(f"{stage}_errors", f"what failed in {stage}", take, self.streams[stage])
        return self.streams[name]

    def _source(self, node: Node, source: Source, enqueue: bool) -> None:
        self.together.add(node.name, source.build(), source.follows)

        def mine(items: list[tuple[str, Any]]) -> list[Any]:
            return [item for name, item in items if name == node.name]

        def build(items: Stream[Any]) -> Stream[Any]:
            out = op.flat_map_batch("read", items, mine)
            if enqueue:
                op.output("inbox", op.key_on("inbox_key", out, _one_key), Inbox(self.record_path))
            return out

        self.streams[node.name] = _step(node.name, node.label(), build, self.items)

    def _stage(self, node: Node, stage: Stage, *ups: Stream[Any]) -> None:
        self.stages[node.name] = process = Process(node.name, stage)
        self.life.opens(stage)

        def build(up: Stream[Any]) -> Stream[Any]:
            up = _taken(node, up)
            out = stage.attach(node.name, up) if attaches(stage) else op.flat_map_batch("process", up, process)
            if not isinstance(out, Stream):
                raise UserError(f"`{node.name}`: `attach` returned {type(out).__name__}, not a stream")
            op.output("close", out, Watch(lambda: self.life.close(stage)))
            return out

        self.streams[node.name] = _step(node.name, node.label(), build, *ups)

    def _sink(self, node: Node, sink: Sink, up: Stream[Any]) -> None:
        mine = _taken(node, up, types(sink.accepts))
        if sink.off():
            op.output("off", mine, Watch(lambda: None))
            return
        built = sink.build()
        keyed = op.key_on("key", mine, _one_key) if isinstance(built, FixedPartitionedSink) else mine
        op.output("write", keyed, built)

    def _consumer(self, node: Node, consumer: Consumer, up: Stream[Any]) -> None:
        if not consumer.off():
            reader = Reader(node.name, consumer, node.only or {}, self.record_path)
            self.life.starts.append(lambda: self.readers.start(reader))
        op.output("deliver", up, Watch(self.readers.stop, self.readers.wake))


def attaches(stage: Stage) -> bool:
    """Whether this stage builds its own steps instead of `process`."""
    return type(stage).attach is not Stage.attach


def _taken(node: Node, up: Stream[Any], accepts: tuple[type, ...] | None = None) -> Stream[Any]:
    """What of a stream is meant for this node; with no `accepts`, what is not an event comes along."""
    only: Mapping[str, Any] = node.only or {}

    def take(items: list[Any]) -> list[Any]:
        mine = items if accepts is None else [item for item in items if is_for(item, accepts)]
        return [item for item in mine if not isinstance(item, Event) or wants(only, item)] if only else mine

    return op.flat_map_batch("take", up, take) if accepts or only else up


def _one_key(item: object) -> str:
    return KEY


def _step(name: str, label: str, build: Callable[[Stream[Any]], Stream[Any]], *ups: Stream[Any]) -> Stream[Any]:
    """A step around all that `build` adds; the drawn graph shows its name and label."""

    def stage(step_id: str, *ups: Stream[Any]) -> Stream[Any]:
        return build(_merged(ups))

    stage.__name__ = label
    return operator(stage)(name, *ups)


def _last_step(name: str, label: str, build: Callable[[Stream[Any]], None], *ups: Stream[Any]) -> None:
    """The same for a step that nothing comes out of."""

    def sink(step_id: str, *ups: Stream[Any]) -> None:
        build(_merged(ups))

    sink.__name__ = label
    operator(sink)(name, *ups)


def _merged(ups: tuple[Stream[Any], ...]) -> Stream[Any]:
    return op.merge("merge", *ups) if len(ups) > 1 else ups[0]


class Inbox(FixedPartitionedSink[Upload, None]):
    """Leaves a plug-in source's uploads in the record, where the files source finds them. On disk before a commit."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def list_parts(self) -> list[str]:
        return [KEY]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> InboxPart:
        with plainly(2):
            return InboxPart(Record(self.path))


class InboxPart(StatefulSinkPartition[Upload, None]):
    def __init__(self, record: Record) -> None:
        self.record, self.ledger = record, Ledger(record)

    def write_batch(self, values: list[Upload]) -> None:
        with plainly(1):
            self.ledger.enqueue(values)

    def snapshot(self) -> None:
        return None

    def close(self) -> None:
        self.record.close()


def wire(nodes: Iterable[Node], taken: set[str], record_path: Path) -> Dataflow:
    """The dataflow of these nodes, upstream first; the uploads of those in `taken` go to the files source."""
    wiring = Wiring(record_path)
    for node in nodes:
        wiring.add(node, node.name in taken)
    return wiring.flow
