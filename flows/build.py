"""Wire nodes that passed every check into a Bytewax dataflow. Each node is one step that bears its name.

Everything before `batch` is one stream per edge: nothing is merged or keyed there, so order is the source's order. A durable
edge is drawn and wired like any other, but its items only wake the reader, which reads the record. What passes no stream is
noticed by a part of the one source that polls the record.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow, Stream, operator
from bytewax.inputs import Source as BytewaxSource
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.outputs import Sink as BytewaxSink

from hearthwatch.flows.guard import DeclaredTypes, Process, is_for
from hearthwatch.flows.lifecycle import Lifecycle, StreamObserver
from hearthwatch.flows.monitor import Monitor
from hearthwatch.flows.multiplex import Multiplexed, cell_parts
from hearthwatch.flows.node import FLOW, Node
from hearthwatch.flows.only import wants
from hearthwatch.flows.runtime import exit_on_user_error, is_pipeline
from hearthwatch.flows.services import ConsumerThread, FeedPoll, JobThread, ServiceThreads
from hearthwatch.flows.validate import is_durable_edge
from hearthwatch.record import Lock, Record, RecordError, acquire_lock, now
from hearthwatch.record.cells import find_cells
from hearthwatch.record.graph_description import store_description
from hearthwatch.record.ledger import Ledger
from hearthwatch.record.witness import continue_above
from hearthwatch.schemas import Component, Consumer, Event, Job, Poller, Sink, Source, Stage, StageWorker, Upload
from hearthwatch.schemas.components import build_worker
from hearthwatch.schemas.context import PULSE, Cell, Context, DetectorState, InFlight, RecentPictures
from hearthwatch.schemas.errors import UserError
from hearthwatch.sinks.journal import Journal
from hearthwatch.sinks.kept_pictures import CURSOR, PictureKeeper
from hearthwatch.sources.one_partition import OnePartitionSource
from hearthwatch.sources.pending import PendingEvents
from hearthwatch.sources.poller import PollerPartition

SOURCES = "0_sources"  # the step that all sources are; no node can be called that
RECORD = "0_record"  # the hidden source that polls the record for consumers
KEY = "record"  # one key, so one partition: Bytewax keeps the order within it


def build_dataflow(nodes: Sequence[Node], context: Context, description: object = None) -> Dataflow:
    """Return the dataflow of these nodes, upstream first; at its start the record gets the graph's description.

    Raises UserError where a component builds nonsense.
    """
    cells = find_cells(context.wanted_cells, context.record_path, context.data_dir, context.base_path)
    flow = Dataflow(FLOW)
    if len(cells) == 1 and cells[0].number == 0:
        alone = replace(context, record_path=cells[0].record_path, base_path=cells[0].base_path)
        _build_cell(_Builder(flow, alone), nodes, description)
        return flow
    builders = [_Builder(flow, context_of(context, cell, cells)) for cell in cells]
    lifecycles = [builder.lifecycle for builder in builders]
    for builder in builders:
        builder.lifecycle.cells = lifecycles
        _build_cell(builder, nodes, description)
    if is_pipeline():
        lifecycles[0].handle_signals()  # a worker's thread cannot
    return flow


def context_of(context: Context, cell: Cell, cells: tuple[Cell, ...]) -> Context:
    """Return the context of one of several cells: nothing is shared that knows frames by their number."""
    return replace(
        context, cell=cell, cells=cells, record_path=cell.record_path, data_dir=cell.data_dir, base_path=cell.base_path,
        in_flight=InFlight(), recent=RecentPictures(), detector=DetectorState(), positions={}, wake=threading.Event(),
        timings=type(context.timings)(),
    )  # fmt: skip


def _build_cell(builder: _Builder, nodes: Sequence[Node], description: object) -> None:
    context = builder.context
    if any(node.is_store() for node in nodes):
        builder.lifecycle.on_start.append(lambda: _store_description(context, description))
    monitor = Monitor(context, nodes, builder.services)
    if reads_record := any(node.is_store() or node.is_durable() for node in nodes):
        builder.lifecycle.on_start.append(monitor.start)
        builder.lifecycle.on_end.append(monitor.stop)
    if any(isinstance(node.component, Journal) for node in nodes):
        builder.lifecycle.on_start.append(lambda: builder.lifecycle.on_end.append(_hold_journals(context).release))
    for node in nodes:
        builder.add(node)
    if reads_record:
        builder.lifecycle.on_start.append(monitor.end_start)


class _Builder:
    """One dataflow being put together; nodes come in an order in which everything upstream is there already."""

    def __init__(self, flow: Dataflow, context: Context) -> None:
        self.prefix = f"{context.cell.part}_" if context.cell else ""
        self.lifecycle, self.services = Lifecycle(), ServiceThreads()
        self.source = Multiplexed(self.lifecycle, context.wake, context)
        self.items = op.input(self.prefix + SOURCES, flow, self.source)
        self.context = context
        polls = partial(op.flat_map_batch, f"{self.prefix}0_polls", mapper=_take_of(PULSE))
        self.pulses = (polls(self.items),) if context.cell else ()
        self.streams: dict[str, Stream[Any]] = {}
        self.nodes: dict[str, Node] = {}
        self.stages: dict[str, Process] = {}
        self._poll: Callable[[Stream[Any]], Stream[Any]] | None = None

    def add(self, node: Node) -> None:
        self.nodes[node.name] = node
        read = {name: self._port(name) for name in node.after if name.partition(".")[0] in self.nodes}
        ups = tuple(read.values())
        match node.component:
            case Source() as source:
                self._source(node, source, ups)
            case Stage() as stage:
                self._stage(node, stage, ups)
            case Sink() as sink:
                stored = {n for n in read if is_durable_edge(self.nodes[n.partition(".")[0]], node)}
                self._sink(
                    node, sink, [read[n] for n in read if n not in stored], [read[n] for n in read if n in stored]
                )
            case Consumer() | Job():
                self._service(node, ups)

    def _step(self, name: str, label: str, build: Callable[..., Stream[Any]], *ups: Stream[Any]) -> Stream[Any]:
        return _step(self.prefix + name, label, build, *ups)

    def _observer(self, at_end: Callable[[], None], on_items: Callable[[], None] = lambda: None) -> StreamObserver:
        here = self.lifecycle.is_here
        return StreamObserver(lambda: at_end() if here() else None, on_items, is_cell=self.context.cell is not None)

    def _sink_here(self, sink: BytewaxSink[Any]) -> BytewaxSink[Any]:
        """Keep a sink with partitions on the worker that reads the cell."""
        if self.context.cell and isinstance(sink, FixedPartitionedSink):
            return CellSink(sink, self.context)
        return sink

    def _port(self, name: str) -> Stream[Any]:
        """Return a node's stream, or what failed in it: a tap that hangs on the first one."""
        if name not in self.streams:
            stage = name.partition(".")[0]
            take = partial(op.flat_map_batch, "take", mapper=self.stages[stage].failures)
            self.streams[name] = self._step(f"{stage}_errors", f"what failed in {stage}", take, self.streams[stage])
        return self.streams[name]

    def _part(self, name: str, source: BytewaxSource[Any], follows: bool) -> Callable[[Stream[Any]], Stream[Any]]:
        """Add a part to the one source; return the step that reads its items."""
        self.source.add(name, source, follows)

        return partial(op.flat_map_batch, "read", mapper=_take_of(name))

    def _build(self, node: Node, component: Component) -> Any:
        try:
            return build_worker(component, self.context)
        except Exception as error:
            error.add_note(f"{node}: its `build` failed")
            raise

    def _source(self, node: Node, source: Source, ups: tuple[Stream[Any], ...]) -> None:
        built = self._build(node, source)
        if isinstance(built, Poller):
            built = OnePartitionSource("all", partial(PollerPartition, node.name, built))
        read = self._part(node.name, built, source.follows)
        declared = DeclaredTypes(node.name, source.emits)

        def build(items: Stream[Any], *ups: Stream[Any]) -> Stream[Any]:
            if ups:
                uploads = op.flat_map_batch(
                    "uploads", _merge(ups), lambda items: [i for i in items if isinstance(i, Upload)]
                )
                op.output("inbox", op.key_on("inbox_key", uploads, _one_key), self._sink_here(Inbox(self.context)))
            return op.flat_map_batch("declared", read(items), declared)

        self.streams[node.name] = self._step(node.name, node.label(), build, self.items, *ups)

    def _stage(self, node: Node, stage: Stage, ups: tuple[Stream[Any], ...]) -> None:
        worker: StageWorker = self._build(node, stage)
        if self.context.cell and has_own_steps(worker) and not hasattr(worker, "attach_local"):
            raise UserError(
                f"`{node.name}` adds Bytewax steps with `attach`, which may send a cell's items to another worker: give it "
                "`process`, or leave HEARTHWATCH_CELLS=1"
            )
        self.stages[node.name] = process = Process(node.name, stage, worker)
        self.lifecycle.open_at_start(worker)
        if node.commits_events() and self.context.keep_pictures != "none":
            self.lifecycle.on_start.append(lambda: self.services.start(keeper_thread(self.context)))
        queue = self._queue(node) if node.is_judge() else None
        declared = DeclaredTypes(
            node.name, stage.emits, *filter(None, (self.nodes[n].emits() for n in node.upstream() if n in self.nodes))
        )

        pulses = self.pulses if has_own_steps(worker) else ()

        def build(*ups: Stream[Any]) -> Stream[Any]:
            pulse, ups = ups[: len(pulses)], ups[len(pulses) :]
            up = queue(*ups) if queue else _filter(node, _merge(ups))
            if not has_own_steps(worker):
                out = op.flat_map_batch("process", up, process)
            elif queue:
                out = _attach(node, worker, up, *pulse)
            else:
                out = op.flat_map_batch("declared", _attach(node, worker, up, *pulse), declared)
            op.output("close", out, self._observer(lambda: self.lifecycle.close(worker)))
            return out

        self.streams[node.name] = self._step(
            node.name, node.label(), build, *pulses, *((self.items,) if queue else ()), *ups
        )

    def _queue(self, node: Node) -> Callable[..., Stream[Any]]:
        """Read the record's queue for a judge, which is polled; nothing is taken from its edge."""
        read = None if node.off() else self._part(node.name, PendingEvents(self.context), follows=True)

        def build(items: Stream[Any], *ups: Stream[Any]) -> Stream[Any]:
            woken = [_drop_all("woken", _merge(ups, "merge_ups"))] if ups else []
            streams = [*([read(items)] if read else []), *woken]
            return _merge(streams) if streams else _drop_all("none", items)

        return build

    def _sink(self, node: Node, sink: Sink, to_write: list[Stream[Any]], stored: list[Stream[Any]]) -> None:
        """Wire a sink. Items that are in the record already only pass, and wake the readers behind it."""

        def build(*ups: Stream[Any]) -> Stream[Any]:
            mine = _merge(ups[: len(to_write)], "written") if to_write else _drop_all("none", ups[0])
            out = _merge((mine, *ups[len(to_write) :])) if to_write else _merge(ups)
            mine = _filter(node, mine, node.accepts())
            if sink.off():
                op.output("off", mine, self._observer(lambda: None))
                return out
            built = self._sink_here(self._build(node, sink))
            keyed = op.key_on("key", mine, _one_key) if isinstance(built, FixedPartitionedSink) else mine
            op.output("write", keyed, built)
            return out

        if node.is_store():
            self.streams[node.name] = self._step(node.name, node.label(), build, *to_write, *stored)
        else:
            _last_step(self.prefix + node.name, node.label(), build, *to_write, *stored)

    def _service(self, node: Node, ups: tuple[Stream[Any], ...]) -> None:
        """Start a thread with the graph; the stream wakes it, and passes on to wake those behind it."""
        if not node.off():
            self.lifecycle.on_start.append(lambda: self.services.start(self._thread(node)))
        waits = isinstance(node.component, Consumer) or not ups  # a job has an interval
        if waits and self._poll is None:
            self._poll = self._part(RECORD, FeedPoll(self.context), follows=True)

        def build(*ups: Stream[Any]) -> Stream[Any]:
            news = _merge((self._poll(ups[0]), *ups[1:]) if waits and self._poll else ups)
            op.output("wake", news, self._observer(self.services.stop, self.services.wake))
            return news

        inputs = *((self.items,) if waits else ()), *ups
        if node.is_store():
            self.streams[node.name] = self._step(node.name, node.label(), build, *inputs)
        else:
            _last_step(self.prefix + node.name, node.label(), build, *inputs)

    def _thread(self, node: Node) -> ConsumerThread | JobThread:
        if isinstance(node.component, Job):
            return JobThread(node.name, node.component, self.context)
        assert isinstance(node.component, Consumer)
        worker = self._build(node, node.component)
        on_news = self.services.wake if node.is_store() else None
        return ConsumerThread(
            node.name, worker, node.only or {}, self.context, node.accepts(), on_news, self._journals(node)
        )

    def _journals(self, node: Node) -> frozenset[str]:
        """Return the journals that a consumer is behind."""
        found: set[str] = set()
        for up in (self.nodes[name] for name in node.upstream() if name in self.nodes):
            found |= {up.name} if isinstance(up.component, Journal) else self._journals(up)
        return frozenset(found)


def _take_of(name: str) -> Callable[[list[tuple[str, Any]]], list[Any]]:
    return lambda items: [item for node, item in items if node == name]


def keeper_thread(context: Context) -> ConsumerThread:
    """Make the thread that keeps pictures."""
    return ConsumerThread(CURSOR, PictureKeeper(context), {}, context)


def _store_description(context: Context, description: object) -> None:
    record = Record(context.record_path)
    try:
        store_description(record, description)
    finally:
        record.close()


def _hold_journals(context: Context) -> Lock:
    """Keep a second process from writing the journals; continue above what a record that was restored had given.

    Raises:
        RecordError: another process writes them.
    """
    lock = acquire_lock("journal", context.record_path, context.data_dir)
    with suppress(RecordError):  # a process that takes in pictures has done so
        alone = acquire_lock("see", context.record_path, context.data_dir)
        record = Record(context.record_path)
        try:
            continue_above(record, now())
        finally:
            record.close()
            alone.release()
    return lock


def has_own_steps(worker: StageWorker) -> bool:
    """Whether this stage builds its own steps instead of `process`."""
    return type(worker).attach is not StageWorker.attach


def _attach(node: Node, worker: Any, up: Stream[Any], *pulse: Stream[Any]) -> Stream[Any]:
    out = worker.attach_local(node.name, up, *pulse) if pulse else worker.attach(node.name, up)
    if not isinstance(out, Stream):
        raise UserError(f"`{node.name}`: `attach` returned {type(out).__name__}, not a stream")
    return out


def _filter(node: Node, up: Stream[Any], accepts: tuple[type, ...] | None = None) -> Stream[Any]:
    """Keep what of a stream is for this node; without `accepts`, what is no event is kept, too."""
    only = node.only or {}

    def take(items: list[Any]) -> list[Any]:
        mine = items if accepts is None else [item for item in items if is_for(item, accepts)]
        return [item for item in mine if not isinstance(item, Event) or wants(only, item)] if only else mine

    return op.flat_map_batch("take", up, take) if accepts or only else up


def _drop_all(step_id: str, up: Stream[Any]) -> Stream[Any]:
    return op.flat_map_batch(step_id, up, lambda items: [])


def _one_key(item: object) -> str:
    return KEY


def _step(name: str, label: str, build: Callable[..., Stream[Any]], *ups: Stream[Any]) -> Stream[Any]:
    """Make a step around all that `build` adds; the drawn graph shows its name and label."""

    def stage(step_id: str, *ups: Stream[Any]) -> Stream[Any]:
        return build(*ups)

    stage.__name__ = label
    return operator(stage)(name, *ups)


def _last_step(name: str, label: str, build: Callable[..., object], *ups: Stream[Any]) -> None:
    """Make the same for a step that nothing comes out of."""

    def sink(step_id: str, *ups: Stream[Any]) -> None:
        build(*ups)

    sink.__name__ = label
    operator(sink)(name, *ups)


def _merge(ups: Sequence[Stream[Any]], step_id: str = "merge") -> Stream[Any]:
    return op.merge(step_id, *ups) if len(ups) > 1 else ups[0]


class CellSink(FixedPartitionedSink[Any, Any]):
    """A sink of one partition that Bytewax puts on the worker that reads the cell: it lists all cells', and builds one."""

    def __init__(self, sink: FixedPartitionedSink[Any, Any], context: Context) -> None:
        self.sink, self.cell, self.parts = sink, context.cell, cell_parts(context)

    def list_parts(self) -> list[str]:
        return self.parts

    def part_fn(self, item_key: str) -> int:
        return self.parts.index(self.cell.part) if self.cell else 0

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> StatefulSinkPartition[Any, Any]:
        if self.cell and for_part != self.cell.part:
            return _NoSinkPart()
        parts = sorted(self.sink.list_parts())
        return self.sink.build_part(step_id, parts[self.sink.part_fn(KEY) % len(parts)], resume_state)


class _NoSinkPart(StatefulSinkPartition[Any, None]):
    def write_batch(self, values: list[Any]) -> None:
        raise AssertionError("these are another cell's")

    def snapshot(self) -> None:
        return None


class Inbox(FixedPartitionedSink[Upload, None]):
    """Enqueues uploads of other nodes in the record, where the files source finds them. On disk before a commit."""

    def __init__(self, context: Context) -> None:
        self.path = context.record_path

    def list_parts(self) -> list[str]:
        return [KEY]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> InboxPart:
        with exit_on_user_error(2):
            return InboxPart(Record(self.path))


class InboxPart(StatefulSinkPartition[Upload, None]):
    """One connection to the record."""

    def __init__(self, record: Record) -> None:
        self.record, self.ledger = record, Ledger(record)

    def write_batch(self, values: list[Upload]) -> None:
        with exit_on_user_error(1):
            self.ledger.enqueue(values)

    def snapshot(self) -> None:
        return None

    def close(self) -> None:
        self.record.close()
