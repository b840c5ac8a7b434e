"""`hearthwatch llm`: start `vllm serve` as this product needs it, prove that it enforces schemas, run until it is stopped.

vLLM runs as a separate program in its own session, and the whole session is ended with it: its workers would outlive us
and hold the GPU.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import shlex
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from hearthwatch.cli.supervisor import POLL_SECONDS, ChildProcess, stop_event
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import masked, settings
from hearthwatch.sources.gpu_stats import Reading, open_card
from hearthwatch.stages.crops import PICTURES_MAX
from hearthwatch.stages.llm_client import READS, Client, NemotronError

DEFAULT_URL = "http://127.0.0.1:8002"
DEFAULT_MODEL = "nvidia/NVIDIA-Nemotron-3-Nano-4B-BF16"  # fits a card of 24 GB
READY_SECONDS_MAX = 3600.0  # the first start downloads the weights
ASK_SECONDS = 0.5
REPORT_SECONDS = 15.0
STOP_SECONDS_MAX = 6.0  # then it is killed; `hearthwatch run` has 9 s for all its parts
PROFILES = {
    "nano-4b": DEFAULT_MODEL,
    "nano-30b": "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-FP8",
    "omni": "nvidia/Nemotron-3-Nano-Omni-30B-A3B-Reasoning-FP8",
    "nano-12b-vl": "nvidia/NVIDIA-Nemotron-Nano-12B-v2-VL-FP8",
    "qwen3-vl": "Qwen/Qwen3-VL-8B-Instruct",
}
"""Short names of models; the last three read pictures."""
FLAGS = (
    *("--max-model-len", "8192"),
    *("--structured-outputs-config", '{"backend":"guidance","disable_any_whitespace":true}'),
    "--enable-prompt-tokens-details",
)
FAMILY_FLAGS = {
    # Hybrids keep no prefix cache unless they are asked to.
    r"nemotron-(3|nano-.*v2)": ("--enable-prefix-caching", "--mamba-cache-mode", "align"),
    # On another family it leaves the answer's content empty.
    r"nemotron-3": ("--reasoning-parser", "nemotron_v3"),
    r"omni|-vl\b": ("--limit-mm-per-prompt", f'{{"image":{PICTURES_MAX},"video":0}}'),
    r"v2-vl": ("--trust-remote-code",),
}
"""Part of a model's name → what it needs besides."""
SHARE_MAX = 0.9  # of the card's memory: vLLM's own default
DETECTOR_BYTES, PICTURE_BYTES = 2 << 30, 64 << 20  # of a card, for the detector: itself, and each picture of a batch
DETECTED_AT_ONCE = 32  # unless HEARTHWATCH_DETECT_BATCH_MAX is set
QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
OTHERS = typer.Argument(help="More options for `vllm serve`, behind `--`; of an option given twice, theirs counts.")


def llm(
    others: Annotated[list[str] | None, OTHERS] = None,
    model: Annotated[
        str, typer.Option(help=f"{', '.join(PROFILES)}, a hub id, or a folder with a model.")
    ] = DEFAULT_MODEL,
) -> None:
    """Start a vLLM server at NEMOTRON_URL, wait until it answers, prove that it enforces schemas; Ctrl-C ends it."""
    url = settings().nemotron_url or DEFAULT_URL
    host, port = address(url)
    command = [*program(), "serve", PROFILES.get(model, model)]
    command += ["--served-model-name", settings().hearthwatch_nemotron_model, "--host", host, "--port", str(port)]
    command += [*flags(PROFILES.get(model, model)), *card_flags(open_card(0)()), *(others or ())]
    print(shlex.join(command), flush=True)
    with stop_event() as stop, vllm_server(command) as server:
        if wait_until_ready(server, url, stop):
            can = prove(url)
            print(f"ready at {masked('NEMOTRON_URL', url)}: it answers, keeps to schemas, and {can}", flush=True)
            if not settings().nemotron_url:
                print(f"NEMOTRON_URL is not set: set NEMOTRON_URL={url} for the pipeline to use it", flush=True)
            while server.is_running() and not stop.wait(POLL_SECONDS):
                pass
        if not stop.is_set():
            raise failure(f"vllm ended with exit code {server.process.wait()}; the reason is above")


def flags(model: str) -> list[str]:
    """Return the options that this model needs, by its name."""
    needs = (some for pattern, some in FAMILY_FLAGS.items() if re.search(pattern, Path(model).name, re.IGNORECASE))
    return [*FLAGS, *(flag for some in needs for flag in some)]


def card_flags(card: Reading | None) -> list[str]:
    """Leave the detector what it needs of the first card, if it runs there: vLLM alone would take 90 % of it."""
    s = settings()
    if card is None or s.rtdetr_url or s.hearthwatch_device not in ("auto", "cuda", "cuda:0"):
        return []
    needs = DETECTOR_BYTES + PICTURE_BYTES * (s.hearthwatch_detect_batch_max or DETECTED_AT_ONCE)
    share = min(SHARE_MAX, 1 - max(needs, card.memory_used) / card.memory_total)
    return ["--gpu-memory-utilization", f"{math.floor(max(0.0, share) * 100) / 100:g}"]


def failure(words: str) -> typer.Exit:
    """Print what went wrong while it ran; exit code 1."""
    print(words, file=sys.stderr, flush=True)
    return typer.Exit(1)


def program() -> list[str]:
    """Return the vllm command: HEARTHWATCH_VLLM, else `vllm` on the path.

    Raises:
        UserError: there is none.
    """
    own = shlex.split(os.environ.get("HEARTHWATCH_VLLM", ""))
    name = own[0] if own else "vllm"
    if not shutil.which(name):
        missing = (
            f"HEARTHWATCH_VLLM = {shlex.join(own)}: there is no such program" if own else "there is no `vllm` here"
        )
        raise UserError(
            f"{missing}; make a separate virtual environment for it (vLLM pins its own torch), `pip install vllm` there, "
            "and set HEARTHWATCH_VLLM=/path/to/venv/bin/vllm"
        )
    return own or [name]


def address(url: str) -> tuple[str, int]:
    """Return host and port to serve at.

    Raises:
        UserError: they are not of this machine, or not free.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    name = masked("NEMOTRON_URL", url)
    if parts.scheme != "http":
        raise UserError(f"NEMOTRON_URL = {name}: `vllm serve` speaks http here; start it yourself behind your own TLS")
    try:
        family, kind, protocol, _, bindable = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(bindable)
    except socket.gaierror as error:
        raise UserError(f"NEMOTRON_URL = {name}: {host}: {error.strerror}") from None
    except OSError as error:
        raise UserError(
            f"NEMOTRON_URL = {name}: cannot serve there: {error.strerror}; is a server running there already, or is it another machine?"
        ) from None
    return host, port


@contextmanager
def vllm_server(command: list[str]) -> Iterator[ChildProcess]:
    """Run the server in its own session; at the end none of its workers is left."""
    server = ChildProcess("vllm", command, env={**QUIET, **os.environ}, new_session=True)
    try:
        yield server
    finally:
        server.stop(STOP_SECONDS_MAX)
        try:
            os.killpg(server.process.pid, signal.SIGKILL)  # its workers, which would keep the GPU
        except ProcessLookupError:
            pass


def wait_until_ready(server: ChildProcess, url: str, stop: threading.Event) -> bool:
    """Wait until it answers; False: it ended, or `stop` was set first."""
    began = reported = time.monotonic()
    while server.is_running() and not stop.wait(ASK_SECONDS):
        if asyncio.run(_is_alive(url)):
            return True
        if time.monotonic() - reported > REPORT_SECONDS:
            reported = time.monotonic()
            print(f"still loading after {reported - began:.0f} s", flush=True)
        if time.monotonic() - began > READY_SECONDS_MAX:
            raise failure(f"no answer at {masked('NEMOTRON_URL', url)} within {READY_SECONDS_MAX:.0f} s")
    return False


def prove(url: str) -> str:
    """Check that the server keeps the model to a schema: without that no verdict could be trusted. Say whether it reads pictures."""
    try:
        enforced, reads = asyncio.run(_probe(url))
    except NemotronError as error:
        raise failure(f"the server is up but does not answer a question: {error}") from None
    if not enforced:
        raise failure(
            "the server ignores `response_format`: a word that the schema demands did not come back; use a vLLM of 0.12 or "
            "newer without a plug-in that turns structured outputs off"
        )
    return READS[reads]


async def _is_alive(url: str) -> bool:
    client = Client(url, settings().hearthwatch_nemotron_model)
    try:
        return await client.is_alive()
    finally:
        await client.close()


async def _probe(url: str) -> tuple[bool, bool | None]:
    client = Client(url, settings().hearthwatch_nemotron_model, settings().hearthwatch_nemotron_timeout_seconds)
    try:
        return await client.enforces_schemas(), await client.reads_pictures()
    finally:
        await client.close()
