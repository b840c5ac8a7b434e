"""`hearthwatch backfill`: old pictures through the same graph, at full speed, beside live ones or alone.

With a pipeline running it only enqueues and watches; alone it runs the pipeline itself until the last event is closed.
Interrupt it whenever you like: the same command goes on where it was.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from hearthwatch import ROOT
from hearthwatch.cli.run import end_with_us, told_to_stop
from hearthwatch.flows.graph import Graph, configured
from hearthwatch.record import Record, RecordError, hold, now
from hearthwatch.record.ledger import Ledger
from hearthwatch.schemas.errors import UserError
from hearthwatch.sources.backfill import Feeder, Old, Search, unknown
from hearthwatch.sources.files import Files
from hearthwatch.stages.batch import Batch

LOOK_SECONDS = 0.1
READY_SECONDS_MAX = 600.0  # a first start may download its model
AWAY_SECONDS_MAX = 60.0  # a pipeline that we only feed may be started again meanwhile
STOPPED_SECONDS_MAX = 15.0  # it promises 5 s
LOG_LINES_SHOWN = 12


def backfill(
    folder: Annotated[Path, typer.Argument(help="A folder of old pictures, in it a folder for each camera.")],
    camera: Annotated[str | None, typer.Option(help="All pictures are this camera's.")] = None,
) -> None:
    """Take old pictures in, in the order in which they were taken; names and EXIF say when. Can be interrupted."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: name one with old pictures in it")
    graph = configured()
    files = next((node.component for node in graph.nodes.values() if isinstance(node.component, Files)), None)
    if files is None:
        raise UserError("the flow has no `files` node: nothing would take the pictures in")
    record = Record(files.record_path)
    search = Search(folder, files, camera)
    console = Console(stderr=True)
    with console.status("looking for pictures"):
        found = list(search)
        new = unknown(Ledger(record), found)
    _say_what_is_left_out(search, len(found))
    print(f"{len(found)} pictures in {folder}, {len(found) - len(new)} of them known already", flush=True)
    begun = Counts(record)
    with told_to_stop() as stop:
        finished = not new or Run(record, files, graph, stop, console).all(new)
    print(begun.text())
    if not finished:
        print("interrupted: the same command goes on from here")
    if not finished or search.homeless or search.unreadable:
        raise typer.Exit(1)


def _say_what_is_left_out(search: Search, found: int) -> None:
    for line in search.unreadable:
        print(f"cannot be read: {line}", file=sys.stderr)
    if search.homeless:
        words = f"{len(search.homeless)} pictures are in no camera's folder ({os.fsdecode(search.homeless[0])}): say whose they are with --camera NAME"
        if not found:
            raise UserError(words)
        print(words, file=sys.stderr)


class Counts:
    """What the record gains."""

    def __init__(self, record: Record) -> None:
        self.record, self.before = record, record.counters()

    def text(self) -> str:
        after = self.record.counters()
        gained = {name: after[name] - self.before[name] for name in ("settled", "quarantined", "detections", "events")}
        (pending,) = self.record.one("SELECT count(*) FROM events WHERE analysis_status = 'pending'")
        return ", ".join(f"{count} {name}" for name, count in gained.items()) + (
            f"; {pending} events wait for the language model, which goes on whenever the pipeline runs"
            if pending
            else ""
        )


class Run:
    """One backfill, from the first picture to the last event."""

    def __init__(self, record: Record, files: Files, graph: Graph, stop: threading.Event, console: Console) -> None:
        self.record, self.files, self.stop = record, files, stop
        batch = next((node.component for node in graph.nodes.values() if isinstance(node.component, Batch)), Batch())
        self.closed_seconds = batch.idle_timeout_seconds + batch.lateness_seconds + 10
        self.progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.0f}/s"), TimeRemainingColumn(), console=console,
        )  # fmt: skip

    def all(self, pictures: Sequence[Old]) -> bool:
        """Whether it came to its end; False: it was interrupted."""
        feeder, began = Feeder(self.record, pictures), time.monotonic()
        with self.progress, self._pipeline() as ours:
            task = self.progress.add_task("pictures", total=feeder.total, rate=0.0)
            if ours and not self._until(ours, "loading the model", lambda: ours.ready(self.record), READY_SECONDS_MAX):
                return False
            moved = time.monotonic()
            while not feeder.finished:
                if self.stop.wait(LOOK_SECONDS):
                    return False
                before = feeder.done
                feeder.step()
                self.progress.update(task, completed=feeder.done, rate=feeder.done / (time.monotonic() - began))
                moved = time.monotonic() if feeder.done > before else moved
                self._check(ours, moved)
            return not ours or self._until(ours, "closing the last events", self._is_closed, self.closed_seconds)

    @contextmanager
    def _pipeline(self) -> Iterator[Pipeline | None]:
        """One that we run, or None if somebody else does."""
        if _is_held(self.files):
            self.progress.console.print("a pipeline is running: it takes the pictures in between live ones")
            yield None
            return
        ours = Pipeline(self.files.data_dir)
        try:
            yield ours
        finally:
            ours.stop()

    def _until(self, ours: Pipeline, words: str, done: Callable[[], bool], seconds: float) -> bool:
        waiting = self.progress.add_task(words, total=None, rate=0.0)
        until = time.monotonic() + seconds
        while not done() and time.monotonic() < until:
            if self.stop.wait(LOOK_SECONDS):
                return False
            self._check(ours, time.monotonic())
        self.progress.remove_task(waiting)
        return True

    def _check(self, ours: Pipeline | None, moved: float) -> None:
        """Raises UserError if nobody works any more."""
        if ours:
            ours.check()
        elif time.monotonic() - moved > AWAY_SECONDS_MAX and not _is_held(self.files):
            raise UserError(
                "the pipeline that took the pictures in has ended: start it again, or run this command without it"
            )

    def _is_closed(self) -> bool:
        return self.record.one("SELECT 1 FROM events WHERE status = 'open' LIMIT 1") is None


class Pipeline:
    """`python -m bytewax.run flow` as a child that ends with us; what it says goes into a log."""

    def __init__(self, data_dir: Path) -> None:
        self.log, self.began = data_dir / "backfill.log", now()
        paths = (str(ROOT), os.environ.get("PYTHONPATH"))
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bytewax.run", "flow"],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C is for us
                preexec_fn=end_with_us,
            )  # fmt: skip

    def ready(self, record: Record) -> bool:
        """Whether it works: its first heartbeat comes when the model is loaded and the arrival clock is set."""
        row = record.one("SELECT 1 FROM heartbeat WHERE pid = ? AND at >= ?", self.process.pid, self.began)
        return row is not None

    def check(self) -> None:
        """Raises UserError with its last words if it has ended."""
        if self.process.poll() is not None:
            words = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
            raise UserError("the pipeline has ended:\n" + "\n".join(words))

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOPPED_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _is_held(files: Files) -> bool:
    """Whether a pipeline works on this record."""
    try:
        hold(files.data_dir, "see").release()
    except RecordError as error:
        if isinstance(error.__cause__, BlockingIOError):
            return True
        raise
    return False
