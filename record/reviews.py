"""Change events by hand: reviewed or not, notes. Short transactions while the pipeline runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hearthwatch.record import Record
from hearthwatch.record.units import LEVEL_OF_SCORE

EVENTS_AT_ONCE = 500  # in one transaction: tens of milliseconds for which the pipeline waits


def edit_event(record: Record, id: int, changes: Mapping[str, Any]) -> bool:
    """Set `reviewed` or `notes`; False if no such event was published."""
    sets = ", ".join(f"{column} = ?" for column in changes)  # the caller's model names the columns
    published = "id = ? AND status <> 'merged' AND risk_level IS NOT NULL"

    def write() -> bool:
        if not sets:
            return record.one(f"SELECT 1 FROM events WHERE {published}", id) is not None
        return record.execute(f"UPDATE events SET {sets} WHERE {published}", *changes.values(), id).rowcount > 0

    return record.transact(write)


def review(
    record: Record, reviewed: bool, ids: Sequence[int] | None, level: str | None, camera: str | None, incidents: Sequence[int] | None = None
) -> list[int]:  # fmt: skip
    """Mark these events, or all of a level, or of these incidents, with their alerts; the ids of the events that changed."""
    where, args = "status <> 'merged' AND risk_level IS NOT NULL AND reviewed <> ?", list[Any]([reviewed])
    for column, value in (("risk_level", level), ("camera_id", camera)):
        if value is not None:
            where, args = f"{where} AND {column} = ?", [*args, value]
    if incidents is not None:
        where, args = (
            f"{where} AND incident_id IN (SELECT value FROM json_each(?))",
            [*args, json.dumps(list(incidents))],
        )
    if ids is None:
        levels = f"SELECT *, {LEVEL_OF_SCORE} AS risk_level FROM (SELECT *, 'closed' AS status, score AS risk_score FROM alerts)"
        sql = f"UPDATE alerts SET reviewed = ? WHERE id IN (SELECT id FROM ({levels}) WHERE {where})"
        record.transact(lambda: record.execute(sql, reviewed, *args))
    else:
        where, args = f"{where} AND id IN (SELECT value FROM json_each(?))", [*args, json.dumps(list(ids))]
    sql = f"UPDATE events SET reviewed = ? WHERE id IN (SELECT id FROM events WHERE {where} LIMIT {EVENTS_AT_ONCE}) RETURNING id"
    changed: list[int] = []
    while some := record.transact(lambda: record.rows(sql, reviewed, *args)):
        changed += [i for (i,) in some]
    return changed


def mark_copies(record: Record, reviewed: bool, ids: Sequence[int], incidents: Sequence[int] = ()) -> None:
    """Mark what the first cell's record has of other cells' events, which were marked there, so that the incident shows it at once."""
    chosen = "id IN (SELECT value FROM json_each(?)) OR incident_id IN (SELECT value FROM json_each(?))"
    sql = f"UPDATE cell_members SET reviewed = ? WHERE reviewed <> ? AND ({chosen})"
    args = reviewed, reviewed, json.dumps(list(ids)), json.dumps(list(incidents))
    record.transact(lambda: record.execute(sql, *args))
