"""Messages: the feed's rows as consumers get them, and as Redis, webhooks, MQTT, SSE and WebSocket publish them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from hearthwatch.schemas.items import Event, EventType, Incident, IncidentType, iso

Severity = Literal["info", "warning", "error"]
SystemKind = Literal[
    "behind", "camera_clock", "camera_silent", "clock_stepped", "detector_down", "disk_low", "files_unreadable", "judge_failed",
    "lake_down", "llm_down", "neighbours_invalid", "notifier_down", "part_restarted", "quarantine", "record_locked", "record_restored", "redis_down",
    "same_picture", "uploads_missing", "watch_off", "zones_invalid",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Message:
    """A revision of an event in the feed. At least once, in order of `seq`; (`event.id`, `event.revision`) is unique."""

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
            "incident_id": event.incident_id,
            "picture_verdict": verdict.picture_verdict,
            **({"attributes": {k: list(v) for k, v in event.attributes.items()}} if event.attributes else {}),
        }


@dataclass(frozen=True, slots=True)
class Notification:
    """How a notifier sends a message about an incident."""

    id: str
    """The same when it is sent again: dedupe by it."""
    tag: str
    """What is sent replaces what was sent under the same tag."""
    loud: bool
    """Whether it rings."""
    kind: str
    """new, update or digest."""
    counts: Mapping[str, int]
    """Of incidents, of their events, and of incidents at each level."""
    incidents: tuple[int, ...]
    """Ids; of a digest, those of all that it is about, the gravest first."""


@dataclass(frozen=True, slots=True)
class IncidentMessage:
    """A revision of an incident in the feed. At least once, in order of `seq`; (`incident.id`, `incident.revision`) is unique."""

    seq: int
    type: IncidentType
    incident: Incident
    notification: Notification | None = field(default=None, kw_only=True)
    """Set on what a notifier sends."""
    source: Callable[[str], bytes | None] | None = field(default=None, kw_only=True, repr=False, compare=False)
    """Reads the picture of a thumbnail's URL."""

    def picture(self) -> bytes | None:
        """Return the picture of the gravest event as a JPEG. Waits up to two seconds for it; None: there is none."""
        url = self.incident.thumbnail
        return self.source(url) if self.source and url else None

    def as_dict(self) -> dict[str, Any]:
        """Return the message as it is published: schema `hearthwatch.incident.v1`, JSON types only."""
        incident, sent = self.incident, self.notification
        return {
            "schema": "hearthwatch.incident.v1",
            "seq": self.seq,
            "type": self.type,
            "incident_id": incident.id,
            "revision": incident.revision,
            "status": incident.status,
            "cameras": list(incident.cameras),
            "camera_names": list(incident.camera_names),
            "events": list(incident.events),
            "event_count": incident.event_count,
            "frame_count": incident.frame_count,
            "objects": dict(incident.objects),
            "risk_score": incident.risk_score,
            "risk_level": incident.risk_level,
            "summary": incident.summary,
            "started_at": iso(incident.started_at),
            "last_at": iso(incident.last_at),
            "ended_at": iso(incident.ended_at),
            "gravest_event_id": incident.gravest_event_id,
            "merged_into": incident.merged_into,
            "delay_seconds": incident.delay_seconds,
            "thumbnail": incident.thumbnail,
            **({"alert_counts": dict(incident.alert_counts)} if incident.alert_counts else {}),
            **({"notification": asdict(sent) | {"incidents": list(sent.incidents)}} if sent else {}),
        }


@dataclass(frozen=True, slots=True)
class SystemMessage:
    """In the feed: something is wrong (`on`), or is right again (`off`). At least once, in order of `seq`, which is unique."""

    seq: int
    kind: SystemKind
    state: Literal["on", "off"]
    severity: Severity
    camera_id: str | None
    subject: str
    """What has it: a camera, a node of the graph, or an empty text."""
    message: str
    """One sentence for people."""
    since: datetime
    """When it began; of what is over, too."""
    at: datetime
    """When the pipeline noticed that it began, or ended."""

    @property
    def type(self) -> str:
        return f"system.{self.kind}"

    def as_dict(self) -> dict[str, Any]:
        """Return the message as it is published: schema `hearthwatch.system.v1`, JSON types only."""
        return {
            "schema": "hearthwatch.system.v1",
            "seq": self.seq,
            "type": self.type,
            "kind": self.kind,
            "state": self.state,
            "severity": self.severity,
            "camera_id": self.camera_id,
            "subject": self.subject,
            "message": self.message,
            "since": iso(self.since),
            "at": iso(self.at),
        }


@dataclass(frozen=True, slots=True)
class ItemMessage:
    """An item that a `journal` wrote. At least once, in order of `seq`; (`node`, `id`) is unique."""

    seq: int
    node: str
    """The journal's name in the graph."""
    id: int
    """Its number in the record."""
    content_hash: str
    """The same for the same item, or of the fields that are its `key`."""
    kind: str
    """The item's class; `dict` for a mapping."""
    at: datetime
    """When it was written."""
    payload: Mapping[str, Any]
    """Its fields, JSON types only."""

    @property
    def type(self) -> str:
        return f"item.{self.node}"

    def as_dict(self) -> dict[str, Any]:
        """Return the message as it is published: schema `hearthwatch.item.v1`, JSON types only."""
        return {
            "schema": "hearthwatch.item.v1",
            "seq": self.seq,
            "type": self.type,
            "node": self.node,
            "id": self.id,
            "content_hash": self.content_hash,
            "kind": self.kind,
            "at": iso(self.at),
            "payload": dict(self.payload),
        }


AnyMessage = Message | IncidentMessage | SystemMessage
"""About what cameras see, and about the pipeline."""
FeedMessage = AnyMessage | ItemMessage
"""Whatever a row of the feed may be."""
