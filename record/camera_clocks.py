"""Learn by how much the clock of each camera is off: the median of arrival − capture of its live pictures, if it is steady.

Positive: the camera is slow. A function of the record's frames, so a restart learns the same. A camera that uploads
pictures late has no steady offset: what was learned before stays. The offset changes no time that was stored, but which
events are one incident depends on it.
"""

from __future__ import annotations

from collections import deque
from statistics import median, quantiles

from hearthwatch.record.connection import Record
from hearthwatch.record.units import SECOND
from hearthwatch.schemas.items import CUT_SHORT

SAMPLES_MAX = 31  # of each camera
NEAR = 100_000  # … among so many frames before
SAMPLES_MIN = 3  # before an offset is believed; until then it only counts for how old news is
STEADY = 10 * SECOND  # the middle half of the samples lies within this
CHANGE_MIN = 2 * SECOND  # uploads take longer and shorter
HOUR_OFF = 3600 * SECOND  # a new offset of more than this, or a change of more than STEADY, has to last for …
LASTING = 600 * SECOND  # … so long: pictures of one late upload are off by the same, too
LATE_MAX = 60 * SECOND  # a file modified longer ago than this is not live


class CameraClocks:
    """What was learned. Belongs to the thread of its record; call `add` inside a transaction."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.frame = 0
        """Id of the frame that is being decided; set by the caller. A camera's frames are decided in order of id."""
        self._cached: dict[str, deque[tuple[int, int, int]]] = {}
        """Camera → (id, arrival, arrival − capture) of the live pictures that were decided last."""
        self._offsets: dict[str, int | None] = {}

    def clear(self) -> None:
        """Read everything again: a transaction was rolled back."""
        self._cached.clear()
        self._offsets.clear()

    def add(self, camera: str, captured: int, arrived: int) -> None:
        """Learn from a live picture that is decided now."""
        samples = self._samples(camera)
        samples.append((self.frame, arrived, arrived - captured))
        before, found = self._offset(camera), _middle(samples)
        if (before is None or abs(found - before) > CHANGE_MIN) and _is_believable(samples, found, before):
            self._offsets[camera] = found
            self.record.execute("UPDATE cameras SET clock_offset_ms = ? WHERE id = ?", found // 1000, camera)

    def offset(self, camera: str) -> int | None:
        """Return the offset in force, in microseconds; of a new camera, what little is known; None: nothing."""
        known = self._offset(camera)
        if known is not None or not (samples := self._samples(camera)):
            return known
        found = _middle(samples)
        return found if abs(found) <= HOUR_OFF else None

    def _offset(self, camera: str) -> int | None:
        if camera not in self._offsets:
            row = self.record.one("SELECT clock_offset_ms FROM cameras WHERE id = ?", camera)
            self._offsets[camera] = row[0] * 1000 if row and row[0] is not None else None
        return self._offsets[camera]

    def _samples(self, camera: str) -> deque[tuple[int, int, int]]:
        if camera not in self._cached:
            rows = self.record.rows(
                "SELECT id, discovered_at, discovered_at - captured_at FROM frames INDEXED BY frames_live WHERE id BETWEEN ? AND ? AND camera_id = ? "
                "AND state = 'settled' AND coalesce(error_stage, ?) = ? AND behind = 0 AND discovered_at - mtime_ns / 1000 <= ? "
                "ORDER BY id DESC LIMIT ?",
                self.frame - NEAR, self.frame - 1, camera, CUT_SHORT, CUT_SHORT, LATE_MAX, SAMPLES_MAX,
            )  # fmt: skip
            self._cached[camera] = deque(reversed(rows), SAMPLES_MAX)
        samples = self._cached[camera]
        while samples and samples[0][0] < self.frame - NEAR:
            samples.popleft()
        return samples


def _middle(samples: deque[tuple[int, int, int]]) -> int:
    """Return the median, in whole milliseconds, as the record has it."""
    return round(median(off for *_, off in samples)) // 1000 * 1000


def _is_believable(samples: deque[tuple[int, int, int]], found: int, before: int | None) -> bool:
    """Whether the camera's clock is off by `found`: steadily, and for long if that is surprising."""
    if len(samples) < SAMPLES_MIN:
        return False
    low, _, high = quantiles((off for *_, off in samples), n=4, method="inclusive")
    near = [at for _, at, off in samples if abs(off - found) <= STEADY]
    is_surprising = abs(found) > HOUR_OFF if before is None else abs(found - before) > STEADY
    return high - low <= STEADY and (not is_surprising or max(near) - min(near) >= LASTING)
