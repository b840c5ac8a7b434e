"""Shapes of requests and answers, for checking the former and documenting the latter; those of the machinery are next door.

Answers are made of the record's rows and are not run through these models; a test holds every one against its model.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hearthwatch.api import examples
from hearthwatch.api.examples import shown
from hearthwatch.schemas.items import AnalysisStatus, Analyzer, EventType, RiskLevel

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=[examples.BEGIN])]
Status = Literal["online", "offline", "error"]
Name = Annotated[str, Field(min_length=1, max_length=255, pattern=r"\S")]
Notes = Annotated[str | None, Field(max_length=10_000)]
Folder = Annotated[str | None, Field(min_length=1, max_length=500)]
Share = Annotated[float, Field(ge=0, le=1)]

CameraId = Annotated[str, Field(description="The camera: its folder's name, lower-cased.", examples=["front_door"])]
CameraName = Annotated[str, Field(description="What people call the camera.", examples=["Front door"])]
Total = Annotated[int, Field(description="How many match, on this page or not.")]
Limit = Annotated[int, Field(description="How many there may be on this page, as asked for.")]
Offset = Annotated[int, Field(description="How many were passed over, as asked for.")]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


def family(model: type[BaseModel] = Model) -> list[type[BaseModel]]:
    """All shapes."""
    return [model, *(found for child in model.__subclasses__() for found in family(child))]


class Problem(Model):
    model_config = shown(
        {"detail": "Camera with id back_gate not found"},
        {"detail": [{"loc": ["query", "limit"], "msg": "Input should be greater than or equal to 1", "type": "greater_than_equal"}]},
    )  # fmt: skip

    detail: Any
    """What is wrong, in words; for invalid input a list of `{loc, msg, type}`."""


class NoEvent(Problem):
    model_config = shown({"detail": "Event with id 7 not found", "merged_into": 5})

    merged_into: int | None = None
    """The event that swallowed this one; absent if none did."""


class MediaError(Model):
    error: str
    """Why the file is not served, in words."""
    path: str
    """The path as it was asked for, cut if it is too long."""


class MediaProblem(Model):
    model_config = shown({"detail": {"error": "there is no such file", "path": "2026/11/22/081531.jpg"}})

    detail: MediaError
    """What is wrong, and with what."""


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
    model_config = shown(examples.EVENT)

    id: int
    """The smallest id of its pictures."""
    batch_id: str
    """A UUID made of its first picture: the same in every run over the same files."""
    camera_id: CameraId
    camera_name: CameraName
    started_at: Time
    """When its first picture was taken."""
    ended_at: Time | None
    """When its last picture was taken; null while it is open."""
    status: Literal["open", "closed"]
    """`open`: more pictures may join it."""
    risk_score: Annotated[int, Field(ge=0, le=100)]
    """How bad it is, of 100."""
    risk_level: RiskLevel
    """The score in a word: below 30 low, below 60 medium, below 85 high, else critical."""
    summary: str
    """What happened, in one sentence."""
    reasoning: str
    """Why it has this score."""
    evidence: list[int]
    """Ids of the detections that the verdict cites."""
    analyzer: Analyzer
    """Whose verdict this is: `rules`, or `nemotron`, the language model."""
    analysis_status: AnalysisStatus
    """How far the language model is; `disabled`: none is configured."""
    model: str | None
    """The language model of this verdict; null: the rules'."""
    prompt_version: str | None
    """The prompt that the language model was asked with; null: the rules' verdict."""
    revision: int
    """Counts from 1; each message about the event has a new one."""
    reviewed: bool
    """Somebody has looked at it. Taken back when its level rises."""
    notes: str | None
    """What people wrote about it; null: nothing."""
    frame_count: int
    """How many pictures it has."""
    detection_count: int
    """How many boxes these have."""
    detection_ids: list[int]
    """Ids of its boxes, ascending."""
    objects: Annotated[dict[str, int], Field(examples=[{"person": 2}])]
    """The most of each kind that were seen at once."""
    thumbnail_url: str | None
    """Its most telling picture, small, with boxes; null: it has none."""


class Levels(Model):
    low: int
    """Events with a score below 30."""
    medium: int
    """Events from 30 to 59."""
    high: int
    """Events from 60 to 84."""
    critical: int
    """Events from 85 on."""


class Events(Model):
    model_config = shown(examples.EVENTS)

    events: list[Event]
    """This page, in the order that was asked for."""
    count: Total
    levels: Levels
    """How many match, whatever `risk_level` was asked for."""
    limit: Limit
    offset: Offset
    next_cursor: str | None
    """What to send as `cursor` for the next page; null: this is the last."""


class Detection(Model):
    id: int
    """The picture's id × 512 + the box's number in it."""
    frame_id: int
    """The picture."""
    event_id: int | None
    """The event; null: it belongs to none."""
    camera_id: CameraId
    file_path: str
    """The picture below the upload tree, odd bytes escaped as `\\xff`."""
    detected_at: Time
    """When the picture was taken."""
    object_type: Annotated[str, Field(examples=["person"])]
    """What was seen."""
    confidence: Share
    """How sure the detector is, 0–1."""
    bbox_x: int
    """The box's left edge in pixels of the original picture."""
    bbox_y: int
    """Its upper edge, in the same pixels."""
    bbox_width: int
    """Its width, in the same pixels."""
    bbox_height: int
    """Its height, in the same pixels."""
    thumbnail_path: str | None
    """The picture with its boxes, below the data folder; null: there is none."""
    image_url: str
    """Where to get the picture, small, with its boxes."""


class Detections(Model):
    model_config = shown({"detections": examples.DETECTIONS, "count": 2, "limit": 50, "offset": 0})

    detections: list[Detection]
    """This page, in the route's order."""
    count: Total
    limit: Limit
    offset: Offset


class Frame(Model):
    id: int
    """The picture; the order of processing."""
    captured_at: Time
    """When it was taken, by its EXIF, its name or its file."""
    arrived_at: Time
    """When its file was there; never before that of a smaller id."""
    path: str
    """Below the upload tree, odd bytes escaped as `\\xff`."""
    width: int | None
    """Of the original in pixels; null: nobody could tell."""
    height: int | None
    """Of the original in pixels; null: nobody could tell."""
    image_url: str | None
    """Where to get the original; null: it lies outside the upload tree."""
    thumbnail_url: str | None
    """Where to get it small, with its boxes; null: there is none."""
    model: str | None
    """The detector that looked at it; null: it did not say its name."""
    detect_ms: float | None
    """Milliseconds that the detector took, its share of a batch; null: not measured."""
    detections: list[Detection]
    """What was seen in it."""


class Revision(Model):
    """What was known of an event, and thought, when a message about it was sent. Null: nothing was said about it."""

    revision: int
    """Counts from 1; a shadow verdict has that of the event which it judged."""
    type: EventType
    """What became of the event."""
    shadow: bool
    """A verdict that was asked for only to compare; it never stood."""
    risk_score: int | None
    """How bad it was then, of 100."""
    risk_level: RiskLevel | None
    """That score in a word."""
    summary: str | None
    """What had happened by then, in one sentence."""
    reasoning: str | None
    """Why it had that score."""
    evidence: list[int]
    """Ids of the detections that this verdict cites."""
    analyzer: Analyzer | None
    """Whose verdict it was."""
    model: str | None
    """The language model of that verdict; null: the rules'."""
    prompt_version: str | None
    """The prompt that it was asked with; null: the rules' verdict."""
    analysis_status: AnalysisStatus | None
    """How far the language model was."""
    frame_count: int | None
    """How many pictures the event had."""
    latency_ms: float | None
    """Milliseconds until the language model had answered; null: the rules' verdict."""
    at: Time
    """When it was written down."""


class Latencies(Model):
    """Seconds from the arrival of the first picture; null: not yet."""

    discovered: float | None
    """Until the picture was in the ledger."""
    detected: float | None
    """Until its boxes were in the record: the same moment as `opened`."""
    opened: float | None
    """Until the event was there and could be told of."""
    closed: float | None
    """Until no more pictures could join it."""
    analyzed: float | None
    """Until the language model's verdict stood."""


class EventDetail(Event):
    model_config = shown(examples.EVENT_DETAIL)

    history: list[Revision]
    """Its revisions, oldest first, shadow verdicts among them."""
    frames: list[Frame]
    """Its pictures in order of capture."""
    latencies: Latencies
    """How long each step took."""


class EventEdit(Model):
    model_config = shown({"reviewed": True, "notes": "the neighbour"})

    reviewed: bool | None = None
    """Whether somebody has looked at it; absent or null: as it was."""
    notes: Notes = None
    """What to remember about it; absent: as it was, null: nothing."""


class ReviewMany(Model):
    model_config = shown({"reviewed": True, "risk_level": "low"})

    reviewed: bool
    """Whether somebody has looked at them."""
    risk_level: RiskLevel | None = None
    """All of this level; this or `ids` must be there."""
    ids: Annotated[list[Annotated[int, Field(ge=0, lt=1 << 63)]] | None, Field(max_length=10_000)] = None
    """Only these."""
    camera_id: Annotated[str | None, Field(max_length=300)] = None
    """Only this camera's."""

    def model_post_init(self, context: Any) -> None:
        if self.risk_level is None and self.ids is None:
            raise ValueError("say which: risk_level or ids")


class Reviewed(Model):
    model_config = shown({"count": 2, "ids": [3, 4]})

    count: int
    """How many changed."""
    ids: list[int]
    """The events that changed; who was marked already is not among them."""


class CameraEvents(Model):
    camera_id: CameraId
    camera_name: CameraName
    event_count: int
    """Its events in the span."""


class EventStats(Model):
    model_config = shown(examples.EVENT_STATS)

    total_events: int
    """Events in the span."""
    events_by_risk_level: Levels
    """The same, by level."""
    events_by_camera: list[CameraEvents]
    """The same, by camera; those without an event are left out."""
    unreviewed: int
    """Those that nobody has looked at."""


# -- cameras


class Camera(Model):
    model_config = shown(examples.CAMERA)

    id: CameraId
    name: CameraName
    folder_path: str
    """Its folder below the upload tree, odd bytes escaped as `\\xff`."""
    status: Status
    """`offline`: silent for longer than is usual for it; `error`: its folder cannot be read."""
    created_at: Time
    """When it became known, by its first picture or by hand."""
    last_seen_at: Time | None
    """When its newest file arrived; null: none yet."""
    notes: str | None
    """What people wrote about it; null: nothing."""
    ignore_zones: list[Zone] | None
    """Parts of the picture where nothing makes an event; null: none."""
    silent: bool
    """No picture for longer than is usual for this camera."""
    last_image_url: str | None
    """Its newest readable picture; null: there is none."""
    events_today: int
    """Events since local midnight."""
    images_today: int
    """Pictures taken since local midnight."""


class Zone(Model):
    model_config = shown(examples.ZONE)

    name: Annotated[str, Field(max_length=100)]
    """What people call it."""
    points: Annotated[list[tuple[Share, Share]], Field(min_length=3, max_length=100)]
    """Corners, x and y in 0–1 of the picture."""


class Cameras(Model):
    model_config = shown({"cameras": [examples.CAMERA], "count": 1})

    cameras: list[Camera]
    """By name."""
    count: int
    """How many these are."""


class NewCamera(Model):
    model_config = shown({"name": "Front door", "folder_path": "Front Door"})

    name: Name | None = None
    """What people call it; the folder's name if absent."""
    folder_path: Folder = None
    """The folder below the upload tree, with or without the tree's own path; the name if absent."""
    status: Status = "online"
    """What to show until its first picture, which makes it `online`."""
    notes: Notes = None
    """What to remember about it."""


class CameraEdit(Model):
    model_config = shown({"name": "Front door", "notes": "next to the bins", "ignore_zones": [examples.ZONE]})

    name: Name | None = None
    """What people call it; absent or null: as it was."""
    folder_path: Folder = None
    """Another spelling of the same folder; another folder is another camera."""
    status: Status | None = None
    """What to show until its next picture, which makes it `online`; absent or null: as it was."""
    notes: Notes = None
    """What to remember about it; absent: as it was, null: nothing."""
    ignore_zones: Annotated[list[Zone] | None, Field(max_length=100)] = None
    """Parts of the picture where nothing makes an event, all of them; absent: as they were, null: none."""


class TimelineCell(Model):
    events: int
    """Events that began in it."""
    max_risk: int | None
    """The highest score among them; null: no event."""
    pictures: int
    """0: the camera sent none, which is not the same as a quiet hour."""


class TimelineCamera(Model):
    camera_id: CameraId
    camera_name: CameraName
    cells: list[TimelineCell]
    """One for each `step_seconds`, oldest first; the last is the one that runs."""


class Timeline(Model):
    model_config = shown(examples.TIMELINE)

    from_: Annotated[Time, Field(alias="from")]
    """Where the first cell begins."""
    step_seconds: int
    """How long a cell is."""
    cameras: list[TimelineCamera]
    """By name."""


Camera.model_rebuild()
CameraEdit.model_rebuild()
