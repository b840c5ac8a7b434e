"""The graph: named nodes and typed edges that become one Bytewax dataflow. TOML and Python give the same one.

`Graph().add("files", Files()).add("detect", RtDetr(), after="files").build()`, or `Graph.from_toml(path)`. Making a
graph opens nothing and never raises; `build` and `check` tell every mistake at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hearthwatch.flows.node import FEED, Node
from hearthwatch.flows.parse import read
from hearthwatch.flows.validate import mistakes
from hearthwatch.schemas import Component, Source, Upload
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import SettingsError, load, settings, use
from hearthwatch.sources.feed import Feed

if TYPE_CHECKING:
    from bytewax.dataflow import Dataflow

DEFAULT = Path(__file__).with_name("default.toml")


class GraphError(UserError):
    """A graph that cannot run. `mistakes` holds one line each; the text is all of them."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = list(mistakes)
        super().__init__("\n".join(self.mistakes))


class Graph:
    """Nodes by name, in the order in which they were added."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self._mistakes: list[str] = []

    def add(
        self, name: str, component: Component, after: str | Sequence[str] = (), only: Mapping[str, Any] | None = None
    ) -> Graph:
        """Add a node that reads `after`: a name, a port such as `detect.errors`, or a list of them."""
        node = Node(
            name, type(component).__name__, component, (after,) if isinstance(after, str) else tuple(after), only
        )
        if isinstance(component, Component):
            return self._add(node)
        self._mistakes.append(
            f"{node}: {component!r} is not a component: give an instance of a Source, Stage, Sink or Consumer"
        )
        return self._add(replace(node, component=None))

    def _add(self, node: Node) -> Graph:
        if node.name in self.nodes:
            self._mistakes.append(f"{node}: the name `{node.name}` is used twice")
        self.nodes.setdefault(node.name, node)
        return self

    @classmethod
    def from_toml(cls, source: Path | str) -> Graph:
        """The graph of a flow file: its path, or its text (anything with a line break in it)."""
        graph = cls()
        nodes, graph._mistakes = read(source)
        for node in nodes:
            graph._add(node)
        return graph

    def check(self) -> list[str]:
        """Every mistake, in words; empty if the graph can run."""
        return self._mistakes + (mistakes(self.nodes) if self.nodes or not self._mistakes else [])

    def build(self) -> Dataflow:
        """The dataflow. Raises `GraphError` with every mistake; starts nothing."""
        if wrong := self.check():
            raise GraphError(wrong)
        from hearthwatch.flows.build import wire  # Bytewax is loaded by whoever runs a graph, not by who looks at one

        try:
            return wire(self.in_order(), self._enqueued(), self.record_path)
        except UserError as error:
            raise GraphError([str(error)]) from error

    def in_order(self) -> list[Node]:
        """All nodes, the feed included if anybody reads it, upstream first. Only for a graph without mistakes."""
        edges = {node.name: list(dict.fromkeys(node.sources())) for node in self.nodes.values()}
        nodes = self.nodes | {FEED: Node(FEED, FEED, Feed(record_path=self.record_path))}
        return [nodes[name] for name in TopologicalSorter(edges).static_order()]

    def _enqueued(self) -> set[str]:
        """The sources whose uploads a files source takes in."""
        takers = [node for node in self.nodes.values() if isinstance(node.component, Source)]
        return {name for node in takers for name in node.sources() if self._emits(name) is Upload}

    def _emits(self, name: str) -> type | None:
        component = self.nodes[name].component
        return component.emits if component else None

    @property
    def record_path(self) -> Path:
        """The record of this graph: that of the node that has one of its own, else that of the settings."""
        own = (getattr(node.component, "record_path", None) for node in self.nodes.values())
        return next((Path(path) for path in own if path is not None), None) or settings().database_path

    def off(self) -> dict[str, str]:
        """The nodes that do nothing, and why."""
        reasons = {name: getattr(node.component, "off", lambda: None)() for name, node in self.nodes.items()}
        return {name: reason for name, reason in reasons.items() if reason}


def configured(path: Path | None = None) -> Graph:
    """The graph of `path`, else of HEARTHWATCH_FLOW, else the built-in one. Raises `GraphError`: settings' mistakes too."""
    wrong: list[str] = []
    try:
        settings()
    except SettingsError as error:
        wrong = error.mistakes
    with _those_without(wrong):
        graph = Graph.from_toml(path or settings().hearthwatch_flow or DEFAULT)
        if wrong := wrong + graph.check():
            raise GraphError(wrong)
    return graph


@contextmanager
def _those_without(wrong: Sequence[str]) -> Iterator[None]:
    """The settings that are fine, so that the graph's mistakes can be told together with those of the others."""
    if not wrong:
        yield
        return
    bad = {line.partition(" ")[0] for line in wrong}
    try:
        use(load(environ={**os.environ, **dict.fromkeys(bad, "")}))
        yield
    except SettingsError:
        raise GraphError(wrong) from None
    finally:
        use(None)
