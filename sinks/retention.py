"""Delete what is too old or too much, every hour, in small steps, on a thread of low priority; once a day, learn what is normal.

What is deleted first, and what never: `record/retention/policy.py`. A kill at any step is finished by the next run, and
thumbnails that a kill left undrawn are drawn at the first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from hearthwatch.record.retention.age_clock import read_clock
from hearthwatch.schemas import Job, JobWorker
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.items import to_microseconds
from hearthwatch.schemas.settings import DAYS_MAX, from_settings

if TYPE_CHECKING:
    from hearthwatch.record.retention.policy import RetentionPolicy

log = logging.getLogger(__name__)

SHARE_MAX = 1 / 3  # of all events and pictures in one run: what a person has not asked for is never all of it


class Retention(Job):
    """Deletes rows and thumbnails that are too old or too much, and uploads if `originals` is set."""

    interval_minutes: Annotated[float, Field(gt=0)] = 60
    """Minutes between two runs; the first is at the start."""
    days: Annotated[int, Field(ge=1, le=DAYS_MAX)] = from_settings("retention_days")
    """What was discovered longer ago than this is deleted."""
    gigabytes: Annotated[float | None, Field(gt=0)] = from_settings("hearthwatch_retention_gb")
    """The most that the data dir may take (10^9 bytes), each of several cells its share; unset: HEARTHWATCH_RETENTION_GB, else as much as there is."""
    originals: bool = from_settings("hearthwatch_retention_originals")
    """Whether uploads are deleted, too."""
    unreviewed: bool = False
    """Whether high and critical events that are not reviewed are deleted, too."""

    def label(self) -> str:
        return f"{self.days} days" + (f", {self.gigabytes:g} GB" if self.gigabytes else "")

    def pause_seconds(self) -> float:
        return self.interval_minutes * 60

    def policy(self, unreviewed: bool = False) -> RetentionPolicy:
        """Return the options as a policy; `unreviewed` as if that option were set."""
        from hearthwatch.record.retention.policy import RetentionPolicy

        room = None if self.gigabytes is None else round(self.gigabytes * 1e9)
        return RetentionPolicy(self.days, room, self.originals, self.unreviewed or unreviewed)

    def build(self, context: Context) -> RetentionWorker:
        return RetentionWorker(self, context)


class RetentionWorker(JobWorker):
    """Runs retention on one record and its folders."""

    def __init__(self, options: Retention, context: Context) -> None:
        from hearthwatch.record import Record  # and pyarrow: half a second that no start waits for
        from hearthwatch.record.retention.run import RetentionRun

        self.zone = context.zone
        self._ran_at: float | None = None
        policy = options.policy()
        if policy.bytes_max and context.cells:
            policy = policy._replace(bytes_max=policy.bytes_max // len(context.cells))
        self.retention = RetentionRun(Record(context.record_path), context.data_dir, context.base_path, policy)

    def finish(self, now: datetime, stop: Callable[[], bool]) -> None:
        self.retention.record.close()

    def run(self, now: datetime, stop: Callable[[], bool]) -> None:
        from hearthwatch.record.retention.visits import build_baselines

        before, self._ran_at = self._ran_at, time.monotonic()
        ran = 0 if before is None else round((self._ran_at - before) * 1e6)
        clock = read_clock(self.retention.record, to_microseconds(now), ran)
        if clock.ahead:
            log.warning("%s", clock.describe())
        outcome = self.retention.run(clock.at, stop, share_max=SHARE_MAX)
        if not outcome.deleted.is_empty():
            log.info("retention: %s", outcome)
        for problem in outcome.problems():
            log.warning("retention: %s", problem)
        if rows := build_baselines(self.retention.record, clock.at, self.zone, stop):
            log.info("baselines: %d rows, in force for what starts from now on", rows)
