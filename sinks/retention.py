"""Forget what is too old or too much, every hour, in small steps, on a thread of its own.

What is forgotten first and what never is: `hearthwatch.record.retention.delete`. A kill at any step is finished by the next run, and what a
kill kept from being drawn is drawn at the first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, ClassVar

from bytewax.outputs import DynamicSink
from pydantic import Field

from hearthwatch.schemas import Sink, Tick
from hearthwatch.schemas.items import to_microseconds
from hearthwatch.schemas.settings import DAYS_MAX, from_settings
from hearthwatch.sinks.beside import Beside, Work

log = logging.getLogger(__name__)


class Retention(Sink):
    """Deletes what may be forgotten: rows, thumbnails, and uploads if told to."""

    accepts: ClassVar[type | tuple[type, ...]] = Tick

    interval_minutes: Annotated[float, Field(gt=0)] = 60
    """Minutes between two runs; the first is at the start."""
    days: Annotated[int, Field(ge=1, le=DAYS_MAX)] = from_settings("retention_days")
    """What was discovered longer ago than this is forgotten."""
    gigabytes: Annotated[float | None, Field(gt=0)] = from_settings("hearthwatch_retention_gb")
    """The most that the data dir may take (10^9 bytes); unset: HEARTHWATCH_RETENTION_GB, else as much as there is."""
    originals: bool = from_settings("hearthwatch_retention_originals")
    """Whether uploads are deleted, too."""
    unreviewed: bool = False
    """Whether high and critical events that nobody has reviewed are forgotten, too."""
    base_path: Path = from_settings("foscam_base_path")
    """The upload tree."""
    data_dir: Path = from_settings("hearthwatch_data_dir")
    """The folder that holds thumbnails and lake."""
    record_path: Path = from_settings("database_path")
    """The record that forgets."""

    def label(self) -> str:
        return f"{self.days} days" + (f", {self.gigabytes:g} GB" if self.gigabytes else "")

    def build(self) -> DynamicSink[Tick]:
        return Beside("retention", self._work)

    def _work(self) -> Work:
        from hearthwatch.record import Record  # and pyarrow: half a second that no start waits for
        from hearthwatch.record.retention.policy import RetentionPolicy
        from hearthwatch.record.retention.run import RetentionRun

        room = None if self.gigabytes is None else round(self.gigabytes * 1e9)
        rules = RetentionPolicy(self.days, room, self.originals, self.unreviewed)
        keeper = RetentionRun(Record(self.record_path), self.data_dir, self.base_path, rules)
        due: datetime | None = None

        def work(at: datetime, stop: Callable[[], bool]) -> None:
            nonlocal due
            if due is None or at >= due:
                outcome = keeper.run(to_microseconds(at), stop)
                due = at + timedelta(minutes=self.interval_minutes)
                if not outcome.deleted.is_empty():
                    log.info("retention: %s", outcome)
                for trouble in outcome.problems():
                    log.warning("retention: %s", trouble)

        return work
