"""Samples of the machine at work: the graphics card, and how many pictures a second the detector looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hearthwatch.record import Record


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One row of `gpu_stats`: `at` in microseconds, utilization 0-100, memory in bytes, temperature in °C.

    What is of a card is None where there is none.
    """

    at: int
    gpu_utilization: float | None
    memory_used: int | None
    memory_total: int | None
    temperature: float | None
    inference_fps: float


def write_samples(record: Record, samples: Sequence[GpuSample]) -> None:
    """Keep these; durable when it returns. One that comes again is the same one."""
    rows = [
        (s.at, s.gpu_utilization, s.memory_used, s.memory_total, s.temperature, s.inference_fps, s.at) for s in samples
    ]
    sql = (
        "INSERT INTO gpu_stats(recorded_at, gpu_utilization, memory_used, memory_total, temperature, inference_fps) "
        "SELECT ?,?,?,?,?,? WHERE NOT EXISTS (SELECT 1 FROM gpu_stats WHERE recorded_at = ?)"
    )
    record.transact(lambda: record.many(sql, rows))


class FrameCounter:
    """How many pictures a detector has looked at since it was asked last; frames are decided in order of id."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._to = self._decided()

    def count_new(self) -> int:
        since, self._to = self._to, self._decided()
        sql = "SELECT count(*) FROM frames WHERE id >= ? AND id < ? AND state = 'settled' AND error_stage IS NULL"
        return int(self.record.one(sql, since, self._to)[0])

    def _decided(self) -> int:
        """The first id that is not decided yet."""
        (waiting,) = self.record.one("SELECT min(id) FROM frames WHERE state = 'discovered'")
        (newest,) = self.record.one("SELECT coalesce(max(id), 0) FROM frames")
        return int(newest + 1 if waiting is None else waiting)
