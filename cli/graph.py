"""`hearthwatch graph`: the graph as Mermaid: nodes, edges and ports, without the engine's inner steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from hearthwatch.flows.graph import Graph, configured_graph
from hearthwatch.flows.only import as_tuple
from hearthwatch.schemas import Consumer, Job, Sink, Source

SHAPES: dict[type, tuple[str, str]] = {
    Source: ("([", "])"),
    Sink: ("[(", ")]"),
    Consumer: ("[(", ")]"),
    Job: ("[(", ")]"),
}


def graph(
    flow: Annotated[
        Path | None, typer.Argument(help="A flow file; else HEARTHWATCH_FLOW, else the built-in one.")
    ] = None,
) -> None:
    """Print the graph as Mermaid text, for any Markdown page."""
    print("\n".join(mermaid(configured_graph(flow))))


def mermaid(graph: Graph) -> Iterator[str]:
    """The lines of the drawing: sources are rounded, sinks, consumers and jobs are barrels; a durable edge is dashed."""
    yield "flowchart LR"
    for node in graph.in_order():
        opening, closing = next(
            (shape for kind, shape in SHAPES.items() if isinstance(node.component, kind)), ("[", "]")
        )
        yield f'    {node.name}{opening}"{node.name}<br/>{node.label()}"{closing}'
    for edge, node, durable in graph.edges():
        only = ", ".join(f"{field} {' or '.join(as_tuple(asked))}" for field, asked in (node.only or {}).items())
        name, _, port = edge.partition(".")
        words = " ".join(filter(None, (port, only)))
        yield f"    {name} {'-.->' if durable else '-->'}{f'|{words}|' if words else ''} {node.name}"
