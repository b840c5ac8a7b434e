"""What people change: whether an event was reviewed, notes, cameras. Short transactions; the pipeline goes on beside them.

A camera is removed event by event, with its detections, history and messages; its frames stay in the ledger as settled,
so that its uploads, which are left where they are, are not taken in again. Every commit on the way balances.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hearthwatch.record import Record, now
from hearthwatch.record.units import box_ids

AT_ONCE = 500  # events per transaction: tens of milliseconds for which the pipeline waits
REMOVED = "its camera was removed"


def edit_event(record: Record, id: int, changes: Mapping[str, Any]) -> bool:
    """Set `reviewed` or `notes`; False if nobody was told of such an event."""
    sets = ", ".join(f"{column} = ?" for column in changes)  # the caller's model names the columns
    told = "id = ? AND status <> 'merged' AND risk_level IS NOT NULL"

    def write() -> bool:
        if not sets:
            return record.one(f"SELECT 1 FROM events WHERE {told}", id) is not None
        return record.execute(f"UPDATE events SET {sets} WHERE {told}", *changes.values(), id).rowcount > 0

    return record.transact(write)


def review(
    record: Record, reviewed: bool, ids: Sequence[int] | None, level: str | None, camera: str | None
) -> list[int]:
    """Mark these events, or all of a level; the ids of those that changed."""
    where, args = "status <> 'merged' AND risk_level IS NOT NULL AND reviewed <> ?", list[Any]([reviewed])
    for column, value in (("risk_level", level), ("camera_id", camera)):
        if value is not None:
            where, args = f"{where} AND {column} = ?", [*args, value]
    if ids is not None:
        where, args = f"{where} AND id IN (SELECT value FROM json_each(?))", [*args, json.dumps(list(ids))]
    sql = (
        f"UPDATE events SET reviewed = ? WHERE id IN (SELECT id FROM events WHERE {where} LIMIT {AT_ONCE}) RETURNING id"
    )
    changed: list[int] = []
    while some := record.transact(lambda: record.rows(sql, reviewed, *args)):
        changed += [i for (i,) in some]
    return changed


def add_camera(record: Record, id: str, name: str, folder: str, status: str, notes: str | None) -> bool:
    """False if there is one with this id."""
    sql = "INSERT OR IGNORE INTO cameras(id, name, folder_path, status, created_at, notes) VALUES (?,?,?,?,?,?)"
    return record.transact(lambda: record.execute(sql, id, name, folder, status, now(), notes).rowcount > 0)


def edit_camera(record: Record, id: str, changes: Mapping[str, Any]) -> bool:
    sets = ", ".join(f"{column} = ?" for column in changes)

    def write() -> bool:
        if not sets:
            return record.one("SELECT 1 FROM cameras WHERE id = ?", id) is not None
        return record.execute(f"UPDATE cameras SET {sets} WHERE id = ?", *changes.values(), id).rowcount > 0

    return record.transact(write)


def remove_camera(record: Record, id: str, data_dir: Path) -> bool:
    """Forget a camera and all that was seen by it. False if there is none. A second call ends what a kill cut short."""
    if record.one("SELECT 1 FROM cameras WHERE id = ?", id) is None:
        return False
    while thumbnails := record.transact(lambda: _remove_events(record, id)):
        for path in thumbnails:
            (data_dir / path).unlink(missing_ok=True)
    record.transact(lambda: _remove_camera(record, id))
    return True


def _remove_events(record: Record, camera: str) -> list[str]:
    """One batch of events; the thumbnails that nobody needs any more (at least a placeholder if there were events)."""
    events = [i for (i,) in record.rows("SELECT id FROM events WHERE camera_id = ? LIMIT ?", camera, AT_ONCE)]
    if not events:
        return []
    marks = ",".join("?" * len(events))
    (merged,) = record.one(f"SELECT count(*) FROM events WHERE id IN ({marks}) AND status = 'merged'", *events)
    frames = record.rows(f"SELECT id, thumbnail_path FROM frames WHERE event_id IN ({marks})", *events)
    ranges = [box_ids(i) for i, _ in frames]
    boxes = record.many("DELETE FROM detections WHERE id BETWEEN ? AND ?", ranges)
    record.many("DELETE FROM suppressed WHERE id BETWEEN ? AND ?", ranges)
    record.execute(f"UPDATE frames SET event_id = NULL, thumbnail_path = NULL WHERE event_id IN ({marks})", *events)
    for rows in (
        "event_history WHERE NOT shadow AND event_id",
        "event_history WHERE shadow AND event_id",
        "feed WHERE event_id",
        "events WHERE id",
    ):
        record.execute(f"DELETE FROM {rows} IN ({marks})", *events)
    record.count(detections=-boxes, events=merged - len(events))
    return [path for _, path in frames if path] or ["thumbnails/none"]


def _remove_camera(record: Record, camera: str) -> None:
    while _remove_events(record, camera):  # opened since: they go with the camera
        pass
    for state in ("discovered", "quarantined"):
        n = record.execute(
            "UPDATE frames SET state = 'settled', error_stage = coalesce(error_stage, 'camera'), error = coalesce(error, ?) "
            f"WHERE state = '{state}' AND camera_id = ?", REMOVED, camera,
        ).rowcount  # fmt: skip
        record.count(settled=n, **{state: -n})
    for table in ("suppressed", "spots"):
        record.execute(f"DELETE FROM {table} WHERE camera_id = ?", camera)
    record.execute("DELETE FROM inbox WHERE camera = (SELECT folder_path FROM cameras WHERE id = ?)", camera)
    record.execute("DELETE FROM cameras WHERE id = ?", camera)
