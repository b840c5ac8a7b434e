"""Store samples of the graphics card and of how many pictures a second the detector processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hearthwatch.record import Record


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One row of `gpu_stats`: `at` in microseconds, utilization 0-100, memory in bytes, temperature in °C.

    Values of the card are None without one.
    """

    at: int
    gpu_utilization: float | None
    memory_used: int | None
    memory_total: int | None
    temperature: float | None
    inference_fps: float


def write_samples(record: Record, samples: Sequence[GpuSample]) -> None:
    """Store these, durably; a sample of a time that is stored already is skipped."""
    rows = [
        (s.at, s.gpu_utilization, s.memory_used, s.memory_total, s.temperature, s.inference_fps, s.at) for s in samples
    ]
    sql = (
        "INSERT INTO gpu_stats(recorded_at, gpu_utilization, memory_used, memory_total, temperature, inference_fps) "
        "SELECT ?,?,?,?,?,? WHERE NOT EXISTS (SELECT 1 FROM gpu_stats WHERE recorded_at = ?)"
    )
    record.transact(lambda: record.many(sql, rows))


class FrameCounter:
    """Counts the pictures that the detector processed since the last count; frames are decided in order of id."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._to = self._first_undecided()

    def count_new(self) -> int:
        since, self._to = self._to, self._first_undecided()
        sql = "SELECT count(*) FROM frames WHERE id >= ? AND id < ? AND state = 'settled' AND error_stage IS NULL"
        return int(self.record.one(sql, since, self._to)[0])

    def _first_undecided(self) -> int:
        """Return the first id that is not decided yet."""
        (waiting,) = self.record.one("SELECT min(id) FROM frames WHERE state = 'discovered'")
        (newest,) = self.record.one("SELECT coalesce(max(id), 0) FROM frames")
        return int(newest + 1 if waiting is None else waiting)
