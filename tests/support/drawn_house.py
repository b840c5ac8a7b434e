"""A house with a real record, for tests of what people see: drawn pictures on disk, real ledger, batching and verdicts.

Only the detector is missing: boxes are the drawings' own, so a test knows where each thing is. `judged` gives an event
the score and words that a test needs; the rest (ids, revisions, feed) comes about as in the pipeline. `Api` is the real
server, in a process of its own, that can be killed and started again on the same port.
"""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from hearthwatch.demo.scenes import story
from hearthwatch.flows.graph import DEFAULT, Graph
from hearthwatch.record import Record, now
from hearthwatch.record.batching import Batching
from hearthwatch.record.graph_description import store_description
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.record.thumbnail_drawing import draw
from hearthwatch.record.thumbnails import write
from hearthwatch.record.verdicts import Verdicts
from hearthwatch.schemas.items import DeadLetter, Detected, Detection, Tick, Verdict, to_microseconds
from tests.support.judges import whole
from tests.support.linking import link
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
SLOW = 30.0  # how long a test waits for what takes a second: two busy cores are the rule
MINUTE = timedelta(minutes=1)
PLOTS = {
    "front_door": ("courier", 5),
    "driveway": ("car_parks", 1),
    "back_yard": ("garden", 0),
    "street": ("passers", 2),
}


@cache
def shot(camera, second):
    """(JPEG, boxes) of a drawn picture with something in it."""
    plot, seed = PLOTS[camera]
    frame = story(camera, seed, plot, "day").frame(second)
    boxes = [
        Detection(label, 0.9 - i / 50, (x0, y0, x1 - x0, y1 - y0))
        for i, (label, x0, y0, x1, y1) in enumerate(frame.boxes)
    ]
    assert boxes, f"{camera} shows nothing at second {second}"
    return frame.jpeg(), frame.image, tuple(boxes)


class House:
    """Cameras, their uploads and their record. Times are aware UTC."""

    def __init__(self, folder, *, llm=False):
        self.base, self.data = folder / "uploads", folder / "data"
        self.base.mkdir(parents=True)
        self.record = Record(self.data / "hearthwatch.db")
        self.words = {}  # (camera id, start) -> Verdict
        self.ledger = Ledger(self.record)
        self.batching = Batching(self.record, whole(self._judge), analysis=llm)
        self.verdicts = Verdicts(self.record)
        self.last = 0
        self._stop = threading.Event()
        self._beating = None

    def _judge(self, facts):
        said = self.words.get((facts.camera_id, facts.started_at)) or Verdict(
            20, "Something was seen.", "Nothing more is known."
        )
        return replace(said, evidence=(facts.sightings[0].id,))

    def judged(self, camera, at, score, summary, *, seconds=(9, 10, 11), closed=True):
        """An event of these pictures, with this verdict of the rules; its id."""
        self.words[camera, to_microseconds(at)] = Verdict(score, summary, f"Because {summary.lower()}")
        ids = [self.upload(camera, at + timedelta(seconds=second - seconds[0]), second) for second in seconds]
        if closed:
            self.batching.write([Tick(at + 3 * MINUTE)])
        link(self.record, 25)
        (event,) = self.record.one("SELECT event_id FROM frames WHERE id = ?", ids[0])
        return event

    def visit(self, ago=1500):
        """Four events on three cameras that are one incident, the third of them high; their ids."""
        told = (
            ("front_door", 48, "walks to the door"),
            ("back_yard", 35, "looks into the shed"),
            ("street", 71, "climbs the fence"),
            ("front_door", 31, "leaves"),
        )
        start = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=ago)
        times = [start + timedelta(seconds=20 * i) for i in range(len(told))]
        ids = [
            self.judged(c, at, score, f"A person {what}.", closed=False)
            for at, (c, score, what) in zip(times, told, strict=True)
        ]
        self.batching.write([Tick(times[-1] + timedelta(seconds=40))])
        link(self.record, 25)
        return ids

    def upload(self, camera, at, second=None):
        """One picture, decided; without `second` a bad one that is quarantined. Its frame id."""
        path = Path(camera.replace("_", " ").title(), f"{at:%Y%m%d-%H%M%S}.jpg")
        jpeg, image, boxes = shot(camera, second) if second is not None else (b"not a picture", None, ())
        (self.base / path).parent.mkdir(exist_ok=True)
        (self.base / path).write_bytes(jpeg)
        file, when = (self.base / path).stat(), to_microseconds(at)
        self.ledger.discover(
            [FoundFile(camera, path.parent.name, str(path), file.st_mtime_ns, file.st_size, when, when)], when
        )
        frame = self.ledger.todo(self.last, 1)[0].frame
        self.last = frame.id
        error = None if image else DeadLetter("decode", "not a JPEG or PNG: begins with 'not a picture'")
        size = image.size if image else (0, 0)
        self.batching.write([Detected(frame, *size, boxes, error, model="drawn", detect_ms=12.5)])
        if image:
            (thumbnail,) = self.record.one("SELECT thumbnail_path FROM frames WHERE id = ?", frame.id)
            write(self.data / thumbnail, draw(image, boxes))
        return frame.id

    def analyzed(self, event, score, summary, **seen):
        """The language model's verdict; `seen`: what it saw in pictures."""
        case = next(c for c in self.verdicts.due(1000) if c.event.id == event)
        verdict = Verdict(
            score, summary, f"The model says: {summary}", case.event.verdict.evidence, "nemotron", "nano", "v1", 1900.0,
            **seen,
        )  # fmt: skip
        self.verdicts.write(
            [replace(case.event, type="event.analyzed", revision=case.event.revision + 1, verdict=verdict)]
        )
        link(self.record, 25)

    def beat(self, at=None):
        """One sign of life of the pipeline."""
        row = ("see", os.getpid(), at or now(), "{}")
        self.record.transact(lambda: self.record.execute("INSERT OR REPLACE INTO heartbeat VALUES (?,?,?,?)", *row))

    def alive(self):
        """The pipeline shows signs of life from now on, until `close`."""
        self.beat()
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._beating.start()
        return self

    def _beat(self):
        record = Record(self.record.path)
        while not self._stop.wait(1.0):
            record.transact(lambda: record.execute("UPDATE heartbeat SET at = ? WHERE chain = 'see'", now()))
        record.close()

    def close(self):
        self._stop.set()
        if self._beating:
            self._beating.join()
        self.record.close()


class Api:
    """What `hearthwatch api` becomes, over a house."""

    def __init__(self, house, **environment):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._house, self._environment = house, environment
        self.errors = house.data / "api.log"
        self._process = None

    def start(self):
        environment = {k: v for k, v in os.environ.items() if k not in ("NEMOTRON_URL", "REDIS_URL", "RTDETR_URL")} | {
            "PYTHONPATH": str(ROOT),
            "FOSCAM_BASE_PATH": str(self._house.base),
            "HEARTHWATCH_DATA_DIR": str(self._house.data),
            "HEARTHWATCH_API_PORT": str(self.port),
            **self._environment,
        }
        with self.errors.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "hearthwatch.api"],
                cwd=self._house.data, env=environment, stdout=log, stderr=log,
            )  # fmt: skip
        until = time.monotonic() + SLOW
        while time.monotonic() < until:
            assert self._process.poll() is None, self.errors.read_text()
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=1).close()
                return self
            except OSError:
                time.sleep(0.05)  # nobody can be told when a port opens
        raise AssertionError(f"no answer in {SLOW:g} s\n{self.errors.read_text()}")

    def kill(self):
        if self._process:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


def busy_house(folder, *, llm=False):
    """Fourteen events of today and yesterday to look at, four cameras, one bad picture; (house, {name: event id})."""
    house, start = House(folder, llm=llm), datetime.now(UTC).replace(microsecond=0)
    cameras, scores = tuple(PLOTS), (24, 9, 52, 12, 35, 18, 66, 5, 41, 15, 27, 8, 33)
    ids = {}
    for i, score in enumerate(scores):
        camera = cameras[i % len(cameras)]
        at = start - timedelta(minutes=47 * (len(scores) - i) + 10)
        ids[f"event {i}"] = house.judged(camera, at, score, f"Story {i} at the {camera.replace('_', ' ')}.")
        if llm and i % 3 == 0:
            house.analyzed(ids[f"event {i}"], score, f"The model tells story {i}.")
    house.upload("street", start - 8 * MINUTE)
    store_description(house.record, Graph.from_toml(DEFAULT).describe())
    ids["open"] = house.judged(
        "front_door", start - timedelta(seconds=50), 35, "A courier comes to the door.", closed=False
    )
    return house, ids
