"""`hearthwatch run`: the pipeline and what belongs to it, each as a process, kept running until they are told to stop.

A part that dies is started again, at first after a second, later after half a minute at most; nothing is lost meanwhile,
since uploads wait on disk and events in the record. A part that ends with exit code 2 was misconfigured: starting it
again would not help, so everything ends and the mistake stands last. If this process is killed, its parts end, too.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from types import FrameType
from typing import Annotated

import typer

from hearthwatch import ROOT
from hearthwatch.flows.graph import configured
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import settings

BACKOFF_SECONDS, BACKOFF_SECONDS_MAX = 1.0, 30.0
WELL_SECONDS = 60.0  # a part that ran this long is well again: the next start comes soon
STOP_SECONDS_MAX = 9.0  # together with Python's own start and end, a stop takes less than 10 s
LOOK_SECONDS = 0.1
MISUSED = 2
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

LLM = typer.Option("--llm", help="Start a language model server as well, as `hearthwatch llm` does.")


def run(
    llm: Annotated[bool, LLM] = False,
    model: Annotated[str | None, typer.Argument(help="With --llm: a hub id, or a folder with a model.")] = None,
) -> None:
    """Run the pipeline and what belongs to it, and keep it running; Ctrl-C stops all of it."""
    if model and not llm:
        raise UserError(f"{model}: a model is for `--llm {model}`")
    if llm:
        _use_our_own_llm()
    for name, reason in configured().off().items():
        print(f"{name} is off: {reason}", flush=True)
    with told_to_stop() as stop:
        code = supervise([Part(name, command) for name, command in commands(llm, model)], stop)
    raise typer.Exit(code)


def commands(llm: bool, model: str | None) -> Iterator[tuple[str, list[str]]]:
    """What has to run: names and command lines."""
    ours = [
        sys.executable,
        "-P",
        "-m",
        "hearthwatch.cli",
    ]  # -P: a folder `flows` where somebody happens to be is not ours
    yield "pipeline", [sys.executable, "-m", "bytewax.run", "flow"]
    if find_spec("hearthwatch.cli.api"):
        yield "api", [*ours, "api"]
    if llm:
        yield "llm", [*ours, "llm", *(("--model", model) if model else ())]


def supervise(parts: Sequence[Part], stop: threading.Event) -> int:
    """Keep these running until `stop`, a misused one or the end of all; then end them. -> exit code of the whole."""
    for part in parts:
        part.start()
    try:
        while not stop.wait(LOOK_SECONDS) and not all(part.done for part in parts):
            for part in parts:
                part.look(time.monotonic())
            if any(part.code == MISUSED for part in parts):
                return MISUSED
    finally:
        clean = _end(parts)
    return 0 if clean else 1


def _end(parts: Sequence[Part]) -> bool:
    """End all at once; True: each of them ended by itself, in time and with exit code 0."""
    for part in parts:
        part.terminate()
    deadline = time.monotonic() + STOP_SECONDS_MAX
    ended_well = [part.wait(deadline) for part in parts]
    return all(ended_well)


class Part:
    """One process that is wanted."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name, self.command = name, command
        self.done = False
        """It has ended by itself and is not wanted any more."""
        self.code: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._backoff = BACKOFF_SECONDS
        self._began = self._due = 0.0

    def start(self) -> None:
        paths = (str(ROOT), os.environ.get("PYTHONPATH"))
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            self.command,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
            stdin=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C is for us: each part is told once, and in the same way as by SIGTERM
            preexec_fn=end_with_us,
        )
        self._tell(f"started, pid {self._process.pid}")

    def look(self, now: float) -> None:
        """See whether it still runs; start it again when it is time to."""
        if self._process is None:
            if not self.done and now >= self._due:
                self.start()
        elif (code := self._process.poll()) is not None:
            self._process, self.code = None, code
            self._ended(code, now)

    def _ended(self, code: int, now: float) -> None:
        if code in (0, MISUSED):
            self.done = True
            self._tell("has ended" if code == 0 else "cannot run like this (exit code 2): its reason is above")
            return
        if now - self._began > WELL_SECONDS:
            self._backoff = BACKOFF_SECONDS
        how = f"exit code {code}" if code > 0 else signal.Signals(-code).name
        self._tell(f"died ({how}) after {now - self._began:.0f} s; it is started again in {self._backoff:g} s")
        self._due = now + self._backoff
        self._backoff = min(self._backoff * 2, BACKOFF_SECONDS_MAX)

    def terminate(self) -> None:
        if self._process:
            self._process.terminate()

    def wait(self, deadline: float) -> bool:
        """Until it has ended, by force after the deadline; True: it ended well."""
        if self._process is None:
            return not self.code
        try:
            code = self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._tell("does not end: killed")
            self._process.kill()
            code = self._process.wait()
        well = code in (
            0,
            -signal.SIGTERM,
        )  # told to stop before it was listening, or, as web servers do, by that signal
        if not well:
            self._tell(f"ended with exit code {code}")
        return well

    def _tell(self, words: str) -> None:
        print(f"{self.name} {words}", flush=True)


def _use_our_own_llm() -> None:
    """Unless it is said otherwise, the pipeline asks the server that we start."""
    if settings().nemotron_url is None:
        from hearthwatch.cli.llm import DEFAULT_URL

        os.environ["NEMOTRON_URL"] = DEFAULT_URL
        settings.cache_clear()


_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def end_with_us() -> None:
    """In the child: be told to stop when the supervisor dies, however it dies; Linux can do that."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def told_to_stop() -> Iterator[threading.Event]:
    """An event that is set by Ctrl-C, SIGTERM or a closed terminal."""
    stop = threading.Event()

    def handler(number: int, frame: FrameType | None) -> None:
        stop.set()

    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # `nohup` stays in force
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield stop
    finally:
        for number, old in before.items():
            signal.signal(number, old)
