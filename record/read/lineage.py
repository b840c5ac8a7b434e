"""Read how an event came about: pictures → boxes → window → verdicts → messages, with times. For the API and `why`."""

from __future__ import annotations

import json
from typing import Literal, NamedTuple

from hearthwatch.record import Record, RecordError
from hearthwatch.record.copies import original, read_copy
from hearthwatch.record.paths import picture_url
from hearthwatch.record.read.detections import detections_of_frame
from hearthwatch.record.read.events import Row, iso
from hearthwatch.record.thumbnails import url
from hearthwatch.record.units import box_ids

FRAME_COLUMNS = (
    "id, camera_id, path, mtime_ns, size, captured_at, arrived_at, width, height, model, detect_ms, thumbnail_path"
)
_REVISION = (
    "revision, type, shadow, risk_score, risk_level, summary, reasoning, evidence, analyzer, model, prompt_version, analysis_status, "
    "frame_count, latency_ms, picture_verdict, at"
)


class Lineage(NamedTuple):
    """All of it, rows by column; times in microseconds."""

    event: Row
    camera: str
    evidence: list[int]
    frames: list[Row]
    """Each with its `boxes`; `reason`: why a box does not count, None if it does."""
    revisions: list[Row]
    messages: list[Row]
    """Those of the feed, each with the consumers that have it (`taken_by`) and those that do not yet (`waits_for`)."""


def read_lineage(record: Record, event: int) -> Lineage:
    """Read all of it from one snapshot.

    Raises:
        RecordError: the event does not exist, or was merged into another one.
    """
    record.execute("BEGIN")
    try:
        row = _event_row(record, event)
        (camera,) = record.one("SELECT coalesce((SELECT name FROM cameras WHERE id = ?1), ?1)", row["camera_id"])
        frames = [frame | {"boxes": _boxes(record, frame["id"])} for frame in _frames(record, event)]
        evidence = json.loads(row["evidence"] or "[]")
        return Lineage(row, camera, evidence, frames, _revisions(record, event), _messages(record, event))
    finally:
        record.execute("COMMIT")


def _event_row(record: Record, event: int) -> Row:
    row = next(iter(record.dicts("SELECT * FROM events WHERE id = ?", event)), None)
    if row is None:
        raise RecordError(f"event {event} does not exist{_frame_hint(record, event)}")
    if row["status"] == "merged":
        into = row["merged_into"]
        raise RecordError(f"event {event} became part of event {into} when a picture came out of order: ask for {into}")
    return row


def _frame_hint(record: Record, frame: int) -> str:
    """Explain an id that is not an event's but a later frame's, or a deleted one's."""
    row = record.one("SELECT event_id, pruned FROM frames WHERE id = ?", frame)
    if row and row[0]:
        return f", but frame {frame} belongs to event {row[0]}"
    copy = read_copy(record, frame)
    if copy and (first := original(record, copy)).id != frame:
        return f": frame {frame} ({copy.path}) is {first.describe(None)} ({first.path}); ask for {first.event_id or first.id}"
    return ": retention deleted it" if row and row[1] else ""


def _frames(record: Record, event: int) -> list[Row]:
    return record.dicts(f"SELECT {FRAME_COLUMNS} FROM frames WHERE event_id = ? ORDER BY captured_at, id", event)


def _boxes(record: Record, frame: int) -> list[Row]:
    sql = (
        "SELECT id, object_type, confidence, NULL AS reason FROM detections WHERE id BETWEEN ?1 AND ?2 "
        "UNION ALL SELECT id, object_type, confidence, reason FROM suppressed WHERE id BETWEEN ?1 AND ?2 ORDER BY id"
    )
    return record.dicts(sql, *box_ids(frame))


def _revisions(record: Record, event: int) -> list[Row]:
    """Read revisions in the order in which they came, shadow verdicts among them; each half has its own index."""
    rows = f"SELECT id, {_REVISION} FROM event_history WHERE event_id = ?1"
    return record.dicts(
        f"SELECT {_REVISION} FROM ({rows} AND NOT shadow UNION ALL {rows} AND shadow ORDER BY id)", event
    )


def _messages(record: Record, event: int) -> list[Row]:
    cursors = record.rows("SELECT name, seq FROM cursors ORDER BY name")
    sql = (
        "SELECT seq, type, revision, payload ->> 'delay_seconds' AS delay_seconds, at FROM feed "
        "WHERE kind = 'event' AND subject_id = ? ORDER BY seq"
    )
    rows = record.dicts(sql, event)
    for row in rows:
        row["taken_by"] = [name for name, seq in cursors if seq >= row["seq"]]
        row["waits_for"] = [name for name, seq in cursors if seq < row["seq"]]
    return rows


# -- JSON of the API


def history(record: Record, id: int) -> list[Row]:
    """Read the revisions of an event by number; shadow verdicts behind the revision that they judged."""
    revisions = sorted(_revisions(record, id), key=lambda row: (row["revision"], row["shadow"]))
    return [
        row | {"shadow": bool(row["shadow"]), "evidence": json.loads(row["evidence"] or "[]"), "at": iso(row["at"])}
        for row in revisions
    ]


def frames(record: Record, event_id: int) -> list[Row]:
    """Read the pictures of an event in order of capture, each with its detections."""
    rows = describe_frames(record, _frames(record, event_id))
    for row in rows:
        del row["camera_id"]
    return rows


def describe_frames(record: Record, rows: list[Row]) -> list[Row]:
    """Complete rows of `FRAME_COLUMNS` with their URLs and detections."""
    folders = dict(record.rows("SELECT id, folder_path FROM cameras"))
    for row in rows:
        row |= {"captured_at": iso(row["captured_at"]), "arrived_at": iso(row["arrived_at"])}
        camera, thumbnail = row["camera_id"], row.pop("thumbnail_path")
        version = row.pop("mtime_ns"), row.pop("size")
        row["image_url"] = picture_url(camera, folders.get(camera) or camera, row["id"], row["path"], *version)
        row["thumbnail_url"] = thumbnail and url(thumbnail)
        row["detections"] = detections_of_frame(record, row["id"])
    return rows


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
