"""`hearthwatch run`: the pipeline, the API and, if wanted, a language model server as processes, restarted when they die.

Nothing is lost meanwhile: uploads wait on disk and events in the record. A process that ends with exit code 2 was
misconfigured and would fail again, so everything stops and the mistake is the last thing printed.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Annotated

import typer

from hearthwatch.cli.supervisor import API, PIPELINE, Commands, RestartedProcess, stop_event, supervise
from hearthwatch.cli.watchdog import Watchdog
from hearthwatch.flows.graph import Graph, configured_graph
from hearthwatch.flows.runtime import SNAPSHOT_SECONDS, make_recovery_store
from hearthwatch.record.cells import find_cells
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import reload, settings

STOP_SECONDS_MAX = 9.0  # together with Python's own start and end, a stop takes less than 10 s

LLM = typer.Option("--llm", help="Also start a language model server, as `hearthwatch llm` does.")


def run(
    llm: Annotated[bool, LLM] = False,
    model: Annotated[str | None, typer.Argument(help="With --llm: a hub id, or a folder with a model.")] = None,
) -> None:
    """Run the pipeline and the API, restart what dies; Ctrl-C stops all of it."""
    if model and not llm:
        raise UserError(f"{model}: a model is for `--llm {model}`")
    if llm:
        _use_own_llm()
    graph = configured_graph()
    for name, reason in graph.off().items():
        print(f"{name} is off: {reason}", flush=True)
    pipeline = pipeline_commands(graph)
    with stop_event() as stop:
        processes = [RestartedProcess(name, command) for name, command in commands(llm, model, pipeline)]
        has_heartbeat = any(node.commits_events() for node in graph.nodes.values())
        Watchdog(settings(), processes, has_heartbeat, stop).start()
        code = supervise(processes, stop, STOP_SECONDS_MAX)
    raise typer.Exit(code)


def pipeline_commands(graph: Graph) -> Sequence[str] | Commands:
    """Return the command line of the pipeline, or what returns those of each worker process: no more than there are cells.

    Raises:
        UserError: a cell is misconfigured, or the recovery store cannot be made.
    """
    c, chosen = graph.context, graph.settings.hearthwatch_workers
    cells = find_cells(c.wanted_cells, c.record_path, c.data_dir, c.base_path)
    workers = min(len(cells), chosen or len(os.sched_getaffinity(0)))
    if workers == 1:
        return PIPELINE
    options: list[str] = []
    if graph.needs_recovery_store():
        make_recovery_store(graph.recovery_store, cells[0].record_path)
        options = ["-r", str(graph.recovery_store), "-s", str(SNAPSHOT_SECONDS), "-b", "0"]
    return partial(cluster, [*PIPELINE, *options], workers)


def cluster(pipeline: Sequence[str], workers: int) -> list[Sequence[str]]:
    """Return the command lines of so many worker processes, at ports that are free now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(workers)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        addresses = ";".join(f"127.0.0.1:{one.getsockname()[1]}" for one in sockets)
    return [[*pipeline, "-i", str(worker), "-a", addresses] for worker in range(workers)]


def commands(
    llm: bool, model: str | None, pipeline: Sequence[str] | Commands = PIPELINE
) -> Iterator[tuple[str, Sequence[str] | Commands]]:
    """Names and command lines of what has to run."""
    yield "pipeline", pipeline
    yield "api", API
    if llm:
        yield "llm", [sys.executable, "-P", "-m", "hearthwatch.cli", "llm", *(("--model", model) if model else ())]


def _use_own_llm() -> None:
    """Set NEMOTRON_URL, unless it is set, to the server that is started."""
    if settings().nemotron_url is None:
        from hearthwatch.cli.llm import DEFAULT_URL

        os.environ["NEMOTRON_URL"] = DEFAULT_URL
        reload()
