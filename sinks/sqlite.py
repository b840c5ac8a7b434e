"""Verdicts into the record, each in a transaction with its history row and its message; samples of the machine, too.

Exactly once in effect: a verdict applies only to the revision that it was asked for, so one that comes again, or too
late, changes nothing. One partition: there is one record.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from hearthwatch.record import Record
from hearthwatch.record.gpu_samples import GpuSample, write_samples
from hearthwatch.record.timings import timings
from hearthwatch.record.verdicts import FailedAttempt, Verdicts, cases_in_flight
from hearthwatch.schemas.components import Sink
from hearthwatch.schemas.items import Event
from hearthwatch.schemas.settings import from_settings


class Sqlite(Sink):
    """Puts judged events, attempts that missed, and samples of the machine into the record."""

    accepts: ClassVar[type | tuple[type, ...]] = (Event, FailedAttempt, GpuSample)

    record_path: Path = from_settings("database_path")
    """The record to write to; the same as that of `pending`."""

    def label(self) -> str:
        return "verdicts and samples into the record"

    def build(self) -> FixedPartitionedSink[Event | FailedAttempt | GpuSample, None]:
        return _Sink(self.record_path)


class _Sink(FixedPartitionedSink[Event | FailedAttempt | GpuSample, None]):
    def __init__(self, path: Path) -> None:
        self.path = path

    def list_parts(self) -> list[str]:
        return ["record"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Part:
        return _Part(self.path)


class _Part(StatefulSinkPartition[Event | FailedAttempt | GpuSample, None]):
    def __init__(self, path: Path) -> None:
        self.verdicts, self.in_flight = Verdicts(Record(path)), cases_in_flight(path)

    def write_batch(self, values: list[Event | FailedAttempt | GpuSample]) -> None:
        if samples := [v for v in values if isinstance(v, GpuSample)]:
            write_samples(self.verdicts.record, samples)
        if judged := [v for v in values if not isinstance(v, GpuSample)]:
            self.verdicts.write(judged)
            answers = (v.verdict.latency_ms for v in judged if isinstance(v, Event))
            timings.add("verdict", [ms / 1e3 for ms in answers if ms is not None])
            self.in_flight.ids.difference_update(v.event_id if isinstance(v, FailedAttempt) else v.id for v in judged)

    def snapshot(self) -> None:
        return None

    def close(self) -> None:
        self.verdicts.record.close()
