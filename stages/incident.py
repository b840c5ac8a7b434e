"""Group events into incidents, on a thread behind a durable cursor; the dataflow never waits for it.

Exactly once in effect: rows, cursor and messages share a transaction. One process at a time per record. Where there are several
cells, the worker of the first one groups the events of all, and those of the others do nothing.
"""

from __future__ import annotations

import time
from typing import Annotated

from pydantic import Field

from hearthwatch.record import Record
from hearthwatch.record.cell_incidents import CellIncidents, take_over
from hearthwatch.record.incidents import CURSOR, Incidents, Reach
from hearthwatch.record.units import SECOND
from hearthwatch.schemas import Consumer, Mirror
from hearthwatch.schemas.context import Context

COPY_SECONDS = 0.1  # between copies of other cells' changes: an event that grows with each picture is copied once


class IncidentGrouping(Consumer):
    """Make one incident of events that are close in time, across cameras."""

    durable = True
    whole = True

    same_camera_seconds: Annotated[float, Field(gt=0)] = 180
    """The longest pause between two events of one camera that are one incident, in seconds of capture time."""
    other_camera_seconds: Annotated[float, Field(ge=0)] = 90
    """The same for events of two cameras that are neighbours."""

    def label(self) -> str:
        return f"{self.same_camera_seconds:g} s apart, {self.other_camera_seconds:g} s between cameras"

    def build(self, context: Context) -> IncidentWorker:
        return IncidentWorker(self, context)

    def reach(self) -> Reach:
        """Convert the options to the record's unit."""
        return Reach(round(self.same_camera_seconds * SECOND), round(self.other_camera_seconds * SECOND))


class IncidentWorker(Mirror):
    """Follows the feed of one record, and what changes in those of other cells."""

    def __init__(self, options: IncidentGrouping, context: Context) -> None:
        self.reach, self.path = options.reach(), context.record_path
        self.is_first, self.others = context.cell in (None, *context.cells[:1]), context.cells[1:]
        self._copy_due = 0.0

    def open(self) -> None:
        self.record = Record(self.path)
        if self.is_first:
            take_over(self.record)
        self.incidents = Incidents(self.record, self.reach)
        self.cells = CellIncidents(self.incidents, self.others if self.is_first else ())

    def catch_up(self) -> int:
        if not self.is_first:
            feed, last = self.incidents.feed, self.incidents.feed.last()
            if feed.cursor(CURSOR) < last:
                feed.advance(CURSOR, last)
            return last
        if time.monotonic() < self._copy_due:
            self.idle_seconds = COPY_SECONDS
            while self.incidents.is_behind():
                self.incidents.update()
            return self.incidents.feed.cursor(CURSOR)
        is_behind, self.idle_seconds = True, Mirror.idle_seconds
        while is_behind:
            clock = self.cells.arrival_clock()  # before the messages: what was decided by then is among them
            is_behind = self.cells.take_in()
            while self.incidents.is_behind():
                self.incidents.update()
            self.cells.write_links()
        self._copy_due = time.monotonic() + COPY_SECONDS if self.others else 0.0
        self.incidents.close_due(clock)
        self.incidents.link_waiting()  # one step a second, so that live work does not wait for it
        return self.incidents.feed.cursor(CURSOR)

    def close(self) -> None:
        self.cells.close()
        self.record.close()
