"""The facts of one graph: which record, which folders, which zone. Every node, command and the API get the same ones.

Made once from the settings (those of the flow file's `[settings]` table included) and handed to each component's `build`.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar
from zoneinfo import ZoneInfo

from hearthwatch.schemas.path_rules import PathRules

if TYPE_CHECKING:
    from hearthwatch.schemas.settings import Settings

T = TypeVar("T")

STOP_SECONDS_MAX = 4.5  # a clean stop of the whole graph; then the process ends all the same
CONSUMERS_STOP_SECONDS_MAX = 2.0  # of it, for all consumers together
JOBS_STOP_SECONDS_MAX = 1.0  # for each periodic job: what is cut off continues at the next start
QUESTIONS_STOP_SECONDS_MAX = 2.0  # for questions to the language model
THUMBNAILS_STOP_SECONDS_MAX = 1.0  # for thumbnails that wait: some hundred pictures
SAMPLES_STOP_SECONDS_MAX = 0.5  # for the graphics card's driver

PULSE, PULSE_END = "poll", "end"  # what a cell's source adds to its items, and the last one

RECENT_BYTES_MAX = 32 * 1024 * 1024  # of uploads in memory until it is known whether they are kept: 160 of 200 kB
FAILURE_SECONDS = 60.0  # after it did not fail for so long, an own function is no problem any more
CASES_MAX = 8  # in flight before the node that asks says how many
FRAMES_MAX = 256  # at a detector that keeps up: as many as the source hands out at most


class Timings(Protocol):
    """Where a component reports how long its steps took."""

    def add(self, step: str, seconds: Iterable[float]) -> None: ...
    def summary(self, chain: str) -> dict[str, object]: ...


class NoTimings:
    """Timings that no one reads."""

    def add(self, step: str, seconds: Iterable[float]) -> None:
        """Drop them."""

    def summary(self, chain: str) -> dict[str, object]:
        """Nothing was kept."""
        return {}


@dataclass
class InFlight:
    """Ids of what a model is being asked about, shared by the parts that send, ask and store."""

    ids: set[int] = field(default_factory=set)
    limit: Callable[[], int] = lambda: CASES_MAX
    asks_early: Callable[[], bool] = lambda: False
    """Whether it is asked about open events, too."""

    def room(self) -> int:
        """How many more may be asked about now."""
        return max(0, self.limit() - len(self.ids))


@dataclass
class DetectorState(InFlight):
    """Frames that wait in `detect`, and what it does."""

    limit: Callable[[], int] = lambda: FRAMES_MAX
    status: Literal["ready", "starting", "unavailable"] = "ready"
    at_a_time: int = 0
    """Pictures that are detected in at the same time, by threads or requests; 0: by the dataflow's thread."""
    is_remote: bool = False
    """Whether what waits can end no process of ours."""
    reason: str = ""
    """Why it is unavailable, or why its model could not be loaded yet."""

    def summary(self) -> dict[str, object]:
        """For the heartbeat."""
        return {"status": self.status, "reason": self.reason, "waiting": len(self.ids)}


class Failures:
    """What functions of the graph's author raised last, by name, for a minute. Thread-safe."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, str]] = {}

    def add(self, name: str, words: str) -> None:
        """Note what a function raised."""
        self._last[name] = time.monotonic(), words

    def recent(self) -> dict[str, str]:
        """Return what was raised in the last minute."""
        at = time.monotonic()
        return {name: words for name, (since, words) in self._last.copy().items() if at - since < FAILURE_SECONDS}


class RecentPictures:
    """Uploads with detections that were processed last, by frame: a camera may replace its file at once. Thread-safe."""

    def __init__(self) -> None:
        self._data: OrderedDict[int, bytes] = OrderedDict()
        self._bytes, self._turn = 0, threading.Lock()

    def add(self, frame: int, data: bytes) -> None:
        """Hold the bytes of this frame; the oldest are dropped."""
        with self._turn:
            self._bytes += len(data) - len(self._data.pop(frame, b""))
            self._data[frame] = data
            while self._bytes > RECENT_BYTES_MAX:
                self._bytes -= len(self._data.popitem(last=False)[1])

    def get(self, frame: int) -> bytes | None:
        """Return its bytes if they are still here."""
        with self._turn:
            return self._data.get(frame)


class Cell(NamedTuple):
    """One record and what belongs to it."""

    number: int
    name: str
    record_path: Path
    data_dir: Path
    base_path: Path

    @property
    def part(self) -> str:
        """Return the name of its partition in Bytewax: in the order of the numbers, which spreads cells over workers."""
        return f"{self.number:03}"


class SharedParts:
    """Parts of a process that several cells use, such as a model: made for the first one, closed by the last one. Thread-safe."""

    def __init__(self) -> None:
        self._parts: dict[Hashable, tuple[Any, int]] = {}
        self._turn = threading.Lock()

    def take(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the part, made if there is none."""
        with self._turn:
            part, users = self._parts[key] if key in self._parts else (make(), 0)
            self._parts[key] = part, users + 1
            return part

    def release(self, key: Hashable) -> bool:
        """Return whether none uses it any more: the caller closes it."""
        with self._turn:
            part, users = self._parts.pop(key)
            if users > 1:
                self._parts[key] = part, users - 1
            return users == 1


@dataclass(frozen=True)
class Context:
    """What the nodes of one graph share."""

    record_path: Path
    """The SQLite record."""
    data_dir: Path
    """Thumbnails, lake, `analytics.duckdb`, locks."""
    base_path: Path
    """The upload tree."""
    zone: tzinfo | None = None
    """The zone of the cameras' clocks; None: the system's."""
    analysis: bool = False
    """Whether a language model judges closed events, too."""
    has_recovery_store: bool = False
    """Whether Bytewax keeps snapshots of this run (`-r`)."""
    timings: Timings = field(default_factory=NoTimings, compare=False)
    in_flight: InFlight = field(default_factory=InFlight, compare=False)
    paths: PathRules = field(default_factory=PathRules, compare=False)
    """What is ignored in the upload tree, whose a picture is, what its path says about time."""
    location: tuple[float, float] | None = None
    """Latitude and longitude of the cameras in degrees; None: not known."""
    rules: tuple[str, ...] = ()
    """Functions of the graph's author that judge events, as `module:function`."""
    built_in_rules: bool = True
    """Whether our rules judge, too."""
    failures: Failures = field(default_factory=Failures, compare=False, repr=False)
    keep_pictures: Literal["evidence", "all", "none"] = "evidence"
    """Which originals of an event are kept in the data dir."""
    recent: RecentPictures = field(default_factory=RecentPictures, compare=False, repr=False)
    detector: DetectorState = field(default_factory=DetectorState, compare=False)
    wanted_cells: str = "1"
    """The cells of the data dir, as HEARTHWATCH_CELLS says it."""
    cells: tuple[Cell, ...] = ()
    """All cells of the data dir, `cell` included; none if there is only one."""
    cell: Cell | None = None
    """Which of several cells this is of; None: the only one."""
    positions: dict[str, int] = field(default_factory=dict, compare=False, repr=False)
    """Where there are several cells, what their steps remember in the snapshot of the cell's source."""
    shared: SharedParts = field(default_factory=SharedParts, compare=False, repr=False)
    """What all cells of this process share."""
    wake: threading.Event = field(default_factory=threading.Event, compare=False, repr=False)
    """Set it from any thread when there is work for the dataflow's: it ends a wait that may last 10 ms."""

    @property
    def incidents_path(self) -> Path | None:
        """The record of the first cell, which has the incidents of all; None: this is it."""
        return self.cells[0].record_path if self.cell and self.cell != self.cells[0] else None

    @classmethod
    def from_settings(cls, chosen: Settings | None = None, timings: Timings | None = None) -> Context:
        """The facts that `chosen` says; None: the settings in force."""
        from hearthwatch.schemas.settings import settings  # `python -m hearthwatch.schemas.settings` imports it once

        s = settings() if chosen is None else chosen
        zone = ZoneInfo(s.hearthwatch_timezone) if s.hearthwatch_timezone else None
        folders = s.database_path, s.hearthwatch_data_dir, s.foscam_base_path
        where = s.hearthwatch_location
        return cls(
            *folders, zone, s.analysis, timings=timings or NoTimings(), paths=s.path_rules, location=where,
            keep_pictures=s.hearthwatch_keep_pictures, wanted_cells=s.hearthwatch_cells,
        )  # fmt: skip
