"""Start, watch, restart and stop the child processes of `run`, `demo`, `backfill` and `llm`.

A child gets its own process group, so that Ctrl-C reaches only this process, and SIGTERM when this process dies, however
it dies. What dies under `supervise` is started again, after a second at first, after half a minute at most.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from hearthwatch import ROOT
from hearthwatch.record import Record, RecordError, acquire_lock, now
from hearthwatch.schemas.errors import UserError

PIPELINE = [sys.executable, "-m", "bytewax.run", "flow"]
API = [sys.executable, "-P", "-m", "hearthwatch.api"]  # -P: not a folder `hearthwatch` of the working folder

BACKOFF_SECONDS, BACKOFF_SECONDS_MAX = 1.0, 30.0
STABLE_SECONDS = 60.0  # after running this long a process is restarted quickly again
STOP_SECONDS_MAX = 15.0  # the pipeline promises 5 s
POLL_SECONDS = 0.1
LOG_LINES_SHOWN = 12
MISUSED = 2
STOPPED = (0, -signal.SIGTERM)  # exit codes after SIGTERM; the second: before a handler was set, and of web servers
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None)


def with_package_path(environ: Mapping[str, str]) -> dict[str, str]:
    """Return these variables with the folder of `hearthwatch` and `flow` on PYTHONPATH."""
    return {**environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), environ.get("PYTHONPATH"))))}


class ChildProcess:
    """A process, started when this is made; its output goes to `log`, else to our own."""

    def __init__(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None,
        log: Path | None = None, new_session: bool = False,
    ) -> None:  # fmt: skip
        self.name, self.log, self.started_at = name, log, now()
        output = log.open("wb") if log else None
        try:
            self.process = subprocess.Popen(
                command, cwd=cwd, env=with_package_path(os.environ) if env is None else env, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT if output else None,
                process_group=None if new_session else 0, start_new_session=new_session, preexec_fn=_end_with_parent,
            )  # fmt: skip
        finally:
            if output:
                output.close()

    def __enter__(self) -> ChildProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def is_running(self) -> bool:
        return self.process.poll() is None

    def is_ready(self, record: Record) -> bool:
        """Whether this pipeline works: its first heartbeat comes when the model is loaded."""
        beat = "SELECT 1 FROM heartbeat WHERE pid = ? AND at >= ?"
        return record.one(beat, self.process.pid, self.started_at) is not None

    def check(self) -> None:
        """Check that it runs.

        Raises:
            UserError: it has ended; with the end of its log.
        """
        if not self.is_running():
            raise UserError(f"the {self.name} has ended:\n{self.last_lines()}")

    def wait_until(self, is_ready: Callable[[], bool], stop: threading.Event, seconds_max: float) -> bool:
        """Wait until `is_ready`; False: `stop` was set first.

        Raises:
            UserError: it ended, or took too long; with the end of its log.
        """
        deadline = time.monotonic() + seconds_max
        while not is_ready():
            if not self.is_running() or time.monotonic() > deadline:
                raise UserError(f"the {self.name} did not start:\n{self.last_lines()}")
            if stop.wait(POLL_SECONDS):
                return False
        return True

    def last_lines(self) -> str:
        """Return the end of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log else []
        return "\n".join(lines[-LOG_LINES_SHOWN:])

    def stop(self, seconds_max: float = STOP_SECONDS_MAX) -> int:
        """Stop it with SIGTERM, else kill it, and return its exit code."""
        self.process.terminate()
        return self.wait(time.monotonic() + seconds_max)

    def wait(self, deadline: float) -> int:
        """Wait until it has ended, kill it at the deadline (monotonic seconds), and return its exit code."""
        try:
            return self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            print(f"{self.name} does not end: killed", flush=True)
            self.process.kill()
            return self.process.wait()


Commands = Callable[[], list[Sequence[str]]]


class RestartedProcess:
    """A process, or several that only work together, restarted when one dies."""

    def __init__(self, name: str, command: Sequence[str] | Commands) -> None:
        """`command`: of the process, or what returns those of each of several."""
        self.name = name
        self.commands: Commands = command if callable(command) else lambda: [command]
        self.done = False
        """It has ended by itself and is not to be restarted."""
        self.code: int | None = None
        self.children: list[ChildProcess] = []
        self._backoff_seconds = BACKOFF_SECONDS
        self._started = self._due = 0.0

    def start(self, now: float) -> None:
        self._started, self.children = now, [ChildProcess(self.name, command) for command in self.commands()]
        pids = ", ".join(str(child.process.pid) for child in self.children)
        self._report(f"started, pid {pids}")

    def step(self, now: float) -> None:
        """See whether it still runs; restart it when it is due. `now`: monotonic seconds."""
        if not self.children:
            if not self.done and now >= self._due:
                self.start(now)
            return
        codes = [code for child in self.children if (code := child.process.poll()) is not None]
        if any(codes) or len(codes) == len(self.children):
            for child in self.children:
                child.process.kill()  # what was not done by then comes again
                child.process.wait()
            self.children, self.code = [], MISUSED if MISUSED in codes else next(filter(None, codes), 0)
            self._plan_restart(self.code, now)

    def _plan_restart(self, code: int, now: float) -> None:
        if code in (0, MISUSED):
            self.done = True
            self._report("has ended" if code == 0 else "cannot run like this (exit code 2): its reason is above")
            return
        if now - self._started > STABLE_SECONDS:
            self._backoff_seconds = BACKOFF_SECONDS
        how = f"exit code {code}" if code > 0 else signal.Signals(-code).name
        self._report(f"died ({how}) after {now - self._started:.0f} s; restart in {self._backoff_seconds:g} s")
        self._due = now + self._backoff_seconds
        self._backoff_seconds = min(self._backoff_seconds * 2, BACKOFF_SECONDS_MAX)

    def terminate(self) -> None:
        for child in self.children:
            child.process.terminate()

    def wait(self, deadline: float) -> bool:
        """Wait until it has ended, kill it at the deadline; whether it ended well."""
        codes = [child.wait(deadline) for child in self.children] or [self.code or 0]
        if self.children and (bad := [code for code in codes if code not in STOPPED]):
            self._report(f"ended with exit code {bad[0]}")
        return all(code in (STOPPED if self.children else (0,)) for code in codes)

    def _report(self, words: str) -> None:
        print(f"{self.name} {words}", flush=True)


def supervise(processes: Sequence[RestartedProcess], stop: threading.Event, stop_seconds_max: float) -> int:
    """Keep these running until `stop`, until one cannot run (exit code 2) or all have ended; return the exit code."""
    for process in processes:
        process.start(time.monotonic())
    try:
        while not stop.wait(POLL_SECONDS) and not all(process.done for process in processes):
            for process in processes:
                process.step(time.monotonic())
            if any(process.code == MISUSED for process in processes):
                return MISUSED
    finally:
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + stop_seconds_max
        ended_well = [process.wait(deadline) for process in processes]
    return 0 if all(ended_well) else 1


def is_pipeline_running(record_path: Path, data_dir: Path) -> bool:
    """Whether a pipeline holds the locks of this record or data folder.

    Raises:
        RecordError: the lock cannot be tried.
    """
    try:
        acquire_lock("see", record_path, data_dir).release()
    except RecordError as error:
        if isinstance(error.__cause__, BlockingIOError):
            return True
        raise
    return False


@contextmanager
def stop_event() -> Iterator[threading.Event]:
    """Make an event that is set by Ctrl-C, SIGTERM or a closed terminal."""
    stop = threading.Event()

    def handler(number: int, frame: FrameType | None) -> None:
        stop.set()

    handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # `nohup` stays in force
    before = {number: signal.signal(number, handler) for number in handled}
    try:
        yield stop
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _end_with_parent() -> None:
    """In the child: ask Linux for SIGTERM when the parent dies."""
    if sys.platform == "linux":
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
