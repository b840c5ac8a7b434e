"""`hearthwatch run`: the pipeline, the API and, if wanted, a language model server as processes, restarted when they die.

Nothing is lost meanwhile: uploads wait on disk and events in the record. A process that ends with exit code 2 was
misconfigured and would fail again, so everything stops and the mistake is the last thing printed.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from bytewax.recovery import init_db_dir

from hearthwatch.cli.supervisor import API, PIPELINE, RestartedProcess, stop_event, supervise
from hearthwatch.flows.graph import configured_graph
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import reload, settings

SNAPSHOT_SECONDS = 1  # what own sources read again after a kill; the journal has it already
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
    pipeline = [*PIPELINE, *recovery_options(graph.context.data_dir)] if graph.needs_recovery_store() else PIPELINE
    with stop_event() as stop:
        processes = [RestartedProcess(name, command) for name, command in commands(pipeline, llm, model)]
        code = supervise(processes, stop, STOP_SECONDS_MAX)
    raise typer.Exit(code)


def recovery_options(data_dir: Path) -> list[str]:
    """Return options for a recovery store in the data dir, made if there is none; a kill leaves a whole one, or none.

    Raises:
        UserError: it cannot be made.
    """
    store, part = data_dir / "recovery", data_dir / "recovery.part"
    try:
        if not store.exists():
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            init_db_dir(part, 1)  # type: ignore[no-untyped-call]
            part.rename(store)
    except OSError as error:
        raise UserError(f"{store}: the recovery store cannot be made: {error.strerror}") from None
    return ["-r", str(store), "-s", str(SNAPSHOT_SECONDS), "-b", "0"]


def commands(pipeline: list[str], llm: bool, model: str | None) -> Iterator[tuple[str, list[str]]]:
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
