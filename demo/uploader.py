"""Upload drawn pictures into an upload tree as cameras do by FTP: for the demo and for trying things.

The same seed and the same start give the same files, byte for byte. A picture is written in one of the two ways of real
cameras: under another name and then renamed, or slowly under its own name. One thread draws and uploads for all cameras
(about 15 ms a picture) and holds one picture at a time.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from heapq import merge
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from pydantic import Field

from hearthwatch.demo.scenes import Clip, story
from hearthwatch.schemas import Source
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.errors import UserError

CameraName = Literal["front_door", "driveway", "back_yard", "street"]


class Scene(NamedTuple):
    """One story of a camera's programme: arguments of `story`."""

    plot: str
    seed: int
    light: str


# Chosen by running the packaged detector over them: in each of these the actors are detected from second 9 at the
# latest, with no gap of 10 s, so that one story is one event. Longest: 54 s.
PROGRAMME: dict[CameraName, tuple[Scene, ...]] = {
    "front_door": (Scene("courier", 5, "day"), Scene("visitor", 2, "day"), Scene("thief", 5, "dusk")),
    "driveway": (Scene("car_parks", 1, "dusk"), Scene("car_leaves", 2, "day"), Scene("courier", 0, "dusk")),
    "back_yard": (Scene("garden", 0, "day"), Scene("cat", 1, "day"), Scene("lingers", 1, "dusk")),
    "street": (Scene("car_parks", 3, "dusk"), Scene("passers", 2, "day"), Scene("dog_walk", 4, "day")),
}

FIRST_STORY_SECONDS = 6  # every camera starts its first story within this time
PAUSE_SECONDS = (36, 60)  # longer than the idle timeout of a batch (30 s): two stories are two events
QUIET_SECONDS = 5  # between stories: one picture of an empty garden this often
CHECK_INTERVAL = timedelta(seconds=1)  # the node only checks that the uploader still works
WRITE_PIECES, WRITE_PAUSE_SECONDS = 3, 0.03  # a slow upload; short enough for 4 pictures/s from one thread


class Shot(NamedTuple):
    """One picture of the schedule, not yet drawn: second `second` of `clip`, taken `at` seconds after the start."""

    at: float
    camera: str
    clip: Clip
    second: int

    def captured_at(self, start: datetime) -> datetime:
        """Return the capture time by the camera's clock; `start` is local time."""
        return start + timedelta(seconds=self.at)

    def path(self, start: datetime) -> Path:
        """Return the path below the upload tree, as a Foscam camera names it, with the capture time."""
        when = self.captured_at(start)
        folder = self.camera.replace("_", " ").title()
        return Path(folder, "snap", f"{when:%Y%m%d}", f"MDAlarm_{when:%Y%m%d-%H%M%S}.jpg")

    def jpeg(self, start: datetime) -> bytes:
        """Draw the picture, with its capture time written on it."""
        return self.clip.at(self.captured_at(start) - timedelta(seconds=self.second)).frame(self.second).jpeg()


def schedule(
    seed: int = 0, cameras: Sequence[CameraName] = tuple(PROGRAMME), stories_until: float = float("inf")
) -> Iterator[Shot]:
    """Yield all cameras' shots without end, in order of time: one a second during a story, else one in 5 seconds.

    The seed chooses where in its programme a camera begins and how long it pauses. After `stories_until` seconds there
    are no more stories.
    """
    return merge(*(_shots(camera, seed, stories_until) for camera in cameras), key=lambda shot: shot.at)


def _shots(camera: CameraName, seed: int, stories_until: float) -> Iterator[Shot]:
    r = random.Random(f"{seed}/{camera}")
    at = r.randrange(1000) / 1000  # not all in step; from here on whole seconds, so that no two names are equal
    scenes, pause = itertools.cycle(PROGRAMME[camera]), r.randint(0, FIRST_STORY_SECONDS - 1)
    for scene in itertools.islice(scenes, seed % len(PROGRAMME[camera]), None):
        clip = story(camera, scene.seed, scene.plot, scene.light)
        empty = clip.without_actors()
        for second in range(0, pause, QUIET_SECONDS):
            yield Shot(at + second, camera, empty, second)
        at += pause
        for second in range(clip.seconds if at < stories_until else 0):
            happens = at + second < stories_until
            if happens or second % QUIET_SECONDS == 0:
                yield Shot(at + second, camera, clip if happens else empty, second)
        at += clip.seconds if at < stories_until else 0
        pause = r.randint(*PAUSE_SECONDS)


UploadMethod = Literal["rename", "slow"]


def upload(
    base: Path, path: Path, data: bytes, method: UploadMethod, pause_seconds: float = WRITE_PAUSE_SECONDS
) -> None:
    """Write `data` to `path` below `base` as an FTP server does; missing folders are created.

    Raises:
        OSError: it cannot be written.
    """
    target = base / path
    target.parent.mkdir(parents=True, exist_ok=True)
    if method == "rename":
        part = target.with_name(target.name + ".part")
        part.write_bytes(data)
        part.replace(target)
        return
    step = -(-len(data) // WRITE_PIECES)
    with target.open("wb") as file:
        for begin in range(0, len(data), step):
            file.write(data[begin : begin + step])
            file.flush()
            time.sleep(pause_seconds)


class Uploader:
    """Upload a schedule on a background thread from `start()` until `stop()`, `speed` times as fast as real time.

    `start` is the local time of the schedule's first second on the cameras' clocks. With a `speed` above 1 it has to lie
    so far back that no capture time is in the future.
    """

    def __init__(self, base: Path, shots: Iterator[Shot], start: datetime, speed: float = 1.0) -> None:
        self.uploaded = 0
        self.error: OSError | None = None
        """Why uploading failed, if it did."""
        self._base, self._shots, self._start, self._speed = base, shots, start, speed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="yard", daemon=True)

    def start(self) -> Uploader:
        """Start the thread; call it once."""
        self._thread.start()
        return self

    def join(self, timeout_seconds: float | None = None) -> None:
        """Wait until the schedule is over or uploading failed."""
        self._thread.join(timeout_seconds)

    def stop(self) -> None:
        """Finish the upload in progress, start no other, and wait for the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        try:
            for number, shot in enumerate(self._shots):
                data = shot.jpeg(self._start)
                if self._stop.wait(began + shot.at / self._speed - time.monotonic()):
                    return
                method: UploadMethod = "slow" if number % 2 else "rename"
                upload(self._base, shot.path(self._start), data, method, WRITE_PAUSE_SECONDS / self._speed)
                self.uploaded += 1
        except OSError as error:
            self.error = error


class Yard(Source):
    """Drawn cameras that upload into the upload tree while the graph runs; `files` reads their pictures.

    Emits nothing itself, and ends with the other sources.
    """

    emits: ClassVar[type | None] = None
    follows: ClassVar[bool] = True

    seed: Annotated[int, Field(ge=0)] = 0
    """Where in its programme each camera begins, and how long it pauses."""
    cameras: Annotated[tuple[CameraName, ...], Field(min_length=1)] = tuple(PROGRAMME)
    """Which of the drawn cameras upload."""

    def build(self, context: Context) -> FixedPartitionedSource[Any, None]:
        return _Yard(self, context.base_path)


class _Yard(FixedPartitionedSource[Any, None]):
    def __init__(self, yard: Yard, base_path: Path) -> None:
        self.yard, self.base_path = yard, base_path

    def list_parts(self) -> list[str]:
        return ["yard"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _YardPart:
        return _YardPart(self.yard, self.base_path)


class _YardPart(StatefulSourcePartition[Any, None]):
    """Start the uploader when the graph has started, and stop it with the graph."""

    def __init__(self, yard: Yard, base_path: Path) -> None:
        self.yard, self.base_path = yard, base_path
        self.uploader: Uploader | None = None

    def next_batch(self) -> list[Any]:
        if self.uploader is None:
            shots = schedule(self.yard.seed, self.yard.cameras)
            self.uploader = Uploader(self.base_path, shots, datetime.now()).start()
        if self.uploader.error:
            raise UserError(f"the drawn cameras cannot upload: {self.uploader.error}; is FOSCAM_BASE_PATH writable?")
        return []

    def next_awake(self) -> datetime | None:
        return datetime.now(UTC) + CHECK_INTERVAL if self.uploader else None

    def snapshot(self) -> None:
        return None

    def close(self) -> None:
        if self.uploader:
            self.uploader.stop()
