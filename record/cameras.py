"""Add, edit and delete cameras, and mark those that are silent: no picture for longer than usual for this camera.

`mark_silent_cameras` stores `offline`, so that every reader of the table sees it; the next picture makes the camera `online`
again. A camera is deleted event by event; its frames stay in the ledger as settled, so that its uploads, which are kept, are
not taken in again. The ledger balances at every commit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

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
    """Set columns of a camera; False if there is none."""
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


def merge_camera(record: Record, id: str, into: str) -> bool:
    """Make all that is known of a camera another one's, its folder included; False if one of the two does not exist.

    In short transactions, the first of which sends new pictures to the other camera; a second call finishes what a kill cut short.
    """
    if not record.transact(lambda: _add_alias(record, id, into)):
        return False
    while record.transact(lambda: _move_some(record, id, into)):
        time.sleep(PAUSE_SECONDS)
    record.transact(lambda: _finish_merge(record, id, into))
    return True


def _add_alias(record: Record, id: str, into: str) -> bool:
    if record.one("SELECT count(*) FROM cameras WHERE id IN (?, ?)", id, into) != (2,):
        return False
    record.execute("UPDATE camera_aliases SET into_id = ? WHERE into_id = ?", into, id)
    record.execute(
        "INSERT OR REPLACE INTO camera_aliases SELECT id, ?, folder_path FROM cameras WHERE id = ?", into, id
    )
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
    record.execute("UPDATE cameras SET neighbours = replace(neighbours, json_quote(?), json_quote(?))", id, into)
    both = "FROM cameras WHERE id IN (?1, ?2)"
    sql = f"UPDATE cameras SET created_at = (SELECT min(created_at) {both}), last_seen_at = (SELECT max(last_seen_at) {both}) WHERE id = ?2"
    record.execute(sql, id, into)
    record.execute("DELETE FROM cameras WHERE id = ?", id)


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


def mark_silent_cameras(record: Record, at: int) -> list[str]:
    """Mark online cameras that are silent at this time as `offline`; return their ids."""
    rows = record.rows(
        "SELECT id, last_seen_at FROM cameras WHERE status = 'online' AND last_seen_at < ?", at - SILENT_MIN
    )
    silent = [(camera, seen) for camera, seen in rows if at - seen > silence_max(record, camera, at)]
    if silent:  # unless a picture came meanwhile
        sql = "UPDATE cameras SET status = 'offline' WHERE id = ? AND last_seen_at = ?"
        record.transact(lambda: record.many(sql, silent))
    return [camera for camera, _ in silent]
