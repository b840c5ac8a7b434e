"""Shapes of answers about the machinery: health, the GPU, the ledger, quarantine, the page's first line."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from hearthwatch.api import examples
from hearthwatch.api.examples import shown
from hearthwatch.api.models import CameraId, Limit, Model, Offset, Time, Total
from hearthwatch.schemas.items import RiskLevel

Word = Literal["ok", "slow", "down", "disabled"]


class Service(Model):
    status: Literal["healthy", "degraded", "unhealthy", "disabled"]
    """`disabled`: it is not configured, and nobody misses it."""
    message: str
    """How it is, in words."""
    details: dict[str, Any]
    """What was found out on the way; each service has its own."""


class Services(Model):
    database: Service
    """The record."""
    redis: Service
    """Where events are published."""
    detector: Service
    """What finds things in pictures."""
    nemotron: Service
    """The language model that judges events."""
    pipeline: Service
    """What takes pictures in; by its heartbeat."""


class SystemHealth(Model):
    model_config = shown(examples.HEALTH)

    status: Literal["healthy", "degraded", "unhealthy"]
    """`unhealthy`: the database fails; `degraded`: anything else does."""
    services: Services
    """One by one."""
    timestamp: Time
    """When this was said."""


class Gpu(Model):
    model_config = shown(examples.GPU)

    gpu_utilization: float | None
    """Percent of the time that it computes; null: there is no card, or no sample."""
    memory_used: int | None
    """Its memory in use, bytes; null likewise."""
    memory_total: int | None
    """All its memory, bytes; null likewise."""
    temperature: float | None
    """°C; null likewise."""
    inference_fps: float | None
    """Pictures per second that the detector looked at, on a card or not; null: no sample."""
    recorded_at: Time | None
    """When the sample was taken; null: no sample."""


class GpuHistory(Model):
    model_config = shown({"samples": [examples.GPU], "count": 1, "limit": 300})

    samples: list[Gpu]
    """Oldest first."""
    count: int
    """How many these are."""
    limit: Limit


class Config(Model):
    model_config = shown(examples.CONFIG)

    app_name: str
    """Hearthwatch."""
    version: str
    """Of this server's program."""
    retention_days: int
    """How long things are kept from their discovery, days."""
    batch_window_seconds: float
    """How long an event may last, seconds."""
    batch_idle_timeout_seconds: float
    """After how much quiet an event is closed, seconds."""
    detection_confidence_threshold: float
    """The least confidence of a box that counts, 0–1."""


class Ledger(Model):
    """Pictures by state; `files` is counted apart from the others, so that a gap would show."""

    files: int
    """All that were ever found: the sum of the others."""
    settled: int
    """Looked at."""
    discovered: int
    """Still waiting."""
    quarantined: int
    """Could not be looked at."""


class StageTimes(Model):
    name: str
    """`detect` (a picture's share of its batch), `open` and `close` (since the event's first picture arrived), `analyze` (a language model's answer)."""
    p50_s: float | None
    """The median of the newest 200, seconds; null: none yet."""
    p95_s: float | None
    """Their 95th percentile, seconds; null: none yet."""
    waiting: int
    """Pictures or events that this is still to happen to."""


class LanguageModel(Model):
    model: str | None
    """Its served name; null: none is configured."""
    pending: int
    """Closed events without its verdict."""
    in_flight: int | None
    """Events that it was handed and has not judged; null: no pipeline has told."""
    max_in_flight: int | None
    """How many it may be asked about at once; null: none is configured."""


class Disk(Model):
    """The disk that the data folder is on. Sizes in bytes."""

    used: int
    """In use, by whomever."""
    total: int
    """All of it."""
    per_day: int | None
    """What cameras upload a day, by their last thousand pictures; null: none yet."""
    retention_days: int
    """How long things are kept, days."""
    oldest: Time | None
    """The quarter of an hour of the oldest picture; null: none yet."""
    full_in_days: int | None
    """Whole days until it is full at that pace; null: unknown."""


class SystemStats(Model):
    model_config = shown(examples.STATS)

    total_cameras: int
    """Cameras."""
    total_events: int
    """Events in the record."""
    total_detections: int
    """Boxes in the record."""
    uptime_seconds: float
    """Since this server started."""
    ledger: Ledger
    """Every file that was ever found, and where it is."""
    backlog: int
    """Pictures that wait."""
    open_events: int
    """Events that more pictures may join."""
    images_per_s: float
    """Pictures found per second, over the last minute."""
    images_per_s_history: list[float]
    """Pictures taken per second in each of the last 60 quarters of an hour, oldest first."""
    stages: list[StageTimes]
    """How long each step takes, and who waits for it."""
    llm: LanguageModel
    """The language model."""
    disk: Disk
    """Room for more."""


class Quarantined(Model):
    id: int
    """The picture's frame."""
    camera_id: Annotated[str | None, Field(examples=["front_door"])]
    """The camera; null: it is in no camera's folder."""
    path: str
    """Below the upload tree, odd bytes escaped as `\\xff`."""
    stage: str | None
    """Who gave up; null: it was not noted."""
    reason: str | None
    """Why, in words; null: it was not noted."""
    at: Time
    """When it was found."""
    captured_at: Time
    """When it was taken."""
    size: int
    """Of the file, bytes."""
    attempt: int
    """Counts from 1; each retry is one more."""
    retried: bool
    """It was taken in again since."""


class Quarantine(Model):
    model_config = shown({"frames": [examples.QUARANTINED], "count": 1, "limit": 50, "offset": 0})

    frames: list[Quarantined]
    """This page, newest first."""
    count: Total
    limit: Limit
    offset: Offset


class Retried(Model):
    model_config = shown({"frame_id": 10, "retry_of": 9})

    frame_id: int
    """The new frame."""
    retry_of: int
    """The one that stays in quarantine."""


class NeedsPerson(Model):
    event_id: int
    """The event."""
    level: RiskLevel
    """How bad it is."""
    camera_id: CameraId


class Today(Model):
    """Since local midnight."""

    images: int
    """Pictures taken."""
    with_objects: int
    """Pictures of the events that began."""
    events: int
    """Events that began."""


class StatusLine(Model):
    model_config = shown(examples.STATUS)

    at: Time | None
    """When the pipeline was last seen alive; null: never."""
    now: Time
    """The server's clock."""
    needs_person: NeedsPerson | None
    """The worst unreviewed event that is high or critical; null: none is."""
    to_review: int
    """Events that nobody has looked at."""
    cameras_online: int
    """Cameras that send as usual."""
    cameras_total: int
    """All cameras."""
    backlog: int
    """Pictures that wait."""
    behind_seconds: float | None
    """How long the oldest picture that waits has done so; null: none waits."""
    llm: Word
    """The language model, as last probed; `disabled`: none is configured."""
    detector: Word
    """What finds things in pictures, as last probed."""
    gpu_percent: float | None
    """How busy the GPU was in the newest sample; null: no card, or no sample."""
    today: Today | None
    """The day so far; null: there is no camera yet."""
    stalled: bool
    """Pictures wait and none was processed for a minute."""
    watching: str
    """The upload tree."""


class Token(Model):
    model_config = shown({"token": "the value of HEARTHWATCH_API_TOKEN"})

    token: Annotated[str, Field(max_length=1000, repr=False)]
    """What `HEARTHWATCH_API_TOKEN` says."""


class Ok(Model):
    model_config = shown({"status": "ok"})

    status: Literal["ok"] = "ok"
    """It is."""
