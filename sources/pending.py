"""Events that wait for a verdict of the language model: the queue is the record, this only reads it.

An event comes out as a `Case` once it is closed, pending and due, and not in flight in this process already; so
nothing is remembered and nothing to snapshot. The oldest first, so that everybody is judged in turn; the newest when far
behind. Emits only as many as may be in flight: while the server is away that is nothing, and the events wait where they are.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from hearthwatch.record import Record, acquire_lock
from hearthwatch.record.timings import timings
from hearthwatch.record.verdicts import OFF, Case, Verdicts, cases_in_flight
from hearthwatch.schemas.components import Source
from hearthwatch.schemas.settings import from_settings

LOOK_AFTER = timedelta(seconds=0.05)  # an indexed lookup of some 10 µs
BEAT_SECONDS = 2.0


class Pending(Source):
    """Closed events whose verdict is due."""

    emits: ClassVar[type | None] = Case
    follows: ClassVar[bool] = True

    analysis: bool = from_settings("analysis")
    """Whether there is a language model to judge them; unset: if NEMOTRON_URL is set."""
    timezone: str | None = from_settings("hearthwatch_timezone")
    """Zone of the hour that is compared with the same hour of other days; unset: the system's."""
    record_path: Path = from_settings("database_path")
    """The record that events wait in; the same as that of `batch`."""
    data_dir: Path = from_settings("hearthwatch_data_dir")
    """Where the lock lives that keeps a second judge away."""

    def label(self) -> str:
        return "closed events, not yet judged"

    def off(self) -> str | None:
        return None if self.analysis else OFF

    def build(self) -> FixedPartitionedSource[Case, None]:
        return _Source(self)


class _Source(FixedPartitionedSource[Case, None]):
    def __init__(self, options: Pending) -> None:
        self.options = options

    def list_parts(self) -> list[str]:
        return ["record"]

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> StatefulSourcePartition[Case, None]:
        return _Part(self.options) if self.options.analysis else _Idle()


class _Idle(StatefulSourcePartition[Case, None]):
    """Never has anything; ends with the others."""

    def next_batch(self) -> list[Case]:
        return []

    def next_awake(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=1)

    def snapshot(self) -> None:
        return None


class _Part(StatefulSourcePartition[Case, None]):
    def __init__(self, options: Pending) -> None:
        self.lock = acquire_lock(options.data_dir, "judge")
        self.verdicts = Verdicts(Record(options.record_path), ZoneInfo(options.timezone) if options.timezone else None)
        self.in_flight = cases_in_flight(options.record_path)
        self.in_flight.ids.clear()
        self.due, self.beat_due = datetime.now(UTC), 0.0

    def next_batch(self) -> list[Case]:
        self.due = datetime.now(UTC) + LOOK_AFTER
        if time.monotonic() >= self.beat_due:
            self._beat()
        free = self.in_flight.free()
        cases = self.verdicts.due(free, self.in_flight.ids) if free else []
        self.in_flight.ids.update(case.event.id for case in cases)
        return cases

    def next_awake(self) -> datetime:
        return self.due

    def snapshot(self) -> None:
        return None

    def close(self) -> None:
        self.in_flight.ids.clear()
        self.verdicts.record.close()
        self.lock.release()

    def _beat(self) -> None:
        counters: dict[str, Any] = {
            "waiting": self.verdicts.waiting(),
            "in_flight": len(self.in_flight.ids),
            "places": self.in_flight.limit(),
        }
        counters["seconds"] = timings.summary("judge")
        self.verdicts.beat(os.getpid(), counters)
        self.beat_due = time.monotonic() + BEAT_SECONDS
