"""`hearthwatch backfill`: process old pictures with the same graph, at full speed, beside live ones or alone.

With a pipeline running it only enqueues and shows progress; else it runs the pipeline itself until the last event is closed.
After an interruption the same command continues where it was.
"""

from __future__ import annotations

import os
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

from hearthwatch.cli.cells import others
from hearthwatch.cli.supervisor import PIPELINE, POLL_SECONDS, ChildProcess, is_pipeline_running, stop_event
from hearthwatch.flows.graph import Graph, configured_graph
from hearthwatch.record import Record
from hearthwatch.record.cells import reads_camera
from hearthwatch.record.ledger import Ledger
from hearthwatch.record.paths import camera_id
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.path_rules import TimeFormat
from hearthwatch.sources.backfill import InboxFeeder, OldPicture, PictureSearch, find_unknown
from hearthwatch.sources.files import Files
from hearthwatch.stages.batch import Batch

READY_SECONDS_MAX = 600.0  # a first start may download its model
AWAY_SECONDS_MAX = 60.0  # a pipeline that is not ours may be restarting


def backfill(
    folder: Annotated[Path, typer.Argument(help="A folder of old pictures, in it a folder for each camera.")],
    camera: Annotated[str | None, typer.Option(help="All pictures are this camera's.")] = None,
    time_format: Annotated[
        list[str] | None,
        typer.Option(help="What paths say about time, as in HEARTHWATCH_TIME_FORMAT; may be repeated."),
    ] = None,
    accept_copy_times: Annotated[
        bool, typer.Option("--accept-copy-times", help="A picture without a time was taken when its file was modified.")
    ] = False,
) -> None:
    """Process old pictures in the order in which they were taken; formats, EXIF and names say when. Can be interrupted."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: name one with old pictures in it")
    graph = configured_graph()
    files = graph.first(Files)
    if files is None:
        raise UserError("the flow has no `files` node: nothing would take the pictures in")
    record = Record(graph.context.record_path)
    if others and not is_pipeline_running(record.path, graph.context.data_dir):  # it would take the others' pictures
        raise UserError("with several cells backfill works beside a pipeline: start `hearthwatch run` first")
    search = PictureSearch(folder, files, graph.context, camera, _formats(time_format or []))
    console = Console(stderr=True)
    with console.status("looking for pictures"):
        found = list(search)
        elsewhere = {
            c for c in {p.camera for p in found} if any(reads_camera(o.record_path, camera_id(c)) for o in others)
        }
        found = [picture for picture in found if picture.camera not in elsewhere]
        new = find_unknown(Ledger(record), found)
    if elsewhere:
        print(f"left for --cell of another cell: {', '.join(sorted(elsewhere))}", file=sys.stderr)
    _report_skipped(search, len(found))
    ignored = f", {search.ignored} files and folders ignored" if search.ignored else ""
    print(f"{len(found)} pictures in {folder}, {len(found) - len(new)} of them known already{ignored}", flush=True)
    left = [] if accept_copy_times else [picture for picture in new if not picture.has_time]
    if left:
        new = [picture for picture in new if picture.has_time]
        print(_no_time(left), file=sys.stderr)
    begun = Counts(record)
    with stop_event() as stop:
        finished = not new or Backfill(record, graph, stop, console).process_all(new)
    print(begun.text())
    if not finished:
        print("interrupted: the same command continues from here")
    if not finished or left or search.without_camera or search.unreadable:
        raise typer.Exit(1)


def _formats(texts: list[str]) -> list[TimeFormat]:
    try:
        return [TimeFormat(text) for text in texts]
    except ValueError as error:
        raise UserError(f"--time-format: {error}") from None


def _no_time(left: list[OldPicture]) -> str:
    some = "1 picture has" if len(left) == 1 else f"{len(left)} pictures have"
    return (
        f"{some} no time in EXIF or name, such as {left[0].path}: not taken in; give the pattern of their paths with "
        "--time-format, or use the times of the files with --accept-copy-times"
    )


def _report_skipped(search: PictureSearch, found: int) -> None:
    for line in search.unreadable:
        print(f"cannot be read: {line}", file=sys.stderr)
    if search.without_camera:
        words = f"{len(search.without_camera)} pictures are in no camera's folder ({os.fsdecode(search.without_camera[0])}): name their camera with --camera NAME"
        if not found:
            raise UserError(words)
        print(words, file=sys.stderr)


class Counts:
    """How many rows the record gains."""

    def __init__(self, record: Record) -> None:
        self.record, self.before = record, record.counters()

    def text(self) -> str:
        after = self.record.counters()
        gained = {name: after[name] - self.before[name] for name in ("settled", "quarantined", "detections", "events")}
        (pending,) = self.record.one(
            "SELECT count(*) FROM events WHERE status <> 'merged' AND analysis_status = 'pending'"
        )
        return ", ".join(f"{count} {name}" for name, count in gained.items()) + (
            f"; {pending} events wait for the language model, which judges them while the pipeline runs"
            if pending
            else ""
        )


class Backfill:
    """One backfill, from the first picture to the last event."""

    def __init__(self, record: Record, graph: Graph, stop: threading.Event, console: Console) -> None:
        self.record, self.data_dir, self.stop = record, graph.context.data_dir, stop
        batch = graph.options_of(Batch)
        self.closed_seconds = batch.idle_timeout_seconds + batch.lateness_seconds + 10
        self.progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.0f}/s"), TimeRemainingColumn(), console=console,
        )  # fmt: skip

    def process_all(self, pictures: Sequence[OldPicture]) -> bool:
        """Process all; False: it was interrupted."""
        feeder, began = InboxFeeder(self.record, pictures), time.monotonic()
        with self.progress, self._pipeline() as child:
            task = self.progress.add_task("pictures", total=feeder.total, rate=0.0)
            if child and not self._until(
                child, "loading the model", lambda: child.is_ready(self.record), READY_SECONDS_MAX
            ):
                return False
            moved = time.monotonic()
            while not feeder.is_finished:
                if self.stop.wait(POLL_SECONDS):
                    return False
                before = feeder.done
                feeder.step()
                self.progress.update(task, completed=feeder.done, rate=feeder.done / (time.monotonic() - began))
                moved = time.monotonic() if feeder.done > before else moved
                self._check(child, moved)
            return not child or self._until(child, "closing the last events", self._is_closed, self.closed_seconds)

    @contextmanager
    def _pipeline(self) -> Iterator[ChildProcess | None]:
        """Start a pipeline; None: one is running already."""
        if is_pipeline_running(self.record.path, self.data_dir):
            self.progress.console.print("a pipeline is running: it takes the pictures in between live ones")
            yield None
            return
        with ChildProcess("pipeline", PIPELINE, log=self.data_dir / "backfill.log") as child:
            yield child

    def _until(self, child: ChildProcess, words: str, done: Callable[[], bool], seconds: float) -> bool:
        waiting = self.progress.add_task(words, total=None, rate=0.0)
        until = time.monotonic() + seconds
        while not done() and time.monotonic() < until:
            if self.stop.wait(POLL_SECONDS):
                return False
            self._check(child, time.monotonic())
        self.progress.remove_task(waiting)
        return True

    def _check(self, child: ChildProcess | None, moved: float) -> None:
        """Check that a pipeline works.

        Raises:
            UserError: none does any more.
        """
        if child:
            child.check()
        elif time.monotonic() - moved > AWAY_SECONDS_MAX and not is_pipeline_running(self.record.path, self.data_dir):
            raise UserError(
                "the pipeline that took the pictures in has ended: start it again, or run this command without it"
            )

    def _is_closed(self) -> bool:
        return self.record.one("SELECT 1 FROM events WHERE status = 'open' LIMIT 1") is None
