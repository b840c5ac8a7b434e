"""Say what time it is for retention: a clock that was set wrong must not make everything old at once.

The time of the last run is kept in the record (`meta.retention_clock`). A wall clock that is at most a day ahead of it is
trusted, so is one that is behind: that deletes less. One that is further ahead was stepped, or nothing ran for long, and no
one can say which: then the kept time catches up by a day for each hour of running. `hearthwatch prune` trusts the wall.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.units import DAY
from hearthwatch.record.witness import last_sign_of_life
from hearthwatch.schemas.items import from_microseconds

DOUBT = DAY  # microseconds: restarts, short power cuts and time zones stay below it
CATCH_UP = 24  # times as fast as time passes: a clock that is put right within hours has cost nothing
KEY = "retention_clock"


class RetentionTime(NamedTuple):
    """As of when ages are counted, and how far the wall clock is ahead of that; in microseconds."""

    at: int
    ahead: int

    def describe(self) -> str:
        return (
            f"the server's clock is {self.ahead / DAY:.0f} days ahead of what the record last saw: it was set, or nothing ran for long. "
            f"Retention counts ages as of {from_microseconds(self.at):%Y-%m-%d %H:%M} UTC and catches up by a day an hour; if the clock "
            "is right, `hearthwatch prune` deletes now"
        )


def read_clock(record: Record, wall: int, ran: int) -> RetentionTime:
    """Move the kept time forward to `wall`, as far as it is trusted after running for `ran` microseconds since the last call."""
    stored = _stored(record)
    kept = stored.at if stored else wall
    at = wall if wall - kept <= DOUBT else min(wall, kept + CATCH_UP * ran)
    return keep_clock(record, RetentionTime(at, wall - at), kept)


def keep_clock(record: Record, time: RetentionTime, kept: int = 0) -> RetentionTime:
    """Store the time, never an earlier one than `kept`."""
    text = json.dumps({"at": max(time.at, kept), "ahead": time.ahead})
    record.transact(lambda: record.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", KEY, text))
    return time


def note_last_sign_of_life(record: Record) -> None:
    """Begin to keep the time, where the record last had a sign of life; before anything is written."""
    if _stored(record) is None and (at := last_sign_of_life(record)):
        keep_clock(record, RetentionTime(at, 0))


def doubted_clock(record: Record) -> RetentionTime | None:
    """Return what the last run of retention counted by, if it doubted the wall clock."""
    time = _stored(record)
    return time if time and time.ahead else None


def _stored(record: Record) -> RetentionTime | None:
    row = record.one("SELECT value FROM meta WHERE key = ?", KEY)
    return RetentionTime(**json.loads(row[0])) if row else None
