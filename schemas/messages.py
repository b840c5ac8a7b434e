"""Messages: the feed's rows as consumers get them, and as Redis, webhooks, MQTT, SSE and WebSocket publish them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hearthwatch.schemas.items import Event, EventType, iso


@dataclass(frozen=True, slots=True)
class Message:
    """One row of the feed. At least once, in order of `seq`; (`event.id`, `event.revision`) is unique."""

    seq: int
    type: EventType
    delay_seconds: float
    event: Event

    def as_dict(self) -> dict[str, Any]:
        """Return the message as it is published: schema `hearthwatch.event.v1`, JSON types only."""
        event, verdict = self.event, self.event.verdict
        return {
            "schema": "hearthwatch.event.v1",
            "seq": self.seq,
            "type": self.type,
            "event_id": event.id,
            "batch_id": event.batch_id,
            "revision": event.revision,
            "camera_id": event.camera_id,
            "camera_name": event.camera_name,
            "risk_score": verdict.risk_score,
            "risk_level": verdict.risk_level,
            "summary": verdict.summary,
            "analyzer": verdict.analyzer,
            "analysis_status": event.analysis_status,
            "started_at": iso(event.started_at),
            "ended_at": iso(event.ended_at),
            "objects": dict(event.objects),
            "frame_count": event.frame_count,
            "delay_seconds": self.delay_seconds,
            "merged_into": event.merged_into,
            "thumbnail": event.thumbnail,
        }
