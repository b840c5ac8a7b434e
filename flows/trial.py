"""Run a graph once in a temporary folder, with a fault in it, and report what happened: `hearthwatch prove` runs many.

The graph's nodes are its own, but for what would reach outside: the paths of sinks, consumers and jobs are moved below the
folder, consumers of ours that send something only write it down, a language model is left out, and a detector of ours reads
boxes from a picture's hash. Everything runs in the process that calls `run_trial`, which never returns.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, NoReturn

from bytewax.recovery import RecoveryConfig
from bytewax.run import cli_main

from hearthwatch.flows import build, services
from hearthwatch.flows.faults import FaultPoint
from hearthwatch.flows.graph import Graph
from hearthwatch.flows.guard import Process
from hearthwatch.flows.node import Node
from hearthwatch.flows.runtime import make_recovery_store, prepare_process
from hearthwatch.schemas import (
    Component,
    Consumer,
    Detected,
    Detection,
    Frame,
    Job,
    Poller,
    Sink,
    Source,
    Stage,
    StageWorker,
)
from hearthwatch.schemas.components import build_worker
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.messages import FeedMessage, IncidentMessage, ItemMessage, Message, SystemMessage
from hearthwatch.sinks.jsonl import Jsonl
from hearthwatch.sources.files import Files
from hearthwatch.sources.folder import Folder
from hearthwatch.stages.detect import RtDetr
from hearthwatch.stages.incident import IncidentGrouping

WAIT_SECONDS_MAX = 1.0  # of a call on the dataflow's thread in which it does not compute
ITEMS_MAX = 200  # kept of what a stage was given, for the checks at the end
LEAK_BYTES = 16  # a reference and its share of a list: what an item leaves behind at least, if it leaves something
ROUNDS = 20
CHECK_SECONDS_MAX = 5.0


class Trial(NamedTuple):
    """A flow file, the folder that it is started in, the temporary one, which has `input`, `data`, `out`, and the size of portions."""

    flow: Path
    home: Path
    folder: Path
    at_once: int = 5


class PictureHash(Stage):
    """Up to three boxes by the picture's hash: a detector that needs no model."""

    accepts: ClassVar[type | tuple[type, ...]] = Frame
    emits: ClassVar[type | None] = Detected

    def process(self, items: list[Any]) -> list[Any]:
        return [self._detect(frame) for frame in items]

    def _detect(self, frame: Any) -> Detected:
        digest = bytes.fromhex(frame.opened.content_hash)
        labels = [("person", "car", "dog")[digest[n] % 3] for n in range(digest[0] % 4)]
        found = tuple(Detection(label, 0.5 + n / 10, (10 * n, 8, 20, 30)) for n, label in enumerate(labels))
        return Detected(frame, frame.opened.width, frame.opened.height, found, model="hash", detect_ms=0.0)


class Delivered(Consumer):
    """Write down what a consumer would have sent."""

    accepts: ClassVar[type | tuple[type, ...]] = (ItemMessage, Message, IncidentMessage, SystemMessage)

    def deliver(self, messages: Sequence[FeedMessage]) -> None:
        """Send nothing."""


def run_trial(trial: Trial, fault: str) -> NoReturn:
    """Run the graph to its end with a fault; what it left behind is in the folder, and its exit code is the pipeline's."""
    code = 1
    try:
        for name in ("data", "out", "cwd"):
            (trial.folder / name).mkdir(parents=True, exist_ok=True)
        log = os.open(trial.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        faulthandler.register(signal.SIGUSR1, all_threads=False)
        prepare_process(debug=False)
        observer = _Observer(trial, fault)
        code = observer.run()
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        sys.stderr.flush()
        os._exit(code)


class _Observer:
    """Watches one run from within: calls of the graph's parts, threads, the fault."""

    def __init__(self, trial: Trial, fault: str) -> None:
        self.trial, self.fault = trial, fault
        self.point = FaultPoint(fault, trial.folder, trial.folder / "passed")
        self.found: dict[str, str] = {}
        """What is wrong, by node: the first thing."""
        self.given: dict[str, tuple[Stage, list[Any]]] = {}

    def run(self) -> int:
        graph = arrange(Graph.from_toml(self.trial.flow), self.trial)
        os.chdir(self.trial.folder / "cwd")
        names = {id(node.component): node.name for node in graph.nodes.values()}
        build.build_worker = lambda component, context: self.watch(  # type: ignore[attr-defined]
            names.get(id(component), ""), component, build_worker(component, context)
        )
        before, flow, recovery = set(threading.enumerate()), graph.build(), None
        if graph.needs_recovery_store():
            make_recovery_store(store := self.trial.folder / "recovery", graph.context.record_path)
            recovery = RecoveryConfig(str(store), timedelta(0))  # type: ignore[no-untyped-call]
        services._backoff_seconds = lambda failures: 0.0
        self.point.install()
        epoch = timedelta(seconds=0 if recovery else 10)
        cli_main(flow, epoch_interval=epoch, recovery_config=recovery)  # type: ignore[no-untyped-call]
        self.point.place = ""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.check_threads(before)
        self.write_report()
        if self.fault == "check":
            for name, (stage, items) in self.given.items():
                if name not in self.found and (problem := check_own_stage(name, stage, items, graph.context)):
                    self.found[name] = problem
            self.write_report()
        return 0

    def write_report(self) -> None:
        """Write what was counted and found; the graph has ended when it is there."""
        path = self.trial.folder / "report.json"
        path.with_suffix(".part").write_text(json.dumps({"counts": self.point.counts, "found": self.found}))
        path.with_suffix(".part").rename(path)

    def watch(self, name: str, component: Component, worker: Any) -> Any:
        """Put ourselves around the calls that the dataflow's thread makes; what is not the user's is left alone."""
        if type(component).__module__.startswith("hearthwatch.") or not name:
            return worker
        if isinstance(component, Stage) and not build.has_own_steps(worker):
            self.given[name] = component, []
            _wrap(worker, "process", partial(self._time, name, "process"))
        elif isinstance(component, Consumer):
            _wrap(worker, "deliver", self._cut_off)
        elif isinstance(component, Sink | Source) and not isinstance(worker, Poller):
            method = "write_batch" if isinstance(component, Sink) else "next_batch"
            timed = partial(self._time, name, method)
            made = "build_part" if hasattr(worker, "build_part") else "build"
            _wrap(worker, made, lambda make, *arguments: _wrap(make(*arguments), method, timed))
        return worker

    def _time(self, name: str, method: str, call: Callable[..., Any], *arguments: Any) -> Any:
        if method == "process" and len(kept := self.given[name][1]) < ITEMS_MAX:
            kept += arguments[0]
        began = time.monotonic() - time.thread_time()
        try:
            done = call(*arguments)
            if method == "write_batch":  # its input comes again unless the recovery store has it
                self.point.pass_by("after", f"a batch of {name}")
            return done
        finally:
            if (waited := time.monotonic() - time.thread_time() - began) > WAIT_SECONDS_MAX:
                words = f"`{method}` waited {waited:.1f} s on the dataflow's thread: nothing else runs meanwhile"
                self.found.setdefault(name, words)

    def _cut_off(self, deliver: Callable[[Any], None], messages: Any) -> None:
        self.point.pass_by("cut", "deliver")
        deliver(messages)
        self.point.pass_by("cut", "deliver")

    def check_threads(self, before: set[threading.Thread]) -> None:
        deadline = time.monotonic() + 1
        while (left := [t for t in threading.enumerate() if t not in before]) and time.monotonic() < deadline:
            time.sleep(0.01)
        for thread in left:
            target = getattr(thread, "_target", None)
            module = getattr(target, "__module__", "") or type(thread).__module__
            if not module.startswith(("hearthwatch.", "threading")):
                self.found.setdefault(module, f"leaves a thread behind: {thread.name}")


def _wrap(target: Any, method: str, around: Callable[..., Any]) -> Any:
    """Let `around(call, …)` be called instead of a method; return the target."""
    object.__setattr__(target, method, partial(around, getattr(target, method)))
    return target


def arrange(graph: Graph, trial: Trial) -> Graph:
    """Return the graph with paths below the trial's folder, and without what reaches outside."""
    folder = trial.folder
    own = replace(
        graph.context,
        record_path=folder / "data" / "hearthwatch.db",
        data_dir=folder / "data",
        base_path=folder / "input",
        analysis=False,
        has_recovery_store=graph.needs_recovery_store(),
    )
    nodes: dict[str, Any] = {}
    out = Graph(own, graph.settings)
    for node in graph.in_order():
        component = _harmless(node, trial)
        after = list(dict.fromkeys(edge for name in node.after for edge in _edges(name, nodes)))
        nodes[node.name] = (component, after)
        if component:
            out.add(node.name, component, after, node.only)
    return out


def _edges(name: str, nodes: dict[str, Any]) -> list[str]:
    """Return an edge, or those of the node that was left out there."""
    component, after = nodes[name.partition(".")[0]]
    return [name] if component else after


def _harmless(node: Node, trial: Trial) -> Component | None:
    """Return what runs instead of a node's component; None: nothing does."""
    component, is_ours = node.component, type(node.component).__module__.startswith("hearthwatch.")
    assert component is not None
    if isinstance(component, Folder):
        rows = {"path": trial.folder / "input", "follow": False, "rows_max": trial.at_once}
        return component.model_copy(update=rows)
    if isinstance(component, Files):
        quick = {"batch_max": trial.at_once, "sweep_seconds": 0.2, "settle_seconds": 0.05, "still_seconds": 0.1}
        return component.model_copy(update=quick)
    if isinstance(component, RtDetr):
        return PictureHash()
    if is_ours and (isinstance(component, Job) or node.is_judge() or node.use == "gpu_stats"):
        return None
    if is_ours and isinstance(component, Consumer) and not isinstance(component, Jsonl | IncidentGrouping):
        return Delivered()
    paths = {name: value for name, value in component if isinstance(value, Path)}
    if isinstance(component, Sink | Consumer | Job):
        return component.model_copy(update={name: _moved(trial, node.name, path) for name, path in paths.items()})
    return component.model_copy(update={name: trial.home / path for name, path in paths.items()})


def _moved(trial: Trial, node: str, path: Path) -> Path:
    new = trial.folder / "out" / node / path.name
    (new if (trial.home / path).is_dir() else new.parent).mkdir(parents=True, exist_ok=True)
    return new


# -- a stage alone


def check_own_stage(name: str, stage: Stage, items: list[Any], context: Context) -> str | None:
    """Return what is wrong with a stage, on items that it was given in a run."""

    def ask(*lists: list[Any]) -> list[Any]:
        with _opened(name, stage, context) as process:
            return [result for each in lists for result in process(each)]

    began = time.monotonic()
    ask(items)
    took = time.monotonic() - began
    items = items[: max(1, int(len(items) / max(1, took)))]
    alone, together = ask(*([item] for item in items)), ask(items)
    if str(together) != str(ask(items)):
        return "`process` answers differently when it is asked the same again: does it use a clock, chance, or a set's order?"
    if alone != together:
        return "`process` answers differently when it is asked one by one: it keeps state, or depends on what comes together"
    for item in items:
        out = ask([item])
        if len(out) > len({str(each) for each in out}):
            return f"emits the same twice for one item: {str(out[0])[:100]}"
    return _swallowed(ask, stage, items) or _grows(stage, items, context)


@contextmanager
def _opened(name: str, stage: Stage, context: Context) -> Iterator[Process]:
    worker: StageWorker = build_worker(stage, context)
    worker.open()
    yield Process(name, stage, worker)
    worker.close()


def _swallowed(ask: Callable[..., list[Any]], stage: Stage, items: list[Any]) -> str | None:
    """Give it rows with a field that is missing or nonsense: what raises inside has to come out as a dead letter, or as an item."""
    own, raised = sys.modules[type(stage).__module__].__file__, []

    def trace(frame: Any, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename != own:
            return None
        if event == "exception" and not issubclass(argument[0], StopIteration):
            raised.append(f"{argument[0].__name__}: {argument[1]}")
        return trace

    rows = [item for item in items if isinstance(item, dict)][:1]
    broken = [row | {field: "?"} for row in rows for field in row]
    broken += [{key: value for key, value in row.items() if key != field} for row in rows for field in row]
    for item in [*items, *broken]:
        raised.clear()
        sys.settrace(trace)
        try:
            out = ask([item])
        finally:
            sys.settrace(None)
        if raised and not out:
            return f"swallows {raised[0][:100]}: nothing comes out, and no dead letter, for {str(item)[:100]}"
    return None


def _grows(stage: Stage, items: list[Any], context: Context) -> str | None:
    """Give it the same again and again: it may grow for a while, not for each item."""
    import gc
    import tracemalloc

    sizes, rounds = [], max(ROUNDS, 4000 // max(1, len(items)))
    until = time.monotonic() + CHECK_SECONDS_MAX
    with _opened("", stage, context) as process:
        tracemalloc.start()
        for _ in range(3):
            for _ in range(rounds):
                if time.monotonic() < until:  # else too slow to be asked so often
                    process([replace(item) if not isinstance(item, dict) else dict(item) for item in items])
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    each = (sizes[2] - sizes[1]) / max(1, rounds * len(items))
    return f"`process` keeps {each:.0f} bytes for each item, without end" if each >= LEAK_BYTES / 2 else None
