"""When a camera is silent: no picture for longer than is usual for this one. Times in microseconds.

`fall_silent` writes down what `patience` says, so that whoever reads the table sees `offline`, too; the next picture makes
the camera `online` again. It writes only what changes.
"""

from __future__ import annotations

from itertools import pairwise

from hearthwatch.record import Record
from hearthwatch.record.units import DAY, QUARTER, SECOND

HABIT_DAYS = 7  # what is usual for a camera is what it did in the last week
HABIT_QUARTERS_MIN = 8  # with less to go by, a camera is silent after an hour
SILENT_MIN = 1800 * SECOND
SILENT_NEW = 3600 * SECOND


def silence_max(record: Record, camera: str, now: int) -> int:
    """How long this camera may be silent, in microseconds: half as long again as its second-longest pause of the week.

    The second, because one outage is no habit; quiet nights are one.
    """
    first = (now - HABIT_DAYS * DAY) // QUARTER
    quarters = [
        q
        for (q,) in record.rows(
            "SELECT quarter FROM pictures WHERE camera_id = ? AND quarter >= ? ORDER BY quarter", camera, first
        )
    ]
    if len(quarters) < HABIT_QUARTERS_MIN:
        return SILENT_NEW
    pauses: list[int] = sorted(b - a for a, b in pairwise(quarters))
    return max(SILENT_MIN, pauses[-2] * QUARTER * 3 // 2)


def mark_silent_cameras(record: Record, now: int) -> list[str]:
    """Mark online cameras that are silent by now as `offline`; which they were."""
    seen = record.rows(
        "SELECT id, last_seen_at FROM cameras WHERE status = 'online' AND last_seen_at < ?", now - SILENT_MIN
    )
    silent = [(camera, at) for camera, at in seen if now - at > silence_max(record, camera, now)]
    if silent:  # unless a picture came meanwhile
        quiet = "UPDATE cameras SET status = 'offline' WHERE id = ? AND last_seen_at = ?"
        record.transact(lambda: record.many(quiet, silent))
    return [camera for camera, _ in silent]
