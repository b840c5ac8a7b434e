"""`hearthwatch check`: all mistakes in settings and graph at once, or what will run and what is off."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from hearthwatch.api.security import open_host_mistake
from hearthwatch.flows.graph import Graph, GraphError, configured_graph
from hearthwatch.flows.validate import find_warnings
from hearthwatch.schemas.settings import SettingsError, load_valid, warnings
from hearthwatch.sources.files import Files


def check(
    flow: Annotated[
        Path | None, typer.Argument(help="A flow file; else HEARTHWATCH_FLOW, else the built-in one.")
    ] = None,
) -> None:
    """Find all mistakes in settings and graph; exit code 2 if there are any. Starts nothing."""
    for warning in warnings():
        print(f"warning: {warning}")
    mistakes = api_mistakes(flow)
    try:
        graph = configured_graph(flow)
    except GraphError as error:
        for warning in error.warnings:
            print(f"warning: {warning}")
        raise GraphError([*error.mistakes, *mistakes]) from None
    for warning in (*graph.warnings, *find_warnings(graph.nodes), *upload_warnings(graph)):
        print(f"warning: {warning}")
    if mistakes:
        raise GraphError(mistakes)
    print(f"{len(graph.nodes)} nodes, no mistakes: {', '.join(graph.nodes)}")
    for name, reason in graph.off().items():
        print(f"{name} is off: {reason}")


def api_mistakes(flow: Path | None) -> list[str]:
    """Find what `hearthwatch api` will refuse, also where other settings are wrong."""
    try:
        chosen = load_valid(flow=flow)[0]
    except SettingsError:  # reported with the graph's
        return []
    mistake = open_host_mistake(chosen.hearthwatch_api_host, chosen.hearthwatch_api_token)
    return [mistake] if mistake else []


def upload_warnings(graph: Graph) -> list[str]:
    """Warn of an upload tree that cannot be read; the pipeline waits for it."""
    path = graph.context.base_path
    if graph.first(Files) is None or os.access(path, os.R_OK | os.X_OK):
        return []
    return [f"{path} cannot be read or is missing: make the folder, or set FOSCAM_BASE_PATH"]
