"""How an event came about: pictures → boxes → window → verdicts → messages, with times. Only reads, at one instant."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from hearthwatch.record import Record, RecordError
from hearthwatch.record.units import box_ids


class Box(NamedTuple):
    """What was found in a picture; `reason`: why it does not count, None if it does."""

    id: int
    object_type: str
    confidence: float
    reason: str | None


class Picture(NamedTuple):
    """A frame of the event, times in microseconds."""

    id: int
    path: str
    captured_at: int
    arrived_at: int
    discovered_at: int
    model: str | None
    detect_ms: float | None
    boxes: list[Box]


class Step(NamedTuple):
    """A verdict, in the order in which they came; times in microseconds."""

    revision: int
    type: str
    shadow: bool
    risk_score: int | None
    risk_level: str | None
    summary: str | None
    reasoning: str | None
    analyzer: str | None
    model: str | None
    prompt_version: str | None
    analysis_status: str | None
    frame_count: int | None
    latency_ms: float | None
    at: int


class Told(NamedTuple):
    """A message, and which consumers have it."""

    seq: int
    type: str
    revision: int
    delay_seconds: float
    at: int
    taken_by: list[str]
    waits_for: list[str]


class Lineage(NamedTuple):
    """All of it. `event` is the event's row by column."""

    event: dict[str, Any]
    camera: str
    evidence: list[int]
    pictures: list[Picture]
    steps: list[Step]
    messages: list[Told]


def lineage(record: Record, event: int) -> Lineage:
    """Raises RecordError for an event that does not exist, or that another one has swallowed."""
    record.execute("BEGIN")
    try:
        return _lineage(record, event)
    finally:
        record.execute("COMMIT")


def _lineage(record: Record, event: int) -> Lineage:
    names = [row[1] for row in record.rows("PRAGMA table_info(events)")]
    row = record.one(f"SELECT {', '.join(names)} FROM events WHERE id = ?", event)
    if row is None:
        raise RecordError(f"event {event} does not exist{_frame_hint(record, event)}")
    columns = dict(zip(names, row, strict=True))
    if columns["status"] == "merged":
        into = columns["merged_into"]
        raise RecordError(f"event {event} became part of event {into} when a picture came out of order: ask for {into}")
    (camera,) = record.one("SELECT coalesce((SELECT name FROM cameras WHERE id = ?), ?)", *[columns["camera_id"]] * 2)
    evidence = json.loads(columns["evidence"] or "[]")
    return Lineage(columns, camera, evidence, _pictures(record, event), _steps(record, event), _messages(record, event))


def _frame_hint(record: Record, frame: int) -> str:
    """An event has the id of its first frame: whoever asks for a later one means the event that it is in."""
    row = record.one("SELECT event_id, pruned FROM frames WHERE id = ?", frame)
    if row and row[0]:
        return f", but frame {frame} belongs to event {row[0]}"
    return ": it was forgotten (retention)" if row and row[1] else ""


def _pictures(record: Record, event: int) -> list[Picture]:
    sql = (
        "SELECT id, path, captured_at, arrived_at, discovered_at, model, detect_ms FROM frames "
        "WHERE event_id = ? ORDER BY captured_at, id"
    )
    boxes = (
        "SELECT id, object_type, confidence, NULL FROM detections WHERE id BETWEEN ? AND ? "
        "UNION ALL SELECT id, object_type, confidence, reason FROM suppressed WHERE id BETWEEN ? AND ? ORDER BY id"
    )
    out = []
    for id, path, captured_at, arrived_at, discovered_at, model, detect_ms in record.rows(sql, event):
        first, last = box_ids(id)
        found = [Box(*box) for box in record.rows(boxes, first, last, first, last)]
        out.append(Picture(id, path, captured_at, arrived_at, discovered_at, model, detect_ms, found))
    return out


def _steps(record: Record, event: int) -> list[Step]:
    columns = f"SELECT id, {', '.join(Step._fields)} FROM event_history WHERE event_id = ?"
    rows = record.rows(f"{columns} AND NOT shadow UNION ALL {columns} AND shadow ORDER BY id", event, event)
    return [Step(*row[1:]) for row in rows]


def _messages(record: Record, event: int) -> list[Told]:
    cursors = record.rows("SELECT name, seq FROM cursors ORDER BY name")
    rows = record.rows("SELECT seq, type, revision, payload, at FROM feed WHERE event_id = ? ORDER BY seq", event)
    return [
        Told(
            seq, type, revision, json.loads(payload)["delay_seconds"], at,
            [name for name, at in cursors if at >= seq], [name for name, at in cursors if at < seq],
        )
        for seq, type, revision, payload, at in rows
    ]  # fmt: skip
