"""Write verdicts of the language model and samples of the machine to the record.

Frames, detections and events are not written here: `batch` decides a frame and stores it, its detections, its place in an
event and the feed rows in one transaction, because after a kill a frame without its event, or an event without its frames,
would look like a lost one. So what comes from `batch` is in the record when it arrives here, and only passes. Exactly once
in effect: a verdict applies only to the revision that it was asked for, so one that comes again, or too late, changes
nothing. One partition: there is one record.
"""

from __future__ import annotations

from typing import ClassVar

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from hearthwatch.record import Record
from hearthwatch.record.gpu_samples import GpuSample, write_samples
from hearthwatch.record.verdicts import FailedAttempt, Verdicts
from hearthwatch.schemas.components import Sink
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.items import Event

Stored = Event | FailedAttempt | GpuSample


class Sqlite(Sink):
    """The record: stores verdicts, failed attempts, and samples of the machine; `batch` stores the rest."""

    accepts: ClassVar[type | tuple[type, ...]] = (Event, FailedAttempt, GpuSample)
    durable = True

    def label(self) -> str:
        return "the record: verdicts and samples"

    def build(self, context: Context) -> FixedPartitionedSink[Stored, None]:
        return _Sink(context)


class _Sink(FixedPartitionedSink[Stored, None]):
    def __init__(self, context: Context) -> None:
        self.context = context

    def list_parts(self) -> list[str]:
        return ["record"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Part:
        return _Part(self.context)


class _Part(StatefulSinkPartition[Stored, None]):
    def __init__(self, context: Context) -> None:
        self.verdicts = Verdicts(Record(context.record_path))
        self.in_flight, self.timings = context.in_flight, context.timings

    def write_batch(self, values: list[Stored]) -> None:
        if samples := [v for v in values if isinstance(v, GpuSample)]:
            write_samples(self.verdicts.record, samples)
        if judged := [v for v in values if not isinstance(v, GpuSample)]:
            self.verdicts.write(judged)
            answers = (v.verdict.latency_ms for v in judged if isinstance(v, Event))
            self.timings.add("verdict", [ms / 1e3 for ms in answers if ms is not None])
            self.in_flight.ids.difference_update(v.event_id if isinstance(v, FailedAttempt) else v.id for v in judged)

    def snapshot(self) -> None:
        return None

    def close(self) -> None:
        self.verdicts.record.close()
