"""Keep alerts of stages: each once, by its content, in the transaction that decides its picture. Incidents count them like events."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

from hearthwatch.record import Record
from hearthwatch.record.incidents import release_events
from hearthwatch.record.units import ALERT_IDS
from hearthwatch.schemas.items import Alert, from_microseconds, iso, to_microseconds

_COLUMNS = "camera_id, at, kind, score, summary, evidence"


def append_new(
    record: Record, alerts: Iterable[Alert], arrived_at: int, clock_offset: Callable[[str], int | None]
) -> None:
    """Append those that the record does not hold, inside a transaction."""
    sql = f"INSERT INTO alerts({_COLUMNS}, arrived_at, clock_offset_ms, content_hash) VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING"
    for alert in alerts:
        at, evidence, slow = (
            to_microseconds(alert.at),
            json.dumps(dict(alert.evidence), sort_keys=True),
            clock_offset(alert.camera),
        )
        content = (alert.camera, at, alert.kind, alert.score, alert.summary, evidence)
        hash = hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()
        record.execute(sql, *content, arrived_at, None if slow is None else slow // 1000, hash)


def delete_alerts(record: Record, where: str, *args: Any, limit: int = 1000) -> int:
    """Delete up to `limit` of these alerts, inside a transaction, and bring their incidents up to date; return how many."""
    rows = record.rows(
        f"DELETE FROM alerts WHERE id IN (SELECT id FROM alerts WHERE {where} LIMIT {limit}) RETURNING incident_id",
        *args,
    )
    release_events(record, {incident for (incident,) in rows if incident is not None})
    return len(rows)


def move_alerts(record: Record, camera: str, into: str) -> None:
    """Make the alerts of a camera another one's, inside a transaction, and let their incidents be formed again."""
    rows = record.rows("UPDATE alerts SET camera_id = ? WHERE camera_id = ? RETURNING id", into, camera)
    record.many("INSERT OR IGNORE INTO incident_queue VALUES (?)", [(ALERT_IDS + id,) for (id,) in rows])


def read_alerts(record: Record, incident: int, limit: int) -> list[dict[str, Any]]:
    """Read an incident's alerts, oldest first; of many, the newest."""
    sql = f"SELECT id, {_COLUMNS} FROM alerts WHERE incident_id = ? ORDER BY at DESC, id DESC LIMIT ?"
    rows = record.dicts(sql, incident, limit)[::-1]
    return [row | {"at": iso(from_microseconds(row["at"])), "evidence": json.loads(row["evidence"])} for row in rows]
