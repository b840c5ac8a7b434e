"""Events that wait for a verdict of the language model: the queue is the record, this only reads it.

An event comes out as a `Case` once it is closed, pending and due, and not in flight in this process already; so nothing
is remembered and nothing to snapshot. The oldest first, so that each is judged in turn; the newest when far behind. Emits
only as many as may be in flight: while the server is unavailable that is none, and the events wait in the record.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from hearthwatch.record import Record, acquire_lock
from hearthwatch.record.verdicts import Case, Verdicts
from hearthwatch.schemas.context import Context

POLL = timedelta(seconds=0.01)  # an indexed lookup of some 10 µs: 0.1 % of a CPU
HEARTBEAT_SECONDS = 2.0


class PendingEvents(FixedPartitionedSource[Case, None]):
    """What a stage that accepts `Case` reads: one queue per record."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def list_parts(self) -> list[str]:
        return ["record"]

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> PendingPartition:
        return PendingPartition(self.context)


class PendingPartition(StatefulSourcePartition[Case, None]):
    """Holds the lock that keeps a second judge of this record out."""

    def __init__(self, context: Context) -> None:
        self.lock = acquire_lock(context.data_dir, "judge")
        self.verdicts = Verdicts(Record(context.record_path), context.zone)
        self.in_flight, self.timings = context.in_flight, context.timings
        self.in_flight.ids.clear()
        self.due, self.heartbeat_due = datetime.now(UTC), 0.0

    def next_batch(self) -> list[Case]:
        self.due = datetime.now(UTC) + POLL
        if time.monotonic() >= self.heartbeat_due:
            self._write_heartbeat()
        room = self.in_flight.room()
        cases = self.verdicts.due(room, self.in_flight.ids) if room else []
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
        counters: dict[str, Any] = {
            "waiting": self.verdicts.waiting(),
            "in_flight": len(self.in_flight.ids),
            "places": self.in_flight.limit(),
            "seconds": self.timings.summary("judge"),
        }
        self.verdicts.beat(os.getpid(), counters)
        self.heartbeat_due = time.monotonic() + HEARTBEAT_SECONDS
