"""`hearthwatch demo`: drawn cameras upload pictures, the whole real pipeline judges them, its events are printed.

Only the pictures are made up. The pipeline is `python -m bytewax.run flow` with default settings and the built-in graph;
`.env` and the environment are ignored. Everything is kept in `./demo-data`, over many runs.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from hearthwatch.cli.supervisor import API, PIPELINE, POLL_SECONDS, STOPPED, ChildProcess, stop_event, with_package_path
from hearthwatch.demo.uploader import Uploader, schedule
from hearthwatch.record import Record
from hearthwatch.record.cameras import add_camera, edit_camera
from hearthwatch.record.feed import Feed
from hearthwatch.record.paths import escape
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.messages import AnyMessage, IncidentMessage, ItemMessage, SystemMessage
from hearthwatch.schemas.settings import variables

HOME = Path("demo-data")

READY_SECONDS_MAX = 180.0  # a first import of torch from a slow disk takes a minute
LAST_STORY_SECONDS = 42  # an event closes 35 s after its last detection: stories end this long before the demo does
DECIDED_SECONDS_MAX = 30.0  # for pictures uploaded last; a picture takes 0.03 s
MESSAGES_AT_ONCE = 100
PICTURES = (".jpg", ".jpeg", ".png")
# Stories begin without end: were all cameras neighbours, they would be one incident.
NEIGHBOURS: dict[str, list[str]] = {"front_door": ["driveway"], "driveway": [], "back_yard": [], "street": []}


def demo(
    seconds: Annotated[int | None, typer.Option(min=5, help="End after so many seconds; else at Ctrl-C.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the page is, on this machine alone.")] = 8000,
) -> None:
    """Show the real pipeline at work on drawn cameras' uploads; data in ./demo-data, `.env` is ignored."""
    run = DemoRun.open(HOME)
    with stop_event() as stop, run.start_page(port) as page, run.start_pipeline() as pipeline:
        print(f"Starting the pipeline; its log is {pipeline.log}", flush=True)
        if not page.wait_until(lambda: _is_listening(page), stop, READY_SECONDS_MAX):
            return
        if not pipeline.wait_until(lambda: pipeline.is_ready(run.record), stop, READY_SECONDS_MAX):
            return
        print("Four drawn cameras upload pictures now; everything else is real. Ctrl-C ends it.")
        print(f"The page: http://127.0.0.1:{port}\n", flush=True)
        uploader = Uploader(run.uploads, schedule(stories_until=_last_story(seconds)), datetime.now())
        began = time.monotonic()
        last_seq = run.play(uploader, pipeline, stop, until=began + (seconds or float("inf")))
        took = time.monotonic() - began
        died = [child for child in (pipeline, page) if not child.is_running()]
        failed = [child for child in (pipeline, page) if child.stop() not in STOPPED or child in died]
        run.print_messages(last_seq)
    balance = run.balance()
    print(f"\n{balance.text(took, uploader.uploaded)}\nThe record: {run.record.path}", flush=True)
    if uploader.error:
        raise UserError(f"{run.uploads}: {uploader.error.strerror}: pictures cannot be uploaded there")
    for child in failed:
        print(f"The {child.name} ended with exit code {child.stop()}:\n{child.last_lines()}", file=sys.stderr)
    if failed or not balance.adds_up(uploader.uploaded):
        raise typer.Exit(1)


def _is_listening(page: ChildProcess) -> bool:
    return page.log is not None and b"http://" in page.log.read_bytes()


def _last_story(seconds: int | None) -> float:
    """Stop starting stories in time for their events to close; a short demo has stories for most of it."""
    return max(seconds - LAST_STORY_SECONDS, seconds * 0.8) if seconds else float("inf")


class DemoRun(NamedTuple):
    """The demo's folder: the upload tree, the record, and how far the record was when this run began."""

    home: Path
    uploads: Path
    record: Record
    feed: Feed
    last_frame: int
    last_seq: int

    @classmethod
    def open(cls, home: Path) -> DemoRun:
        """Make the folder as needed.

        Raises:
            UserError: it cannot be used.
        """
        uploads = home / "uploads"
        try:
            uploads.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{home.resolve()}: {error.strerror}; the demo keeps its data there: start it in a folder you can write to"
            ) from error
        record = Record(home / "hearthwatch.db")
        for camera, near in NEIGHBOURS.items():
            folder = camera.replace("_", " ").title()
            if add_camera(record, camera, folder, folder, "online", None):
                edit_camera(record, camera, {"neighbours": json.dumps(near)})
        feed, last_frame = Feed(record), record.one("SELECT coalesce(max(id), 0) FROM frames")[0]
        return cls(home, uploads, record, feed, last_frame, feed.last())

    def start_pipeline(self) -> ChildProcess:
        return self._start("pipeline", PIPELINE, {})

    def start_page(self, port: int) -> ChildProcess:
        """Start the read API and its page, on loopback."""
        return self._start("page", API, {"HEARTHWATCH_API_PORT": str(port)})

    def _start(self, name: str, command: list[str], settings: dict[str, str]) -> ChildProcess:
        env = environment(self.home, os.environ) | settings
        return ChildProcess(name, command, env=env, cwd=self.home, log=self.home / f"{name}.log")  # no `.env` there

    def play(self, uploader: Uploader, pipeline: ChildProcess, stop: threading.Event, until: float) -> int:
        """Upload until it is time or something ends it, then wait until all is decided; -> the last `seq` printed."""
        seq = self.last_seq
        uploader.start()
        while time.monotonic() < until and pipeline.is_running() and not uploader.error and not stop.wait(POLL_SECONDS):
            seq = self.print_messages(seq)
        uploader.stop()
        stop.clear()  # a second Ctrl-C ends the wait for what was uploaded last
        until = time.monotonic() + DECIDED_SECONDS_MAX
        while self.is_waiting(uploader.uploaded) and time.monotonic() < until and pipeline.is_running():
            if stop.wait(POLL_SECONDS):
                break
            seq = self.print_messages(seq)
        return seq

    def print_messages(self, seq: int) -> int:
        """Print what the feed has behind `seq`; -> the last `seq` printed."""
        while messages := self.feed.after(seq, MESSAGES_AT_ONCE):
            for message in messages:
                if not isinstance(message, ItemMessage):  # the demo has no journal
                    print(line(message, datetime.now()), flush=True)
            seq = messages[-1].seq
        return seq

    def is_waiting(self, uploaded: int) -> bool:
        """Whether a picture of this run is not decided yet, or not even found."""
        states = self.states()
        return states["discovered"] > 0 or sum(states.values()) < uploaded

    def states(self) -> dict[str, int]:
        """Count this run's frames by state."""
        rows = self.record.rows("SELECT state, count(*) FROM frames WHERE id > ? GROUP BY state", self.last_frame)
        return {"settled": 0, "discovered": 0, "quarantined": 0} | dict(rows)

    def balance(self) -> Balance:
        """Add up this run; of the whole record, whether files, rows and counters agree."""
        mine, one, counters = (self.last_frame,), self.record.one, self.record.counters()
        of_events = (
            "SELECT status, count(*) FROM events WHERE status <> 'merged' AND id IN"
            " (SELECT event_id FROM frames WHERE id > ? UNION SELECT event_id FROM feed WHERE seq > ? AND kind = 'event') GROUP BY status"
        )
        return Balance(
            states=self.states(),
            detections=one("SELECT count(*) FROM detections WHERE frame_id > ?", *mine)[0],
            detect_ms=one("SELECT coalesce(avg(detect_ms), 0) FROM frames WHERE id > ?", *mine)[0],
            events=dict(self.record.rows(of_events, *mine, self.last_seq)),
            rows=one("SELECT count(*) FROM frames")[0],
            counted=sum(counters[state] for state in self.states()),
            unknown=len(self._files() - {path for (path,) in self.record.rows("SELECT path FROM frames")}),
        )

    def _files(self) -> set[str]:
        found = (path for path in self.uploads.rglob("[!.]*") if path.suffix.lower() in PICTURES and path.is_file())
        return {escape(os.fsencode(path.relative_to(self.uploads))) for path in found}


class Balance(NamedTuple):
    """The sums of a run."""

    states: Mapping[str, int]
    detections: int
    detect_ms: float
    events: Mapping[str, int]
    rows: int
    counted: int
    unknown: int
    """Picture files that have no row."""

    def adds_up(self, uploaded: int) -> bool:
        """Every file has a row, every row a state, and the counters say the same."""
        return not self.unknown and self.rows == self.counted and sum(self.states.values()) >= uploaded

    def text(self, seconds: float, uploaded: int) -> str:
        pictures, states = sum(self.states.values()), self.states
        ledger = (
            f"{states['settled']} settled + {states['discovered']} discovered + {states['quarantined']} quarantined"
        )
        verdict = "adds up" if self.adds_up(uploaded) else self._gap()
        still_open = self.events.get("open", 0)
        return (
            f"pictures    {pictures}, {pictures / seconds:.1f}/s over {seconds:.0f} s, {self.detect_ms:.0f} ms each to detect\n"
            f"detections  {self.detections}\n"
            f"events      {sum(self.events.values())}" + (f", {still_open} still open" if still_open else "") + "\n"
            f"ledger      {uploaded} uploaded, {pictures} taken in = {ledger}: {verdict}"
        )

    def _gap(self) -> str:
        return f"DOES NOT ADD UP: {self.unknown} files without a row, {self.rows} rows, {self.counted} counted"


def environment(home: Path, ours: Mapping[str, str]) -> dict[str, str]:
    """Return the pipeline's environment: ours without any setting, and the demo's."""
    settings = {variable.name for variable in variables()}
    others = {
        name: value
        for name, value in ours.items()
        if name.upper() not in settings and not name.upper().startswith(("HEARTHWATCH_", "BYTEWAX_"))
    }
    device = ours.get("HEARTHWATCH_DEVICE", "")
    return with_package_path(others) | {
        "FOSCAM_BASE_PATH": str(home.resolve() / "uploads"),
        "HEARTHWATCH_DATA_DIR": str(home.resolve()),
        "HEARTHWATCH_DETECTOR_MODEL": "yard",
        "HEARTHWATCH_DEVICE": device if device.startswith("cuda") else "cpu",
        "HF_HUB_OFFLINE": "1",  # the model is packaged
        "OMP_NUM_THREADS": "1",  # 20 ms a picture on one thread, which is four times what the cameras need
        "PYTHONUNBUFFERED": "1",
    }


def line(message: AnyMessage, at: datetime) -> str:
    """Write a message as `12:03:07  Front Door    opened   low 12    1 person at the front door, 12:03`."""
    if isinstance(message, SystemMessage):
        return f"{at:%H:%M:%S}  {message.severity:<12}  {message.message}"
    if isinstance(message, IncidentMessage):
        incident, names = message.incident, ", ".join(message.incident.camera_names)
        return f"{at:%H:%M:%S}  {names:<12}  {message.type}  {incident.risk_level} {incident.risk_score}  {incident.summary}"
    event, verdict = message.event, message.event.verdict
    what = message.type.removeprefix("event.")
    risk = f"{verdict.risk_level} {verdict.risk_score}"
    return f"{at:%H:%M:%S}  {event.camera_name:<12}  {what:<8}  {risk:<11}  {verdict.summary}"
