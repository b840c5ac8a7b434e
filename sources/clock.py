"""Emit a tick at an interval, for plug-ins that do something periodically. Keeps no state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar

from bytewax.inputs import DynamicSource, StatelessSourcePartition
from pydantic import Field

from hearthwatch.schemas import Source, Tick
from hearthwatch.schemas.context import Context


class Clock(Source):
    """Emit the time at an interval."""

    emits: ClassVar[type | None] = Tick
    follows: ClassVar[bool] = True

    interval_seconds: Annotated[float, Field(gt=0)] = 20.0
    """Seconds between two ticks."""

    def label(self) -> str:
        return f"every {self.interval_seconds:g} s"

    def build(self, context: Context) -> DynamicSource[Tick]:
        return _Ticks(timedelta(seconds=self.interval_seconds))


class _Ticks(DynamicSource[Tick], StatelessSourcePartition[Tick]):
    def __init__(self, interval: timedelta) -> None:
        self.interval, self.due = interval, datetime.now(UTC)

    def build(self, step_id: str, worker_index: int, worker_count: int) -> StatelessSourcePartition[Tick]:
        return self

    def next_batch(self) -> list[Any]:
        at = datetime.now(UTC)
        self.due = max(self.due + self.interval, at)
        return [Tick(at)]

    def next_awake(self) -> datetime:
        return self.due
