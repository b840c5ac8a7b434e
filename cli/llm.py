"""`hearthwatch llm`: start `vllm serve` as this product needs it, prove that it keeps to schemas, stay with it until the end.

vLLM is a program of its own, never part of this process: its workers would outlive us and hold the GPU. It is started in
a session of its own, and at the end the whole session is ended with it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated
from urllib.parse import urlsplit

import typer

from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import masked, settings
from hearthwatch.stages.llm_client import Client, NemotronError

DEFAULT_URL = "http://127.0.0.1:8002"
DEFAULT_MODEL = "nvidia/NVIDIA-Nemotron-3-Nano-4B-BF16"  # fits a card of 24 GB
READY_SECONDS_MAX = 3600.0  # the first start downloads the weights
LOOK_SECONDS = 0.5
TOLD_SECONDS = 15.0  # says so often that it still waits
STOP_SECONDS_MAX = 6.0  # then it is killed; `hearthwatch run` has 9 s for all its parts
FLAGS = (
    *("--max-model-len", "8192"),
    *("--reasoning-parser", "nemotron_v3"),
    *("--structured-outputs-config", '{"backend":"guidance","disable_any_whitespace":true}'),
)
PR_SET_PDEATHSIG = 1
QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}  # what happens at home is nobody's statistic
OTHERS = typer.Argument(help="More options for `vllm serve`, behind `--`; of an option given twice, theirs counts.")


def llm(
    others: Annotated[list[str] | None, OTHERS] = None,
    model: Annotated[str, typer.Option(help="A hub id, or a folder with a model.")] = DEFAULT_MODEL,
) -> None:
    """Start a vLLM server at NEMOTRON_URL, wait until it answers, prove that it enforces schemas; Ctrl-C ends it."""
    url = settings().nemotron_url or DEFAULT_URL
    host, port = place(url)
    command = [*program(), "serve", model, "--served-model-name", settings().hearthwatch_nemotron_model]
    command += ["--host", host, "--port", str(port), *FLAGS, *(others or ())]
    print(shlex.join(command), flush=True)
    with interrupts() as stop, running(command) as server:
        if wait_until_ready(server, url, stop):
            prove(url)
            print(f"ready at {masked('NEMOTRON_URL', url)}: it answers, and keeps to schemas", flush=True)
            if not settings().nemotron_url:
                print(f"NEMOTRON_URL is not set: set NEMOTRON_URL={url} for the pipeline to use it", flush=True)
            while server.poll() is None and not stop.wait(LOOK_SECONDS):
                pass
        if not stop.is_set():
            raise amiss(f"vllm ended with exit code {server.wait()}; its last words are above")


def amiss(words: str) -> typer.Exit:
    """Something went wrong while it ran: say it, exit code 1."""
    print(words, file=sys.stderr, flush=True)
    return typer.Exit(1)


def program() -> list[str]:
    """The vllm command: HEARTHWATCH_VLLM, else `vllm` on the path."""
    own = shlex.split(os.environ.get("HEARTHWATCH_VLLM", ""))
    name = own[0] if own else "vllm"
    if not shutil.which(name):
        said = f"HEARTHWATCH_VLLM = {shlex.join(own)}: there is no such program" if own else "there is no `vllm` here"
        raise UserError(
            f"{said}; make a virtual environment of its own for it (vLLM pins its own torch), `pip install vllm` there, "
            "and set HEARTHWATCH_VLLM=/path/to/venv/bin/vllm"
        )
    return own or [name]


def place(url: str) -> tuple[str, int]:
    """Host and port to serve at. Raises UserError if they are not ours or not free."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    name = masked("NEMOTRON_URL", url)
    if parts.scheme != "http":
        raise UserError(f"NEMOTRON_URL = {name}: `vllm serve` speaks http here; start it yourself behind your own TLS")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        raise UserError(f"NEMOTRON_URL = {name}: {host}: {error.strerror}") from None
    except OSError as error:
        raise UserError(
            f"NEMOTRON_URL = {name}: cannot serve there: {error.strerror}; is a server running there already, or is it another machine?"
        ) from None
    return host, port


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The server in a session of its own; at the end nothing of it is left."""
    environment = {**QUIET, **os.environ}
    server = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_ends_with_us
    )
    try:
        yield server
    finally:
        server.terminate()
        try:
            server.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            print(f"vllm does not end within {STOP_SECONDS_MAX:g} s: killed", flush=True)
        try:
            os.killpg(server.pid, signal.SIGKILL)  # its workers, which would keep the GPU
        except ProcessLookupError:
            pass
        server.wait()


def _ends_with_us() -> None:
    """Have Linux tell the server to end when we are killed: it would keep the GPU otherwise."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def wait_until_ready(server: subprocess.Popen[bytes], url: str, stop: threading.Event) -> bool:
    """Until it answers; False: it ended, or `stop` came first."""
    began = told = time.monotonic()
    while server.poll() is None and not stop.wait(LOOK_SECONDS):
        if asyncio.run(_alive(url)):
            return True
        if time.monotonic() - told > TOLD_SECONDS:
            told = time.monotonic()
            print(f"still loading after {told - began:.0f} s", flush=True)
        if time.monotonic() - began > READY_SECONDS_MAX:
            raise amiss(f"no answer at {masked('NEMOTRON_URL', url)} within {READY_SECONDS_MAX:.0f} s")
    return False


def prove(url: str) -> None:
    """That the server keeps the model to a schema: without that no verdict could be trusted."""
    try:
        enforced = asyncio.run(_enforces(url))
    except NemotronError as error:
        raise amiss(f"the server is up but does not answer a question: {error}") from None
    if not enforced:
        raise amiss(
            "the server ignores `response_format`: a word that the schema demands did not come back; use a vLLM of 0.12 or "
            "newer without a plug-in that turns structured outputs off"
        )


async def _alive(url: str) -> bool:
    client = Client(url, settings().hearthwatch_nemotron_model)
    try:
        return await client.alive()
    finally:
        await client.close()


async def _enforces(url: str) -> bool:
    client = Client(url, settings().hearthwatch_nemotron_model, settings().hearthwatch_nemotron_timeout_seconds)
    try:
        return await client.enforces_schemas()
    finally:
        await client.close()


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """An event that is set by Ctrl-C and SIGTERM."""
    stop = threading.Event()

    def handler(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, old in before.items():
            signal.signal(number, old)
