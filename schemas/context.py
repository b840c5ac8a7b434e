"""The facts of one graph: which record, which folders, which zone. Every node, command and the API get the same ones.

Made once from the settings (those of the flow file's `[settings]` table included) and handed to each component's `build`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol
from zoneinfo import ZoneInfo

from hearthwatch.schemas.path_rules import PathRules

if TYPE_CHECKING:
    from hearthwatch.schemas.settings import Settings

STOP_SECONDS_MAX = 4.5  # a clean stop of the whole graph; then the process ends all the same
CONSUMERS_STOP_SECONDS_MAX = 2.0  # of it, for all consumers together
JOBS_STOP_SECONDS_MAX = 1.0  # for each periodic job: what is cut off continues at the next start
QUESTIONS_STOP_SECONDS_MAX = 2.0  # for questions to the language model
THUMBNAILS_STOP_SECONDS_MAX = 1.0  # for thumbnails that wait: some hundred pictures
SAMPLES_STOP_SECONDS_MAX = 0.5  # for the graphics card's driver

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
    detector: DetectorState = field(default_factory=DetectorState, compare=False)
    wake: threading.Event = field(default_factory=threading.Event, compare=False, repr=False)
    """Set it from any thread when there is work for the dataflow's: it ends a wait that may last 10 ms."""

    @classmethod
    def from_settings(cls, chosen: Settings | None = None, timings: Timings | None = None) -> Context:
        """The facts that `chosen` says; None: the settings in force."""
        from hearthwatch.schemas.settings import settings  # `python -m hearthwatch.schemas.settings` imports it once

        s = settings() if chosen is None else chosen
        zone = ZoneInfo(s.hearthwatch_timezone) if s.hearthwatch_timezone else None
        folders = s.database_path, s.hearthwatch_data_dir, s.foscam_base_path
        where = s.hearthwatch_location
        return cls(*folders, zone, s.analysis, timings=timings or NoTimings(), paths=s.path_rules, location=where)
