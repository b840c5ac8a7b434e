"""`hearthwatch check`: all mistakes in settings and graph at once, or what will run and what is off."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from hearthwatch.api.security import open_host_mistake
from hearthwatch.cli.machine_checks import check_data, check_model, check_torch
from hearthwatch.flows.graph import Graph, GraphError, configured_graph
from hearthwatch.flows.validate import find_warnings
from hearthwatch.record.cells import find_cells
from hearthwatch.schemas.settings import SettingsError, load_valid, settings, warnings
from hearthwatch.sources.files import Files
from hearthwatch.stages.detect import RtDetr


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
    for warning in (*graph.warnings, *find_warnings(graph.nodes), *machine_warnings(graph)):
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


def machine_warnings(graph: Graph) -> Iterator[str]:
    """Warn of folders, a model or a device that the pipeline will not find on this machine; asks no service."""
    context = graph.context
    cells = find_cells(context.wanted_cells, context.record_path, context.data_dir, context.base_path)
    for path in dict.fromkeys(cell.base_path for cell in cells if graph.first(Files)):
        if not os.access(path, os.R_OK | os.X_OK):
            setting = "FOSCAM_BASE_PATH" if path == context.base_path else "HEARTHWATCH_CELLS"
            yield f"{path} cannot be read or is missing: make the folder, or set {setting}"
    found = [*check_data(settings())]
    for detector in (node.component for node in graph.nodes.values() if isinstance(node.component, RtDetr)):
        if not detector.url:
            found += check_model(detector.model, ask_hub=False)
            found += chain.from_iterable(check_torch(name) for name in detector.devices() if name.startswith("cuda"))
    yield from (finding.words for finding in found if finding.health == "wrong")
