"""Let the incidents of a data dir span its cells: the record of the first cell has all of them.

Every other record notes which of its events and alerts changed (`changed_members`, by triggers, while `meta.incidents_in` is set).
The worker of the first cell copies them, links them in the same transaction, and writes the links into their
record. It notices a record that was restored, or comes from elsewhere, and copies all of it again. Each step may be repeated, so a
kill at any commit costs nothing. One per thread; the caller holds the lock of the first cell's incidents.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial

from hearthwatch.record import Record, RecordError
from hearthwatch.record.incidents import ROWS_AT_ONCE, Incidents, read_arrival_clock
from hearthwatch.record.units import ALERT_IDS, CELL_BITS
from hearthwatch.record.witness import last_restore
from hearthwatch.schemas.context import Cell

IN = "incidents_in"  # of `meta`: in which record the incidents are, and what was restored by then
_IDS = "IN (SELECT value FROM json_each(?))"
_CAMERAS = "SELECT id, name, neighbours, notify_level FROM"


def take_over(record: Record) -> None:
    """Let a record have its incidents itself from now on; its events are linked again if another one had them."""

    def begin() -> None:
        record.execute("DELETE FROM meta WHERE key = ?", IN)
        record.execute("DELETE FROM changed_members")
        record.execute("INSERT OR IGNORE INTO incident_queue SELECT id FROM own_members")

    if record.meta(IN) is not None:
        record.transact(begin)


class CellIncidents:
    """Copies changes of the other cells to the first one's incidents, and writes the links into their records."""

    def __init__(self, incidents: Incidents, others: Sequence[Cell]) -> None:
        self.incidents, self.record, self.others = incidents, incidents.record, others
        self._records: dict[int, Record] = {}
        self._taken: dict[int, int] = {}
        """Cell → the last change that was copied."""

    def arrival_clock(self) -> int:
        """Read the arrival clock of the cell that is furthest behind; 0: none has one."""
        clocks = map(read_arrival_clock, (self.record, *self._records.values()))
        return min(filter(None, clocks), default=0)

    def take_in(self) -> bool:
        """Copy and link some of what changed, or of what no change leads to; whether there may be more changes."""
        more = False
        for cell in self.others:
            if (record := self._find_record(cell)) is None:
                continue
            self._copy_cameras(cell, record)
            sql = "SELECT seq, id FROM changed_members WHERE seq > ? ORDER BY seq LIMIT ?"
            if changes := record.rows(sql, self._taken.get(cell.number, 0), ROWS_AT_ONCE):
                self._take(record, [id for _, id in changes])
                self._taken[cell.number], more = changes[-1][0], True
            queued = "SELECT event_id FROM incident_queue ORDER BY event_id DESC LIMIT ?"
            if ids := [id for (id,) in record.rows(queued, ROWS_AT_ONCE)]:
                self._take(record, ids, old_news=True)
                record.execute(f"DELETE FROM incident_queue WHERE event_id {_IDS}", json.dumps(ids))
        return more

    def write_links(self) -> None:
        """Write into each record which incidents its events and alerts belong to, and remove its changes."""
        for number, record in self._records.items():
            first, taken = number << CELL_BITS, self._taken.pop(number, 0)
            sql = "SELECT incident_id, id FROM cell_members WHERE incident_id IS NOT written AND id BETWEEN ? AND ?"
            links = self.record.rows(sql, first, first + (1 << CELL_BITS) - 1)

            def write(record: Record = record, links: list[tuple[int, int]] = links, taken: int = taken) -> None:
                for table, column in (("events", "id"), ("alerts", f"{ALERT_IDS} + id")):
                    record.many(f"UPDATE {table} SET incident_id = ? WHERE {column} = ?", links)
                record.execute("DELETE FROM changed_members WHERE seq <= ?", taken)

            if links or taken:
                record.transact(write)
            if links:
                note = partial(self.record.many, "UPDATE cell_members SET written = ? WHERE id = ?", links)
                self.record.transact(note)

    def close(self) -> None:
        """Close the records of the other cells."""
        for record in self._records.values():
            record.close()

    def _find_record(self, cell: Cell) -> Record | None:
        """Return the record of another cell; None: its own process has yet to make or to upgrade it."""
        if cell.number not in self._records:
            if not cell.record_path.exists():
                return None
            try:
                self._records[cell.number] = Record(cell.record_path)
            except RecordError:
                return None  # which its own process reports
        record = self._records[cell.number]
        known = [self.record.store_id, *last_restore(self.record), *last_restore(record)]
        if record.meta(IN) != known:
            first = cell.number << CELL_BITS
            sql = "SELECT id FROM cell_members WHERE id BETWEEN ? AND ?"
            copied = self.record.rows(sql, first, first + (1 << CELL_BITS) - 1)
            record.transact(lambda: _begin(record, json.dumps(known), copied))
        return record

    def _take(self, record: Record, ids: list[int], *, old_news: bool = False) -> None:
        members = record.rows(f"SELECT * FROM own_members WHERE id {_IDS}", json.dumps(ids))
        self.incidents.take_in(ids, members, old_news=old_news)

    def _copy_cameras(self, cell: Cell, record: Record) -> None:
        here, there = (
            self.record.rows(f"{_CAMERAS} cell_cameras WHERE cell = ? ORDER BY id", cell.number),
            record.rows(f"{_CAMERAS} cameras ORDER BY id"),
        )

        def write() -> None:
            self.record.execute("DELETE FROM cell_cameras WHERE cell = ?", cell.number)
            rows = [(*camera, cell.number, record.store_id) for camera in there]
            self.record.many("INSERT INTO cell_cameras VALUES (?,?,?,?,?,?)", rows)

        if here != there:
            self.record.transact(write)


def _begin(record: Record, known: str, copied: list[tuple[int]]) -> None:
    """Note all changes from now on, and all that is there or was copied: what was never linked is news."""
    record.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", IN, known)
    record.many("INSERT OR IGNORE INTO incident_queue VALUES (?)", copied)
    record.execute("INSERT OR IGNORE INTO incident_queue SELECT id FROM own_members WHERE incident_id IS NOT NULL")
    new = "SELECT id FROM own_members WHERE incident_id IS NULL AND id NOT IN (SELECT event_id FROM incident_queue)"
    record.execute(f"INSERT OR IGNORE INTO changed_members(id) {new}")
    record.execute("DELETE FROM feed WHERE kind = 'incident'")
    record.execute("DELETE FROM incidents")
