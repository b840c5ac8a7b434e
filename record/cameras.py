"""Add, edit and delete cameras, and mark those that are silent: no picture for longer than usual for this camera.

`mark_silent_cameras` stores `offline`, so that every reader of the table sees it; the next picture makes the camera `online`
again. A camera is deleted event by event; its frames stay in the ledger as settled, so that its uploads, which are kept, are
not taken in again. The ledger balances at every commit.

Where a folder of one cell is merged into a camera of another, its rows stay in the record that reads it, and the camera has a second
row there, with the number of its cell: ids are promised to stay, and only that ledger knows which uploads were taken in.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from hearthwatch.record import Record, now
from hearthwatch.record.alerts import delete_alerts, move_alerts
from hearthwatch.record.events import delete_events
from hearthwatch.record.pictures import kept_path
from hearthwatch.record.units import DAY, QUARTER, SECOND, box_ids

EVENTS_AT_ONCE = 500  # in one transaction: tens of milliseconds for which the pipeline waits
FRAMES_AT_ONCE = 200  # the same, with all their boxes
PAUSE_SECONDS = 0.01  # between two transactions, for other writers
NEVER_SEEN = "UPDATE cameras SET status = 'offline' WHERE status = 'online' AND last_seen_at IS NULL"
REMOVED = "its camera was removed"
HABIT_DAYS = 7  # the week that says what is usual for a camera
HABIT_QUARTERS_MIN = 8  # with less to go by, a camera is silent after an hour
SILENT_MIN = 1800 * SECOND
SILENT_NEW = 3600 * SECOND


def add_camera(record: Record, id: str, name: str, folder: str, status: str, notes: str | None) -> bool:
    """Add a camera; False if its id exists. It is not online before its first picture."""
    sql = "INSERT OR IGNORE INTO cameras(id, name, folder_path, status, created_at, notes) VALUES (?,?,?,?,?,?)"

    def write() -> bool:
        added = record.execute(sql, id, name, folder, status, now(), notes).rowcount > 0
        record.execute(f"{NEVER_SEEN} AND id = ?", id)
        return added

    return record.transact(write)


def edit_camera(record: Record, id: str, changes: Mapping[str, Any]) -> bool:
    """Set columns of a camera; False if there is none. A second row keeps its folder."""
    if is_second_row(record, id):
        changes = {column: value for column, value in changes.items() if column != "folder_path"}
    sets = ", ".join(f"{column} = ?" for column in changes)

    def write() -> bool:
        if not sets:
            return record.one("SELECT 1 FROM cameras WHERE id = ?", id) is not None
        found = record.execute(f"UPDATE cameras SET {sets} WHERE id = ?", *changes.values(), id).rowcount > 0
        record.execute(f"{NEVER_SEEN} AND id = ?", id)
        return found

    return record.transact(write)


def remove_camera(record: Record, id: str, data_dir: Path) -> bool:
    """Delete a camera and all that was detected by it; False if there is none. A second call finishes what a kill cut short."""
    if record.one("SELECT 1 FROM cameras WHERE id = ?", id) is None:
        return False
    while (files := record.transact(lambda: _delete_some_events(record, id))) is not None:
        for path in files:
            (data_dir / path).unlink(missing_ok=True)
    record.transact(lambda: _delete_camera(record, id))
    return True


def _delete_some_events(record: Record, camera: str) -> list[str] | None:
    """Delete some of a camera's events; the thumbnails and kept originals of their frames, None if there were no events."""
    events = [i for (i,) in record.rows("SELECT id FROM events WHERE camera_id = ? LIMIT ?", camera, EVENTS_AT_ONCE)]
    if not events:
        return None
    marks = ",".join("?" * len(events))
    frames = record.rows(
        f"SELECT id, captured_at, path, thumbnail_path FROM frames WHERE event_id IN ({marks})", *events
    )
    delete_events(record, events, [i for i, *_ in frames])
    return [path for *picture, thumbnail in frames for path in (thumbnail, kept_path(*picture)) if path]


def _delete_camera(record: Record, camera: str) -> None:
    while _delete_some_events(record, camera) is not None:  # opened since: they are deleted with the camera
        pass
    for state in ("discovered", "quarantined"):
        n = record.execute(
            "UPDATE frames SET state = 'settled', content_hash = NULL, error_stage = coalesce(error_stage, 'camera'), error = coalesce(error, ?) "
            f"WHERE state = '{state}' AND camera_id = ?", REMOVED, camera,
        ).rowcount  # fmt: skip
        record.count(settled=n, **{state: -n})
    while delete_alerts(record, "camera_id = ?", camera):
        pass
    for table in ("suppressed", "spots", "baselines"):
        record.execute(f"DELETE FROM {table} WHERE camera_id = ?", camera)
    record.execute("DELETE FROM feedback WHERE json_extract(signature, '$.camera_id') = ?", camera)
    record.execute("DELETE FROM inbox WHERE camera = (SELECT folder_path FROM cameras WHERE id = ?)", camera)
    record.execute("DELETE FROM camera_aliases WHERE into_id = ?", camera)
    record.execute("DELETE FROM cameras WHERE id = ?", camera)


def merged_into(record: Record, id: str) -> str | None:
    """Return the camera that this one was merged into; None: it was not."""
    row = record.one("SELECT into_id FROM camera_aliases WHERE id = ?", id)
    return row and str(row[0])


class CameraSettings(NamedTuple):
    """What all rows of a camera have in common; `home_cell` is of its second ones."""

    home_cell: int
    name: str
    notes: str | None
    zones: str | None
    neighbours: str | None
    notify_level: str | None


def read_settings(record: Record, id: str) -> CameraSettings | None:
    """Read those of a camera of any of the cells that are read; None: there is none."""
    columns = ", ".join(CameraSettings._fields[1:])
    sql = f"SELECT coalesce(home_cell, ?), {columns}, home_cell IS NOT NULL FROM cameras WHERE id = ?"
    rows = [row for cell in record.cells or (record,) for row in cell.rows(sql, cell.number, id)]
    first = min(rows, key=lambda row: bool(row[-1]), default=None)
    return first and CameraSettings(*first[:-1])


def is_second_row(record: Record, id: str) -> bool:
    """Whether this record has a row of a camera whose own folder is read by another cell."""
    return record.one("SELECT 1 FROM cameras WHERE id = ? AND home_cell IS NOT NULL", id) is not None


def merge_camera(record: Record, id: str, into: str, elsewhere: CameraSettings | None = None) -> bool:
    """Make all that a record knows of a camera another one's, its folder included; False if it does not have the two.

    `elsewhere`: the other camera's, which may be of another cell: then it gets a second row here. In short transactions, the first of
    which sends new pictures to the other camera; a second call finishes what a kill cut short.
    """
    if not record.transact(lambda: _add_alias(record, id, into, elsewhere)):
        if elsewhere:
            record.transact(lambda: _rename_neighbour(record, id, into))
        return False
    while record.transact(lambda: _move_some(record, id, into)):
        time.sleep(PAUSE_SECONDS)
    record.transact(lambda: _finish_merge(record, id, into))
    return True


def _add_alias(record: Record, id: str, into: str, elsewhere: CameraSettings | None = None) -> bool:
    if elsewhere:
        kept = "folder_path, status, created_at, last_seen_at, behind, clock_offset_ms"
        record.execute(
            f"INSERT OR IGNORE INTO cameras(id, {', '.join(CameraSettings._fields)}, {kept}) SELECT ?,?,?,?,?,?,?, {kept} FROM cameras WHERE id = ?",
            into, *elsewhere, id,
        )  # fmt: skip
    if record.one("SELECT count(*) FROM cameras WHERE id IN (?, ?)", id, into) != (2,):
        return False
    record.execute("UPDATE camera_aliases SET into_id = ? WHERE into_id = ?", into, id)
    record.execute(
        "INSERT OR REPLACE INTO camera_aliases SELECT id, ?, folder_path FROM cameras WHERE id = ? AND home_cell IS NULL",
        into, id,
    )  # fmt: skip
    return True


def _move_some(record: Record, id: str, into: str) -> bool:
    """Move some frames with their boxes, and some events; whether there may be more. Each query reads an index."""
    frames = [
        frame
        for state in ("settled", "quarantined", "discovered")
        for (frame,) in record.rows(
            f"SELECT id FROM frames WHERE state = '{state}' AND camera_id = ? LIMIT ?", id, FRAMES_AT_ONCE
        )
    ]
    events = record.rows("SELECT id FROM events WHERE camera_id = ? LIMIT ?", id, EVENTS_AT_ONCE)
    record.many("UPDATE frames SET camera_id = ? WHERE id = ?", [(into, frame) for frame in frames])
    for table in ("detections", "suppressed"):
        sql = f"UPDATE {table} SET camera_id = ? WHERE id BETWEEN ? AND ?"
        record.many(sql, [(into, *box_ids(frame)) for frame in frames])
    record.many("UPDATE events SET camera_id = ? WHERE id = ?", [(into, event) for (event,) in events])
    record.many("INSERT OR IGNORE INTO incident_queue VALUES (?)", events)
    return bool(frames or events)


def _finish_merge(record: Record, id: str, into: str) -> None:
    while _move_some(record, id, into):  # what the pipeline decided meanwhile
        pass
    record.execute("UPDATE spots SET camera_id = ? WHERE camera_id = ?", into, id)
    move_alerts(record, id, into)
    signature = "json_set(signature, '$.camera_id', ?)"
    record.execute(
        f"UPDATE feedback SET signature = {signature} WHERE json_extract(signature, '$.camera_id') = ?", into, id
    )
    _rename_neighbour(record, id, into)
    both = "FROM cameras WHERE id IN (?1, ?2)"
    sql = f"UPDATE cameras SET created_at = (SELECT min(created_at) {both}), last_seen_at = (SELECT max(last_seen_at) {both}) WHERE id = ?2"
    record.execute(sql, id, into)
    record.execute("DELETE FROM cameras WHERE id = ?", id)


def _rename_neighbour(record: Record, id: str, into: str) -> None:
    record.execute("UPDATE cameras SET neighbours = replace(neighbours, json_quote(?), json_quote(?))", id, into)


def silence_max(record: Record, camera: str, at: int) -> int:
    """How long this camera may be silent, in microseconds: 1.5 times its second-longest pause of the week.

    The second, because one outage is no habit; quiet nights are one.
    """
    first = (at - HABIT_DAYS * DAY) // QUARTER
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


def mark_silent_cameras(record: Record, at: int, elsewhere: Mapping[tuple[str, int | None], int] = {}) -> list[str]:
    """Mark online cameras that are silent at this time as `offline`; return their ids.

    `elsewhere`: when other cells saw a camera, by id and `home_cell`. It is silent if the cell that saw it last finds it so.
    """
    rows = record.rows(
        "SELECT id, home_cell, last_seen_at, status FROM cameras WHERE status <> 'error' AND last_seen_at < ?",
        at - SILENT_MIN,
    )
    seen_later = {camera for camera, home, seen, _ in rows if seen < elsewhere.get((camera, home), 0)}
    changes = [
        ("online" if status == "offline" else "offline", camera, seen)
        for camera, _, seen, status in rows
        if (status == "offline" and camera in seen_later)
        or (status == "online" and camera not in seen_later and at - seen > silence_max(record, camera, at))
    ]
    if changes:  # unless a picture came meanwhile
        sql = "UPDATE cameras SET status = ? WHERE id = ? AND last_seen_at = ?"
        record.transact(lambda: record.many(sql, changes))
    return [camera for status, camera, _ in changes if status == "offline"]
