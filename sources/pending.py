"""Read the events that wait for a verdict of the language model: the queue is the record.

An event comes out as a `Case` once it is pending and due, closed or (for a model that reads pictures) worth it while it is open,
and not in flight in this process already; so nothing is remembered and nothing to snapshot. The oldest first, so that each is judged in turn; the newest when far behind. Emits
only as many as may be in flight: while the server is unavailable that is none, and the events wait in the record.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from bytewax.inputs import StatefulSourcePartition

from hearthwatch.record import Record, acquire_lock
from hearthwatch.record.timings import write_heartbeat
from hearthwatch.record.verdicts import Verdicts
from hearthwatch.schemas.case import Case
from hearthwatch.schemas.context import Context
from hearthwatch.sources.one_partition import OnePartitionSource

POLL = timedelta(seconds=0.01)  # an indexed lookup of some 10 µs: 0.1 % of a CPU
HEARTBEAT_SECONDS = 2.0


class PendingEvents(OnePartitionSource[Case]):
    """What a stage that accepts `Case` reads: one queue per record."""

    def __init__(self, context: Context) -> None:
        super().__init__("record", lambda _: PendingPartition(context))


class PendingPartition(StatefulSourcePartition[Case, None]):
    """Holds the lock that keeps a second judge of this record out."""

    def __init__(self, context: Context) -> None:
        self.lock = acquire_lock("judge", context.record_path, context.data_dir)
        self.verdicts = Verdicts(Record(context.record_path), context.zone, context.incidents_path)
        self.in_flight, self.timings = context.in_flight, context.timings
        self.in_flight.ids.clear()
        self.due, self.heartbeat_due = datetime.now(UTC), 0.0

    def next_batch(self) -> list[Case]:
        self.due = datetime.now(UTC) + POLL
        if time.monotonic() >= self.heartbeat_due:
            self._write_heartbeat()
        room = self.in_flight.room()
        early = self.in_flight.asks_early()
        cases = self.verdicts.due(room, self.in_flight.ids, early=early) if room else []
        self.in_flight.ids.update(case.event.id for case in cases)
        return cases

    def next_awake(self) -> datetime:
        return self.due

    def snapshot(self) -> None:
        return None

    def close(self) -> None:
        self.in_flight.ids.clear()
        self.verdicts.record.close()
        self.lock.release()

    def _write_heartbeat(self) -> None:
        waiting, in_flight = self.verdicts.waiting(), len(self.in_flight.ids)
        counters = {"waiting": waiting, "in_flight": in_flight, "places": self.in_flight.limit()}
        counters["pictures"] = int(self.in_flight.asks_early())
        write_heartbeat(self.verdicts.record, "judge", self.timings, counters)
        self.heartbeat_due = time.monotonic() + HEARTBEAT_SECONDS
