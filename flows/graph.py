"""The graph: named nodes and typed edges that become one Bytewax dataflow. TOML and Python give the same one.

`Graph().add("files", Files()).add("detect", RtDetr(), after="files").build()`, or `Graph.from_toml(path)`. Making a
graph opens nothing and never raises; `build` and `check` report every mistake at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hearthwatch.flows.legacy import check_facts
from hearthwatch.flows.node import Node
from hearthwatch.flows.parse import DEFAULT as DEFAULT
from hearthwatch.flows.parse import parse
from hearthwatch.flows.runtime import has_recovery_store
from hearthwatch.flows.validate import INCIDENT, find_mistakes, is_durable_edge
from hearthwatch.record.timings import StepHistograms
from hearthwatch.schemas import Component, Consumer, Job, Sink, Source, Stage, StageWorker
from hearthwatch.schemas.components import build_worker
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.flow_file import FlowFileError, read_flow_file
from hearthwatch.schemas.settings import Settings, SettingsError, in_force, load_valid, settings
from hearthwatch.sinks.notifier import Notifier
from hearthwatch.sinks.retention import Retention
from hearthwatch.sources.folder import Folder
from hearthwatch.stages.batch import Batch
from hearthwatch.stages.incident import IncidentGrouping

if TYPE_CHECKING:
    from bytewax.dataflow import Dataflow

C = TypeVar("C", bound=Component)


class GraphError(UserError):
    """A graph that cannot run. `mistakes` holds one line each; the text is all of them. `warnings` are not in the text."""

    def __init__(self, mistakes: Sequence[str], warnings: Sequence[str] = ()) -> None:
        self.mistakes, self.warnings = list(mistakes), list(warnings)
        super().__init__("\n".join(self.mistakes))


class Graph:
    """Nodes by name, in the order in which they were added, and the context that they share."""

    def __init__(self, context: Context | None = None, chosen: Settings | None = None) -> None:
        self.nodes: dict[str, Node] = {}
        self._implied: Node | None = None
        self.settings = chosen or settings()
        self.warnings: list[str] = []
        ours = Context.from_settings(self.settings, StepHistograms())
        self._context = context or replace(ours, has_recovery_store=has_recovery_store())
        self._mistakes: list[str] = []

    def add(
        self, name: str, component: Component, after: str | Sequence[str] = (), only: Mapping[str, Any] | None = None
    ) -> Graph:
        """Add a node that reads `after`: a name, a port such as `detect.errors`, or a list of them."""
        edges = (after,) if isinstance(after, str) else tuple(after)
        kind = type(component)
        if isinstance(component, Component):
            return self._add(Node(name, kind.__name__, kind, component, edges, only))
        node = Node(name, kind.__name__, None, None, edges, only)
        self._mistakes.append(
            f"{node}: {component!r} is not a component: give an instance of a Source, Stage, Sink, Consumer or Job"
        )
        return self._add(node)

    def _add(self, node: Node) -> Graph:
        """Add a node; behind one that makes events, an `incident`, until one is added."""
        if self.nodes.get(node.name) is self._implied:
            self.nodes.pop(node.name, None)
        if node.name in self.nodes:
            self._mistakes.append(f"{node}: the name `{node.name}` is used twice")
        self.nodes.setdefault(node.name, node)
        if node.commits_events() and INCIDENT not in self.nodes:
            self._implied = Node(INCIDENT, INCIDENT, IncidentGrouping, IncidentGrouping(), (node.name,))
            self.nodes[INCIDENT] = self._implied
        return self

    @classmethod
    def from_toml(cls, source: Path | str, wrong: Sequence[str] = ()) -> Graph:
        """Read the graph of a flow file: its path, or its text (anything with a line break in it).

        `wrong`: mistakes that are known already; they come first.
        """
        try:
            file = read_flow_file(source)
            chosen, mistakes = load_valid(flow=file)
        except (FlowFileError, SettingsError) as error:
            graph = cls(chosen=Settings())  # those in force may be the very ones that cannot be read
            graph._mistakes = list(dict.fromkeys([*wrong, *str(error).splitlines()]))
            return graph
        with in_force(chosen):
            graph, parsed = cls(chosen=chosen), parse(file)
        graph._mistakes = list(dict.fromkeys([*wrong, *mistakes, *parsed.mistakes]))
        if (tree := chosen.foscam_base_path).resolve() == chosen.hearthwatch_data_dir.resolve():
            graph._mistakes.append(
                f"FOSCAM_BASE_PATH = {tree} is HEARTHWATCH_DATA_DIR, too: set one of them to another folder"
            )
        for node in parsed.nodes:
            graph._add(node)
        graph.warnings = parsed.warnings
        check_facts(parsed.facts, graph.context, chosen, graph._mistakes, graph.warnings)
        return graph

    @property
    def context(self) -> Context:
        """Return what all nodes share. A language model judges events if a node here asks one, or if the settings name one; rules are those of `batch`."""
        judged = any(node.is_judge() and node.component and not node.off() for node in self.nodes.values())
        batch = self.first(Batch)
        own = (batch.rules, batch.built_in_rules) if batch else ((), True)
        analysis = self._context.analysis or judged
        return replace(self._context, analysis=analysis, rules=own[0], built_in_rules=own[1])

    @property
    def run_here(self) -> tuple[str, ...]:
        """The names of the nodes that this process runs, upstream first. Only for a graph without mistakes."""
        chosen = self.settings.hearthwatch_nodes or tuple(self.nodes)
        batches = {node.name for node in self.nodes.values() if node.commits_events()}
        more = () if batches.isdisjoint(chosen) else (INCIDENT,)  # a lock sees to it that one process does it
        return tuple(node.name for node in self.in_order() if node.name in (*chosen, *more))

    def check(self) -> list[str]:
        """Return every mistake, in words; empty if the graph can run."""
        found = find_mistakes(self.nodes, self.settings.hearthwatch_nodes) if self.nodes or not self._mistakes else []
        return self._mistakes + found

    def build(self) -> Dataflow:
        """Return the dataflow; starts nothing. Raises `GraphError` with every mistake."""
        if wrong := self.check():
            raise GraphError(wrong)
        from hearthwatch.flows.build import build_dataflow  # loads Bytewax: needed to run a graph, not to read one

        try:
            return build_dataflow([self.nodes[name] for name in self.run_here], self.context, self.describe())
        except UserError as error:
            raise GraphError([str(error)]) from error

    def in_order(self) -> list[Node]:
        """Return all nodes, upstream first. Only for a graph without mistakes."""
        edges = {node.name: list(dict.fromkeys(node.upstream())) for node in self.nodes.values()}
        return [self.nodes[name] for name in TopologicalSorter(edges).static_order()]

    def edges(self) -> Iterator[tuple[str, Node, bool]]:
        """Every edge: what is read (with its port), who reads it, and whether it is durable."""
        for node in self.nodes.values():
            for edge in node.after:
                yield edge, node, is_durable_edge(self.nodes[edge.partition(".")[0]], node)

    def describe(self) -> dict[str, Any]:
        """Describe the graph for the API, which reads it in the record: nodes, edges, and the options that it shows."""
        batch, retention = self.options_of(Batch), self.options_of(Retention)
        kinds = (Source, Stage, Sink, Consumer, Job)
        return {
            "nodes": [
                {
                    "name": node.name,
                    "use": node.use,
                    "kind": next(kind.__name__.lower() for kind in kinds if node.is_kind(kind)),
                    "label": node.label(),
                    "off": node.off(),
                    "notifies": node.is_kind(Notifier),
                }
                for node in self.in_order()
            ],
            "edges": [
                {"from": name, "port": port or None, "to": node.name, "durable": durable}
                for edge, node, durable in self.edges()
                for name, _, port in [edge.partition(".")]
            ],
            "options": {
                "batch_window_seconds": batch.window_seconds,
                "batch_idle_timeout_seconds": batch.idle_timeout_seconds,
                "retention_days": retention.days,
            },
        }

    def first(self, kind: type[C]) -> C | None:
        """Return the component of the first node of this kind."""
        return next((node.component for node in self.nodes.values() if isinstance(node.component, kind)), None)

    def options_of(self, kind: type[C]) -> C:
        """Return the component of the first node of this kind, else what it would be by this graph's settings."""
        with in_force(self.settings):
            return self.first(kind) or kind()

    def needs_recovery_store(self) -> bool:
        """Whether something here has state that only Bytewax keeps: a source with a position, a stage with its own steps."""
        return any(self._is_stateful(self.nodes[name]) for name in self.run_here)

    @property
    def recovery_store(self) -> Path:
        """Where Bytewax keeps that state unless `-r` names another one: beside the record, one for the nodes of each process."""
        return self.context.data_dir / "-".join(["recovery", *self.settings.hearthwatch_nodes])

    def _is_stateful(self, node: Node) -> bool:
        component = node.component
        if type(component).__module__.startswith("hearthwatch."):
            return isinstance(component, Folder)
        if not isinstance(component, Stage):
            return isinstance(component, Source)
        worker = component if type(component).build is Stage.build else build_worker(component, self.context)
        return type(worker).attach is not StageWorker.attach

    def off(self) -> dict[str, str]:
        """Return the nodes that do nothing, and why."""
        return {name: reason for name, node in self.nodes.items() if (reason := node.off())}


def configured_graph(path: Path | None = None) -> Graph:
    """Return the graph of `path`, else of HEARTHWATCH_FLOW, else the built-in one.

    Raises:
        GraphError: every mistake in settings and graph.
    """
    try:
        chosen, wrong = load_valid(flow=path)
    except SettingsError as error:
        raise GraphError(error.mistakes) from None
    graph = Graph.from_toml(path or chosen.hearthwatch_flow or DEFAULT, wrong)
    if wrong := graph.check():
        raise GraphError(wrong, graph.warnings)
    return graph
