"""`hearthwatch graph`: the graph as Mermaid: nodes, edges and ports, without the engine's inner steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from hearthwatch.flows.graph import Graph, configured
from hearthwatch.flows.only import listed
from hearthwatch.schemas import Consumer, Sink, Source

SHAPES: dict[type, tuple[str, str]] = {Source: ("([", "])"), Sink: ("[(", ")]"), Consumer: ("[(", ")]")}


def graph(
    flow: Annotated[
        Path | None, typer.Argument(help="A flow file; else HEARTHWATCH_FLOW, else the built-in one.")
    ] = None,
) -> None:
    """Print the graph as Mermaid text, for any Markdown page."""
    print("\n".join(mermaid(configured(flow))))


def mermaid(graph: Graph) -> Iterator[str]:
    """The lines of the drawing: sources are rounded, sinks and consumers are barrels."""
    yield "flowchart LR"
    for node in graph.in_order():
        opening, closing = next(
            (shape for kind, shape in SHAPES.items() if isinstance(node.component, kind)), ("[", "]")
        )
        yield f'    {node.name}{opening}"{node.name}<br/>{node.label()}"{closing}'
    for node in graph.nodes.values():
        only = ", ".join(f"{field} {' or '.join(listed(asked))}" for field, asked in (node.only or {}).items())
        for edge in node.after:
            name, _, port = edge.partition(".")
            words = " ".join(filter(None, (port, only)))
            yield f"    {name} -->{f'|{words}|' if words else ''} {node.name}"
