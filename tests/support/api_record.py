"""A home whose record is filled through the real ledger and batching, pictures on disk, and a server on a free port."""

import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
from PIL import Image

from hearthwatch.gpu.decode import open_picture
from hearthwatch.record import Record, now
from hearthwatch.record.batching import Batching
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.record.paths import camera_id
from hearthwatch.record.verdicts import Verdicts
from hearthwatch.schemas import DeadLetter, Detected, Detection, Tick, Verdict
from hearthwatch.schemas.case import Facts
from hearthwatch.schemas.items import from_microseconds
from hearthwatch.schemas.settings import load, variables
from tests.support.judges import whole

S = 1_000_000
SECONDS_MAX = 20.0  # for what takes milliseconds, on a machine that may be very busy
LEVEL_OF = {"person": 70, "car": 10, "dog": 20, "package": 40, "bear": 95}


def judge(facts: Facts) -> Verdict:
    """By the worst thing seen; the text names all of them."""
    score = max(LEVEL_OF.get(s.object_type, 5) for s in facts.sightings)
    best = max(facts.sightings, key=lambda s: s.confidence)
    return Verdict(score, f"{', '.join(facts.objects)} at {facts.camera_name}", "by what was seen", (best.id,))


class Home:
    """An upload tree and a data folder; times in seconds before `self.at`."""

    def __init__(self, folder: Path, analysis: bool = False) -> None:
        self.base, self.data = folder / "foscam", folder / "data"
        self.base.mkdir(parents=True)
        self.path = self.data / "hearthwatch.db"
        self.at = now()
        self.analysis = analysis
        self.record = self.batching = None

    def open(self) -> "Home":
        self.record = Record(self.path)
        self.ledger = Ledger(self.record)
        self.batching = Batching(self.record, whole(judge), analysis=self.analysis)
        return self

    def picture(self, camera: str, ago: float, *labels: str, name: str | None = None, bad: str | None = None) -> int:
        """A picture with these things in it, uploaded, found, looked at; its frame's id."""
        if self.record is None:
            self.open()
        at = self.at - round(ago * S)
        path = f"{camera}/{name or f'{at}.jpg'}"
        file = self.base / path
        file.parent.mkdir(parents=True, exist_ok=True)
        # the comment keeps apart what one grey level more or less would not: no two pictures have the same bytes
        Image.new("RGB", (64, 48), (at // S % 256, 90, 120)).save(file, "JPEG", comment=path)
        os.utime(file, ns=(at * 1000, at * 1000))
        size = file.stat().st_size
        self.ledger.discover([FoundFile(camera_id(camera), camera, path, at * 1000, size, at, at)], at)
        frame = replace(self.ledger.todo(0, 1)[0].frame, opened=open_picture(file))
        found = tuple(Detection(label, 0.9 - 0.1 * n, (10 * n, 5, 20, 30)) for n, label in enumerate(labels))
        error = DeadLetter("decode", bad) if bad else None
        self.batching.write([Detected(frame, 64, 48, found, error, model="yard", detect_ms=12.5)])
        return frame.id

    def waiting(self, camera: str, ago: float = 0) -> int:
        """A picture that was found and that nobody has looked at."""
        at = self.at - round(ago * S)
        self.ledger.discover(
            [FoundFile(camera_id(camera), camera, f"{camera}/{at}-waits.jpg", at * 1000, 9, at, at)], at
        )
        return self.record.one("SELECT max(id) FROM frames")[0]

    def tick(self, ago: float = 0) -> None:
        """Close what is due by then."""
        self.batching.write([Tick(from_microseconds(self.at - round(ago * S)))])

    def verdict(self, event: int, score: int) -> None:
        """What the language model says of a closed event."""
        verdicts = Verdicts(self.record)
        case = next(case for case in verdicts.due(1000) if case.event.id == event)
        verdicts.write(
            [case.with_verdict(Verdict(score, "judged", "thought", (), "nemotron", "nemotron", "v1", 350.0))]
        )

    def beat(self, ago: float = 0, **counters) -> None:
        row = ("see", 4242, now() - round(ago * S), "{}")
        self.record.transact(lambda: self.record.execute("INSERT OR REPLACE INTO heartbeat VALUES (?,?,?,?)", *row))

    def wrong(
        self, kind: str, message: str, *, subject: str = "", severity: str = "warning", camera: str | None = None
    ) -> None:
        """A condition that began a minute ago, as the monitor writes it."""
        row = (kind, subject, "on", severity, camera, message, now() - 60 * S, now(), 1)
        columns = "kind, subject, state, severity, camera_id, message, since, changed_at, revision"
        self.record.transact(
            lambda: self.record.execute(f"INSERT INTO conditions({columns}) VALUES (?,?,?,?,?,?,?,?,?)", *row)
        )

    def settings(self, **environ: str):
        """The settings of this home and no others."""
        given = {"FOSCAM_BASE_PATH": str(self.base), "HEARTHWATCH_DATA_DIR": str(self.data)} | environ
        return load(None, given)

    def environment(self, **environ: str) -> dict[str, str]:
        """The same for a process of its own."""
        mine = {variable.name for variable in variables()}
        inherited = {name: value for name, value in os.environ.items() if name not in mine}
        root = str(Path(__file__).parents[2])
        return (
            inherited
            | {"FOSCAM_BASE_PATH": str(self.base), "HEARTHWATCH_DATA_DIR": str(self.data), "PYTHONPATH": root}
            | environ
        )

    def close(self) -> None:
        if self.record:
            self.record.close()


def story(home: Home) -> Home:
    """Two cameras, five events of all levels, a bad picture, one that waits; the newest is half a minute old."""
    home.picture("Front Door", 7200, "person", "dog")
    home.picture("Front Door", 7190, "person")
    home.picture("Driveway", 5400, "car")
    home.picture("Driveway", 5000, "bear")
    home.picture("Driveway", 4990)
    home.picture("Driveway", 4980, bad="truncated")
    home.picture("Front Door", 3600, "package")
    home.picture("Front Door", 30, "person", "person")
    home.tick()
    return home


class Served:
    """A running server; `url` without a slash at the end."""

    def __init__(self, server, port: int) -> None:
        self.server, self.port, self.url = server, port, f"http://127.0.0.1:{port}"

    def client(self, **more) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=SECONDS_MAX, trust_env=False, **more)


@contextmanager
def serve(settings):
    """The application on a free port, in a thread; as `python -m api` runs it."""
    from hearthwatch.api.server import Server, listen, uvicorn_config

    listening = listen("127.0.0.1", 0)
    server = Server(uvicorn_config(settings))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    try:
        yield Served(server, listening.getsockname()[1])
    finally:
        server.config.app.state.app_state.hub.stop()
        server.should_exit = True
        thread.join(SECONDS_MAX)
        listening.close()
        assert not thread.is_alive()


def wait_for(condition, seconds: float = SECONDS_MAX):
    """Until it is true; its value."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, f"not within {seconds:g} s"
        time.sleep(0.01)
    return value


def start(home: Home, *args: str, **environ: str) -> subprocess.Popen:
    """`hearthwatch api` as a process."""
    command = [sys.executable, "-m", "flows", *args] if args else [sys.executable, "-P", "-m", "hearthwatch.api"]
    return subprocess.Popen(
        command, env=home.environment(**environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
