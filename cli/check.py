"""`hearthwatch check`: every mistake in settings and graph at once, or what will run and what is off."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hearthwatch.flows.graph import configured
from hearthwatch.schemas.settings import warnings


def check(
    flow: Annotated[Path | None, typer.Argument(help="A flow file; else HEARTHWATCH_FLOW, else ours.")] = None,
) -> None:
    """Look for mistakes in settings and graph, all at once; exit code 2 if there are any. Starts nothing."""
    graph = configured(flow)
    for warning in warnings():
        print(f"warning: {warning}")
    print(f"{len(graph.nodes)} nodes, no mistakes: {', '.join(graph.nodes)}")
    for name, reason in graph.off().items():
        print(f"{name} is off: {reason}")
