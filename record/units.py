"""The record's units and the SQL that depends on them: microseconds of time, ids of boxes, levels of risk."""

from __future__ import annotations

from hearthwatch.schemas.items import PER_FRAME, RISK_FLOORS

SECOND = 1_000_000  # microseconds, the unit of every time in the record
QUARTER = 900 * SECOND  # of an hour: time zones differ by quarters, so counts by quarter add up to anyone's day
HOUR = 3600 * SECOND
DAY = 24 * HOUR
BACKLOG = 2  # `frames.behind` of a picture that waited on disk behind live ones; 1: a live one of such a camera
NEVER = 1 << 62  # later than any time, larger than any id

CELL_BITS = 36  # an id is `cell << CELL_BITS | n`
ALERT_IDS = 1 << 35  # alert n is member ALERT_IDS + n of an incident: no event's id has this bit

LEVELS: tuple[str, ...] = tuple(RISK_FLOORS)
ALARMING = RISK_FLOORS["high"]
ALARMING_LEVELS = "('high', 'critical')"
"""SQL list of the levels at or above `ALARMING`."""
LEVEL_OF_SCORE = (
    f"CASE {' '.join(f'WHEN risk_score >= {n} THEN {level!r}' for level, n in reversed(RISK_FLOORS.items()))} END"
)
"""SQL expression: the level of the column `risk_score`."""

BOXES_OF_FRAME = f"d.id BETWEEN f.id * {PER_FRAME} AND f.id * {PER_FRAME} + {PER_FRAME - 1}"
"""SQL condition: box `d` (of `detections` or `suppressed`) was found in frame `f`. A range, so the primary key finds it."""


def box_ids(frame_id: int) -> tuple[int, int]:
    """Return the first and the last id that a box of this frame may have."""
    return frame_id * PER_FRAME, frame_id * PER_FRAME + PER_FRAME - 1
