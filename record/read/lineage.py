"""Read how an event came about: pictures → boxes → window → verdicts → messages, with times. For the API and `why`."""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple

from hearthwatch.record import Record, RecordError
from hearthwatch.record.copies import original, read_copy
from hearthwatch.record.paths import upload_url
from hearthwatch.record.read.detections import detections_of_frame
from hearthwatch.record.read.events import Row, iso
from hearthwatch.record.thumbnails import url
from hearthwatch.record.units import box_ids


class EventFrame(NamedTuple):
    """A frame of an event, times in microseconds."""

    id: int
    camera_id: str
    path: str
    mtime_ns: int
    size: int
    captured_at: int
    arrived_at: int
    width: int
    height: int
    model: str | None
    detect_ms: float | None
    thumbnail_path: str | None


class FoundBox(NamedTuple):
    """What was found in a frame; `reason`: why it does not count, None if it does."""

    id: int
    object_type: str
    confidence: float
    reason: str | None


class EventRevision(NamedTuple):
    """A verdict of an event, times in microseconds."""

    revision: int
    type: str
    shadow: bool
    risk_score: int | None
    risk_level: str | None
    summary: str | None
    reasoning: str | None
    evidence: str | None
    analyzer: str | None
    model: str | None
    prompt_version: str | None
    analysis_status: str | None
    frame_count: int | None
    latency_ms: float | None
    at: int


class PublishedMessage(NamedTuple):
    """A message of the feed, the consumers that have it and those that do not yet; `at` in microseconds."""

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
    frames: list[tuple[EventFrame, list[FoundBox]]]
    revisions: list[EventRevision]
    messages: list[PublishedMessage]


def read_lineage(record: Record, event: int) -> Lineage:
    """Read all of it from one snapshot.

    Raises:
        RecordError: the event does not exist, or was merged into another one.
    """
    record.execute("BEGIN")
    try:
        columns = _event_row(record, event)
        (camera,) = record.one(
            "SELECT coalesce((SELECT name FROM cameras WHERE id = ?), ?)", *[columns["camera_id"]] * 2
        )
        frames = [(frame, _boxes(record, frame.id)) for frame in _frames(record, event)]
        evidence = json.loads(columns["evidence"] or "[]")
        return Lineage(columns, camera, evidence, frames, _revisions(record, event), _messages(record, event))
    finally:
        record.execute("COMMIT")


def _event_row(record: Record, event: int) -> dict[str, Any]:
    names = [row[1] for row in record.rows("PRAGMA table_info(events)")]
    row = record.one(f"SELECT {', '.join(names)} FROM events WHERE id = ?", event)
    if row is None:
        raise RecordError(f"event {event} does not exist{_frame_hint(record, event)}")
    columns = dict(zip(names, row, strict=True))
    if columns["status"] == "merged":
        into = columns["merged_into"]
        raise RecordError(f"event {event} became part of event {into} when a picture came out of order: ask for {into}")
    return columns


def _frame_hint(record: Record, frame: int) -> str:
    """Explain an id that is not an event's but a later frame's, or a deleted one's."""
    row = record.one("SELECT event_id, pruned FROM frames WHERE id = ?", frame)
    if row and row[0]:
        return f", but frame {frame} belongs to event {row[0]}"
    copy = read_copy(record, frame)
    if copy and (first := original(record, copy)).id != frame:
        return f": frame {frame} ({copy.path}) is {first.describe(None)} ({first.path}); ask for {first.event_id or first.id}"
    return ": retention deleted it" if row and row[1] else ""


def _frames(record: Record, event: int) -> list[EventFrame]:
    sql = f"SELECT {', '.join(EventFrame._fields)} FROM frames WHERE event_id = ? ORDER BY captured_at, id"
    return [EventFrame(*row) for row in record.rows(sql, event)]


def _boxes(record: Record, frame: int) -> list[FoundBox]:
    sql = (
        "SELECT id, object_type, confidence, NULL FROM detections WHERE id BETWEEN ? AND ? "
        "UNION ALL SELECT id, object_type, confidence, reason FROM suppressed WHERE id BETWEEN ? AND ? ORDER BY id"
    )
    return [FoundBox(*row) for row in record.rows(sql, *box_ids(frame), *box_ids(frame))]


def _revisions(record: Record, event: int) -> list[EventRevision]:
    """Read revisions in the order in which they came, shadow verdicts among them; each half has its own index."""
    columns = f"SELECT id, {', '.join(EventRevision._fields)} FROM event_history WHERE event_id = ?"
    rows = record.rows(f"{columns} AND NOT shadow UNION ALL {columns} AND shadow ORDER BY id", event, event)
    return [EventRevision(*row[1:]) for row in rows]


def _messages(record: Record, event: int) -> list[PublishedMessage]:
    cursors = record.rows("SELECT name, seq FROM cursors ORDER BY name")
    rows = record.rows(
        "SELECT seq, type, revision, payload, at FROM feed WHERE kind = 'event' AND subject_id = ? ORDER BY seq", event
    )
    return [
        PublishedMessage(
            seq, type, revision, json.loads(payload)["delay_seconds"], at,
            [name for name, at in cursors if at >= seq], [name for name, at in cursors if at < seq],
        )
        for seq, type, revision, payload, at in rows
    ]  # fmt: skip


# -- JSON of the API


def history(record: Record, id: int) -> list[Row]:
    """Read the revisions of an event by number; shadow verdicts behind the revision that they judged."""
    revisions = sorted(_revisions(record, id), key=lambda r: (r.revision, r.shadow))
    return [
        r._asdict() | {"shadow": bool(r.shadow), "evidence": json.loads(r.evidence or "[]"), "at": iso(r.at)}
        for r in revisions
    ]


def frames(record: Record, event_id: int) -> list[Row]:
    """Read the pictures of an event in order of capture, each with its detections."""
    folders = dict(record.rows("SELECT id, folder_path FROM cameras"))
    return [
        {
            "id": f.id, "captured_at": iso(f.captured_at), "arrived_at": iso(f.arrived_at), "path": f.path, "width": f.width,
            "height": f.height, "image_url": upload_url(f.camera_id, folders.get(f.camera_id, f.camera_id), f.path, f.mtime_ns, f.size),
            "thumbnail_url": f.thumbnail_path and url(f.thumbnail_path), "model": f.model, "detect_ms": f.detect_ms,
            "detections": detections_of_frame(record, f.id),
        }
        for f in _frames(record, event_id)
    ]  # fmt: skip


def latencies(record: Record, id: int) -> dict[str, float | None]:
    """Seconds from the arrival of the event's first picture to each step; None: not yet.

    A frame's detections, its place and the event's first revision are one transaction, so it is detected when opened.
    """
    discovered, opened, closed, analyzed, arrived = record.one(
        "SELECT f.discovered_at, e.opened_at, e.closed_at, e.analyzed_at, f.arrived_at FROM events e JOIN frames f ON f.id = e.id WHERE e.id = ?",
        id,
    )
    steps = {"discovered": discovered, "detected": opened, "opened": opened, "closed": closed, "analyzed": analyzed}
    return {name: None if at is None else max(0.0, (at - arrived) / 1e6) for name, at in steps.items()}


def merged_into(record: Record, id: int, table: Literal["events", "incidents"] = "events") -> int | None:
    """Return the event, or incident, that this one was merged into, in the end; None if it was not."""
    seen: set[int] = set()
    while id not in seen:
        seen.add(id)
        row = record.one(f"SELECT merged_into FROM {table} WHERE id = ? AND status = 'merged'", id)
        if row is None or row[0] is None:
            break
        id = row[0]
    return id if len(seen) > 1 else None
