"""Shapes of requests and answers, for checking the former and documenting the latter.

Answers are made of the record's rows and are not run through these models; a test holds every one against its model.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.items import AnalysisStatus, Analyzer, EventType, RiskLevel

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-22T08:15:30.000000Z"])]
Status = Literal["online", "offline", "error"]
Name = Annotated[str, Field(min_length=1, max_length=255, pattern=r"\S")]
Notes = Annotated[str | None, Field(max_length=10_000)]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Problem(Model):
    detail: Any
    """What is wrong, in words; for invalid input a list of `{loc, msg, type}`."""


class NoEvent(Problem):
    merged_into: int | None = None
    """The event that swallowed this one."""


class MediaError(Model):
    error: str
    path: str


class MediaProblem(Model):
    detail: MediaError


ALWAYS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body is no JSON, or the Host header is not this server's."},
    401: {"model": Problem, "description": "A token is set, and was not given."},
    403: {"model": Problem, "description": "A page of another origin may change nothing."},
    413: {"model": Problem, "description": "The body is too long."},
    503: {"model": Problem, "description": "The record cannot be used now."},
}
INVALID: dict[str, Any] = {"model": Problem, "description": "Something in the request is not valid."}
NOT_FOUND: dict[str, Any] = {"model": Problem, "description": "There is no such thing."}
NO_EVENT: dict[str, Any] = {"model": NoEvent, "description": "There is no such event, or it was merged."}


# -- events


class Event(Model):
    id: int
    batch_id: str
    camera_id: str
    camera_name: str
    started_at: Time
    ended_at: Time | None
    """null while it is open."""
    status: Literal["open", "closed"]
    risk_score: Annotated[int, Field(ge=0, le=100)]
    risk_level: RiskLevel
    summary: str
    reasoning: str
    evidence: list[int]
    """Ids of the detections that the verdict cites."""
    analyzer: Analyzer
    analysis_status: AnalysisStatus
    model: str | None
    prompt_version: str | None
    revision: int
    reviewed: bool
    notes: str | None
    frame_count: int
    detection_count: int
    detection_ids: list[int]
    objects: Annotated[dict[str, int], Field(examples=[{"person": 2}])]
    """The most of each kind that were seen at once."""
    thumbnail_url: str | None


class Levels(Model):
    low: int
    medium: int
    high: int
    critical: int


class Events(Model):
    events: list[Event]
    count: int
    levels: Levels
    limit: int
    offset: int
    next_cursor: str | None


class Detection(Model):
    id: int
    frame_id: int
    event_id: int | None
    camera_id: str
    file_path: str
    detected_at: Time
    object_type: Annotated[str, Field(examples=["person"])]
    confidence: Annotated[float, Field(ge=0, le=1)]
    bbox_x: int
    bbox_y: int
    bbox_width: int
    bbox_height: int
    thumbnail_path: str | None
    image_url: str


class Detections(Model):
    detections: list[Detection]
    count: int
    limit: int
    offset: int


class Frame(Model):
    id: int
    captured_at: Time
    arrived_at: Time
    path: str
    width: int | None
    height: int | None
    image_url: str | None
    thumbnail_url: str | None
    model: str | None
    detect_ms: float | None
    detections: list[Detection]


class Revision(Model):
    revision: int
    type: EventType
    shadow: bool
    """A verdict that was asked for only to compare; it never stood."""
    risk_score: int | None
    risk_level: RiskLevel | None
    summary: str | None
    reasoning: str | None
    evidence: list[int]
    analyzer: Analyzer | None
    model: str | None
    prompt_version: str | None
    analysis_status: AnalysisStatus | None
    frame_count: int | None
    latency_ms: float | None
    at: Time


class Latencies(Model):
    """Seconds from the arrival of the first picture; null: not yet."""

    discovered: float | None
    detected: float | None
    opened: float | None
    closed: float | None
    analyzed: float | None


class EventDetail(Event):
    history: list[Revision]
    frames: list[Frame]
    latencies: Latencies


class EventEdit(Model):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reviewed": True, "notes": "the neighbour"}]})

    reviewed: bool | None = None
    notes: Notes = None


class ReviewMany(Model):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reviewed": True, "risk_level": "low"}]})

    reviewed: bool
    risk_level: RiskLevel | None = None
    ids: Annotated[list[Annotated[int, Field(ge=0, lt=1 << 63)]] | None, Field(max_length=10_000)] = None
    camera_id: Annotated[str | None, Field(max_length=300)] = None

    def model_post_init(self, context: Any) -> None:
        if self.risk_level is None and self.ids is None:
            raise ValueError("say which: risk_level or ids")


class Reviewed(Model):
    count: int
    ids: list[int]


class CameraEvents(Model):
    camera_id: str
    camera_name: str
    event_count: int


class EventStats(Model):
    total_events: int
    events_by_risk_level: Levels
    events_by_camera: list[CameraEvents]
    unreviewed: int


# -- cameras


class Camera(Model):
    id: str
    name: str
    folder_path: str
    status: Status
    created_at: Time
    last_seen_at: Time | None
    notes: str | None
    ignore_zones: list[Zone] | None
    silent: bool
    """No picture for longer than is usual for this camera."""
    last_image_url: str | None
    events_today: int
    images_today: int


class Zone(Model):
    name: Annotated[str, Field(max_length=100)]
    points: Annotated[list[tuple[Share, Share]], Field(min_length=3, max_length=100)]
    """Corners, x and y in 0–1 of the picture."""


Share = Annotated[float, Field(ge=0, le=1)]


class Cameras(Model):
    cameras: list[Camera]
    count: int


class NewCamera(Model):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Front door", "folder_path": "Front Door"}]})

    name: Name | None = None
    """What people call it; the folder's name if absent."""
    folder_path: Annotated[str | None, Field(min_length=1, max_length=500)] = None
    """The folder below the upload tree, with or without the tree's own path; the name if absent."""
    status: Status = "online"
    notes: Notes = None


class CameraEdit(Model):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Front door", "notes": "next to the bins"}]})

    name: Name | None = None
    folder_path: Annotated[str | None, Field(min_length=1, max_length=500)] = None
    """Another spelling of the same folder; another folder is another camera."""
    status: Status | None = None
    notes: Notes = None
    ignore_zones: Annotated[list[Zone] | None, Field(max_length=100)] = None


class TimelineCell(Model):
    events: int
    max_risk: int | None
    pictures: int
    """0: the camera sent none, which is not the same as a quiet hour."""


class TimelineCamera(Model):
    camera_id: str
    camera_name: str
    cells: list[TimelineCell]


class Timeline(Model):
    from_: Annotated[Time, Field(alias="from")]
    step_seconds: int
    cameras: list[TimelineCamera]


# -- system


class Service(Model):
    status: Literal["healthy", "degraded", "unhealthy", "disabled"]
    message: str
    details: dict[str, Any]


class Services(Model):
    database: Service
    redis: Service
    detector: Service
    nemotron: Service
    pipeline: Service


class SystemHealth(Model):
    status: Literal["healthy", "degraded", "unhealthy"]
    services: Services
    timestamp: Time


class Gpu(Model):
    gpu_utilization: float | None
    memory_used: int | None
    memory_total: int | None
    temperature: float | None
    inference_fps: float | None
    recorded_at: Time | None


class GpuHistory(Model):
    samples: list[Gpu]
    count: int
    limit: int


class Config(Model):
    app_name: str
    version: str
    retention_days: int
    batch_window_seconds: float
    batch_idle_timeout_seconds: float
    detection_confidence_threshold: float


class Ledger(Model):
    files: int
    settled: int
    discovered: int
    quarantined: int


class StageTimes(Model):
    name: str
    p50_s: float | None
    p95_s: float | None
    waiting: int


class LanguageModel(Model):
    model: str | None
    pending: int
    in_flight: int | None
    max_in_flight: int | None


class Disk(Model):
    used: int
    total: int
    per_day: int | None
    retention_days: int
    oldest: Time | None
    full_in_days: int | None


class SystemStats(Model):
    total_cameras: int
    total_events: int
    total_detections: int
    uptime_seconds: float
    ledger: Ledger
    backlog: int
    open_events: int
    images_per_s: float
    images_per_s_history: list[float]
    stages: list[StageTimes]
    llm: LanguageModel
    disk: Disk


class Quarantined(Model):
    id: int
    camera_id: str | None
    path: str
    stage: str | None
    reason: str | None
    at: Time
    captured_at: Time
    size: int
    attempt: int
    retried: bool
    """It was taken in again since."""


class Quarantine(Model):
    frames: list[Quarantined]
    count: int
    limit: int
    offset: int


class Retried(Model):
    frame_id: int
    """The new frame."""
    retry_of: int


class NeedsPerson(Model):
    event_id: int
    level: RiskLevel
    camera_id: str


class Today(Model):
    images: int
    with_objects: int
    events: int


class StatusLine(Model):
    at: Time | None
    """When the pipeline was last seen alive; null: never."""
    now: Time
    needs_person: NeedsPerson | None
    """The worst unreviewed event that is high or critical."""
    to_review: int
    cameras_online: int
    cameras_total: int
    backlog: int
    behind_seconds: float | None
    """How long the oldest picture that waits has done so; null: none waits."""
    llm: Literal["ok", "slow", "down", "disabled"]
    detector: Literal["ok", "slow", "down", "disabled"]
    gpu_percent: float | None
    today: Today | None
    stalled: bool
    watching: str


class Token(Model):
    model_config = ConfigDict(json_schema_extra={"examples": [{"token": "…"}]})

    token: Annotated[str, Field(max_length=1000, repr=False)]


class Ok(Model):
    status: Literal["ok"] = "ok"


Camera.model_rebuild()
CameraEdit.model_rebuild()
