"""Which events and frames retention may delete: too old, or the oldest when there is too much.

Never deleted: frames that are not decided, open events, and, unless the policy says so, unreviewed high or critical events.
An event is deleted as a whole, with all its frames, or kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.units import ALARMING_LEVELS

ROWS_AT_ONCE = 100


class RetentionPolicy(NamedTuple):
    """What is kept."""

    days: int = 30
    """Since discovery."""
    bytes_max: int | None = None
    """The most that the data dir may take."""
    originals: bool = False
    """Whether uploads are deleted, too."""
    unreviewed: bool = False
    """Whether unreviewed high and critical events are deleted, too."""


class DeletionGroup(NamedTuple):
    """What is deleted together: an event with its frames, or a frame without one."""

    event_id: int | None
    frames: list[int]


class DeletionCandidates:
    """The events and frames of a record that a policy allows to delete."""

    def __init__(self, record: Record, policy: RetentionPolicy) -> None:
        self.record, self.policy = record, policy

    def first_frame_since(self, at: int) -> int:
        """Return the first frame id that was discovered at or after `at` (microseconds): ids grow with discovery."""
        (low, high) = self.record.one("SELECT coalesce(min(id), 1), coalesce(max(id), 0) + 1 FROM frames")
        while low < high:
            middle = (low + high) // 2
            row = self.record.one("SELECT id, discovered_at FROM frames WHERE id >= ? ORDER BY id LIMIT 1", middle)
            if row and row[0] < high and row[1] < at:
                low = row[0] + 1
            else:
                high = middle
        return int(low)

    def groups(self, before: int) -> Iterator[DeletionGroup]:
        """Everything below this frame id that may be deleted, the oldest first."""
        last, sql = 0, (
            "SELECT id, event_id FROM frames WHERE id > ? AND id < ? AND pruned = 0 AND state <> 'discovered' "
            "AND (event_id IS NULL OR event_id = id) ORDER BY id LIMIT ?"
        )  # fmt: skip
        while rows := self.record.rows(sql, last, before, ROWS_AT_ONCE):
            for frame, event in rows:
                if event is None:
                    yield DeletionGroup(None, [frame])
                elif frames := self.frames_of(event, before):
                    yield DeletionGroup(event, frames)
            last = rows[-1][0]

    def frames_of(self, event: int, before: int) -> list[int]:
        """Return the frames of this event if it may be deleted and all of them are below this id."""
        sql = f"SELECT status = 'closed' AND (? OR reviewed OR NOT coalesce(risk_level IN {ALARMING_LEVELS}, 0)) FROM events WHERE id = ?"
        if not self.record.one(sql, self.policy.unreviewed, event)[0]:
            return []
        frames = [i for (i,) in self.record.rows("SELECT id FROM frames WHERE event_id = ?", event)]
        return frames if max(frames) < before else []

    def count_unreviewed(self, before: int) -> int:
        """How many events below this id are kept only because they are not reviewed."""
        sql = f"SELECT count(*) FROM events WHERE id < ? AND status = 'closed' AND NOT reviewed AND risk_level IN {ALARMING_LEVELS}"
        return 0 if self.policy.unreviewed else int(self.record.one(sql, before)[0])
