"""Write and read the feed, the messages of the pipeline in order, and keep the consumers' cursors.

A message is a revision of an event or incident, a condition that began or ended, or an item of a journal. At least once: a consumer's cursor moves after it
has taken the messages; dedupe by (event id, revision), system messages by `seq`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, TypeVar

from hearthwatch.record import Record
from hearthwatch.record.units import BOXES_OF_FRAME
from hearthwatch.schemas.items import (
    Event,
    EventStatus,
    EventType,
    Incident,
    Verdict,
)
from hearthwatch.schemas.messages import FeedMessage, IncidentMessage, ItemMessage, Message, SystemMessage

_STATUS: dict[EventType, EventStatus] = {"event.opened": "open", "event.raised": "open", "event.merged": "merged"}

_BOXES = f"SELECT d.id FROM frames f JOIN detections d ON {BOXES_OF_FRAME} WHERE f.event_id = ? ORDER BY d.id"
# where the feed ends, in SQL; rows may be gone by then
END = "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'feed'), 0)"

_ROWS = """
SELECT f.kind, f.seq, f.type, f.payload, h.reasoning, h.evidence, h.model, h.prompt_version, h.latency_ms
FROM feed f LEFT JOIN event_history h ON h.event_id = f.event_id AND h.revision = f.revision AND NOT h.shadow
WHERE f.seq > ? ORDER BY f.seq LIMIT ?"""


M = TypeVar("M", Message, IncidentMessage, SystemMessage, ItemMessage)


def append(
    record: Record,
    kind: Literal["event", "incident", "system", "item"],
    subject: int,
    revision: int,
    at: int,
    make: Callable[[int], M],
) -> M:
    """Append the message that `make` makes of its number; inside a transaction."""
    (last,) = record.one(f"SELECT {END}")
    message = make(last + 1)
    record.execute(
        "INSERT INTO feed(seq, kind, subject_id, revision, type, payload, at) VALUES (?,?,?,?,?,?,?)",
        message.seq, kind, subject, revision, message.type, json.dumps(message.as_dict(), ensure_ascii=False), at,
    )  # fmt: skip
    return message


class Feed:
    """Reads the feed and keeps cursors. One per thread."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def last(self, schema: str = "main") -> int:
        """Return the newest `seq` ever given; it never moves back, whatever is deleted. 0 on a new feed."""
        return int(self.record.one(f"SELECT {END.replace('sqlite', f'{schema}.sqlite')}")[0])

    def after(self, seq: int, limit: int) -> list[FeedMessage]:
        """Read the messages behind `seq`, oldest first. `event.detection_ids` are those of the event as it is now."""
        rows = self.record.rows(_ROWS, seq, limit)
        return [self._message(*row) if kind == "event" else _NOT_EVENTS[kind](row[2]) for kind, *row in rows]

    def cursor(self, name: str) -> int:
        """How far this consumer has read. A new consumer starts at the feed's end."""

        def find_or_make() -> int:
            self.record.execute(f"INSERT OR IGNORE INTO cursors VALUES (?, {END})", name)
            return int(self.record.one("SELECT seq FROM cursors WHERE name = ?", name)[0])

        row = self.record.one("SELECT seq FROM cursors WHERE name = ?", name)
        return int(row[0]) if row else self.record.transact(find_or_make)

    def advance(
        self, name: str, seq: int, delivered: int = 0, at: int = 0, write: Callable[[], None] = lambda: None
    ) -> None:
        """Move a consumer's cursor to `seq`, never backwards; count what it delivered and `write` in the same transaction."""

        def move() -> None:
            write()
            self.record.execute("UPDATE cursors SET seq = max(seq, ?) WHERE name = ?", seq, name)
            if delivered:
                self.record.execute(
                    "INSERT INTO deliveries(consumer, delivered, delivered_at) VALUES (?,?,?) ON CONFLICT DO UPDATE SET "
                    "delivered = delivered + excluded.delivered, delivered_at = excluded.delivered_at, error = NULL",
                    name, delivered, at,
                )  # fmt: skip

        self.record.transact(move)

    def count_failure(self, name: str, error: str | None, at: int) -> None:
        """Count an attempt of a consumer that failed; without an `error`, note that it works again."""
        sql = (
            "UPDATE deliveries SET error = NULL WHERE consumer = ?"
            if error is None
            else "INSERT INTO deliveries(consumer, failed, failed_at, error) VALUES (?, 1, ?, ?) ON CONFLICT DO UPDATE SET "
            "failed = failed + 1, failed_at = excluded.failed_at, error = excluded.error"
        )
        self.record.transact(lambda: self.record.execute(sql, name, *(() if error is None else (at, error))))

    def _message(
        self, seq: int, type: EventType, payload: str, reasoning: str | None, evidence: str | None,
        model: str | None, prompt_version: str | None, latency_ms: float | None,
    ) -> Message:  # fmt: skip
        p: dict[str, Any] = json.loads(payload)
        verdict = Verdict(
            p["risk_score"],
            p["summary"],
            reasoning or "",
            tuple(json.loads(evidence or "[]")),
            p["analyzer"],
            model,
            prompt_version,
            latency_ms,
            picture_verdict=p.get("picture_verdict"),
        )
        ids = self.record.rows(_BOXES, p["event_id"])
        event = Event(
            p["event_id"], p["batch_id"], p["camera_id"], type, p["revision"], datetime.fromisoformat(p["started_at"]),
            None if p["ended_at"] is None else datetime.fromisoformat(p["ended_at"]), _STATUS.get(type, "closed"),
            p["frame_count"], p["objects"], verdict, tuple(i for (i,) in ids), camera_name=p["camera_name"],
            analysis_status=p["analysis_status"], merged_into=p["merged_into"], delay_seconds=p["delay_seconds"], thumbnail=p["thumbnail"],
            incident_id=p.get("incident_id"), attributes={k: tuple(v) for k, v in p.get("attributes", {}).items()},
        )  # fmt: skip
        return Message(seq, type, p["delay_seconds"], event)


def _system_message(payload: str) -> SystemMessage:
    p: dict[str, Any] = json.loads(payload)
    return SystemMessage(
        p["seq"], p["kind"], p["state"], p["severity"], p["camera_id"], p["subject"], p["message"],
        datetime.fromisoformat(p["since"]), datetime.fromisoformat(p["at"]),
    )  # fmt: skip


def parse_incident(payload: str) -> IncidentMessage:
    """Read a message about an incident from its JSON."""
    p: dict[str, Any] = json.loads(payload)
    incident = Incident(
        p["incident_id"], p["type"], p["revision"], p["status"], datetime.fromisoformat(p["started_at"]),
        datetime.fromisoformat(p["last_at"]), None if p["ended_at"] is None else datetime.fromisoformat(p["ended_at"]),
        p["risk_score"], p["summary"], tuple(p["cameras"]), tuple(p["camera_names"]), tuple(p["events"]), p["event_count"],
        p["frame_count"], p["objects"], p["gravest_event_id"], p["thumbnail"], p["delay_seconds"], p["merged_into"], p.get("alert_counts", {}),
    )  # fmt: skip
    return IncidentMessage(p["seq"], p["type"], incident)


def _item_message(payload: str) -> ItemMessage:
    p: dict[str, Any] = json.loads(payload)
    return ItemMessage(
        p["seq"], p["node"], p["id"], p["content_hash"], p["kind"], datetime.fromisoformat(p["at"]), p["payload"]
    )


_NOT_EVENTS: dict[str, Callable[[str], IncidentMessage | SystemMessage | ItemMessage]] = {
    "incident": parse_incident,
    "item": _item_message,
    "system": _system_message,
}
