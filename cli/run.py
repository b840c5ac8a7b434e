"""`hearthwatch run`: the pipeline, the API and, if wanted, a language model server as processes, restarted when they die.

Nothing is lost meanwhile: uploads wait on disk and events in the record. A process that ends with exit code 2 was
misconfigured and would fail again, so everything stops and the mistake is the last thing printed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from hearthwatch.cli.supervisor import API, PIPELINE, RestartedProcess, stop_event, supervise
from hearthwatch.flows.graph import configured_graph
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
    for name, reason in configured_graph().off().items():
        print(f"{name} is off: {reason}", flush=True)
    with stop_event() as stop:
        processes = [RestartedProcess(name, command) for name, command in commands(llm, model)]
        code = supervise(processes, stop, STOP_SECONDS_MAX)
    raise typer.Exit(code)


def commands(llm: bool, model: str | None) -> Iterator[tuple[str, list[str]]]:
    """Names and command lines of what has to run."""
    yield "pipeline", PIPELINE
    yield "api", API
    if llm:
        yield "llm", [sys.executable, "-P", "-m", "hearthwatch.cli", "llm", *(("--model", model) if model else ())]


def _use_own_llm() -> None:
    """Set NEMOTRON_URL, unless it is set, to the server that is started."""
    if settings().nemotron_url is None:
        from hearthwatch.cli.llm import DEFAULT_URL

        os.environ["NEMOTRON_URL"] = DEFAULT_URL
        reload()
