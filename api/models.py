"""Models of requests and responses.

Requests are validated. Responses are built from the record's rows and not validated; a test compares each with its model.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hearthwatch.schemas.items import AnalysisStatus, Analyzer, EventType, PictureVerdict, RiskLevel
from hearthwatch.schemas.zones import POINTS_MAX, ZONES_MAX, ZoneKind

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-22T08:15:30.000000Z"])]
Status = Literal["online", "offline", "error"]
Name = Annotated[str, Field(min_length=1, max_length=255, pattern=r"\S", examples=["Front door"])]
Notes = Annotated[str | None, Field(max_length=10_000, examples=["the neighbour"])]
Folder = Annotated[str | None, Field(min_length=1, max_length=500, examples=["Front Door"])]
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
Mark = Annotated[bool, Field(strict=True)]  # 0 and "no" are mistakes
ShortStatus = Literal["ok", "slow", "down", "disabled", "starting"]
Severity = Literal["info", "warning", "error"]
Level = Annotated[RiskLevel, Field(examples=["high"])]

CameraId = Annotated[str, Field(description="The camera: its folder's name, lower-cased.", examples=["front_door"])]
CameraName = Annotated[str, Field(description="The camera's name.", examples=["Front door"])]
CameraOrNone = Annotated[
    str | None,
    Field(description="The camera; null: it is not about one, or in no camera's folder.", examples=["front_door"]),
]
UploadPath = Annotated[
    str,
    Field(
        description=r"Below the upload tree, odd bytes escaped as `\xff`.",
        examples=["Front Door/2026/11/22/081530.jpg"],
    ),
]
Limit = Annotated[int, Field(description="Requested size of the page.")]
NextCursor = Annotated[
    str | None, Field(description="What to send as `cursor` for the next page; null: this is the last.")
]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class ErrorResponse(Model):
    detail: Annotated[Any, Field(examples=["Camera with id back_gate not found"])]
    """What is wrong; for invalid input a list of `{loc, msg, type}`."""


class EventNotFound(ErrorResponse):
    merged_into: int | None = None
    """The event, or incident, that this one was merged into; absent if it was not merged."""


class MediaError(Model):
    error: Annotated[str, Field(examples=["there is no such file"])]
    """Why the file is not served."""
    path: Annotated[str, Field(examples=["2026/11/22/081531.jpg"])]
    """The requested path, shortened if it is too long."""


class MediaErrorResponse(Model):
    detail: MediaError
    """What is wrong, and with which path."""


Responses = dict[int | str, dict[str, Any]]

COMMON_ERRORS: Responses = {
    400: {"model": ErrorResponse, "description": "The body is no JSON, or the Host header is not allowed."},
    401: {"model": ErrorResponse, "description": "A token is required."},
    403: {"model": ErrorResponse, "description": "A page of another site may change nothing."},
    413: {"model": ErrorResponse, "description": "The body is too long."},
    503: {"model": ErrorResponse, "description": "The record is unavailable."},
}
INVALID: Responses = {422: {"model": ErrorResponse, "description": "Something in the request is not valid."}}
TOO_MANY: Responses = {
    429: {"model": ErrorResponse, "description": "Too many attempts: try again after `Retry-After` seconds."}
}
CONFLICT: Responses = {409: {"model": ErrorResponse, "description": "Its state does not allow it."}}
NOT_FOUND: Responses = INVALID | {404: {"model": ErrorResponse, "description": "Not found."}}
EVENT_NOT_FOUND: Responses = INVALID | {
    404: {"model": EventNotFound, "description": "There is none, or it was merged."}
}
JPEG_OR_NOT_FOUND: Responses = NOT_FOUND | {200: {"content": {"image/jpeg": {}}}}


# -- events


class _Judged(Model):
    """What events and incidents have in common."""

    id: int
    """The smallest id of its pictures; of an incident, of all that it ever had."""
    started_at: Time
    """When its first picture was taken."""
    ended_at: Time | None
    """When its last picture was taken; null while it is open."""
    status: Literal["open", "closed"]
    """`open`: more pictures may join it."""
    risk_score: Annotated[int, Field(ge=0, le=100, examples=[62])]
    """Its risk, of 100; an incident has the greatest of its events."""
    risk_level: Level
    """The level of the score: below 30 low, below 60 medium, below 85 high, else critical."""
    summary: Annotated[str, Field(examples=["1 person for 12 s at the front door, 08:15"])]
    """What happened, in one sentence."""
    analyzer: Analyzer
    """Whose verdict this is: `rules`, or `nemotron`, the language model."""
    analysis_status: AnalysisStatus
    """Progress of the language model; `disabled`: none is configured."""
    revision: int
    """Counts from 1; each message about it has a new one."""
    reviewed: bool
    """Whether it was reviewed; false again when its level rises. An incident is, while all of its events are."""
    frame_count: int
    """How many pictures it has."""
    objects: Annotated[dict[str, int], Field(examples=[{"person": 2}])]
    """The most of each type in one picture."""
    thumbnail_url: Annotated[str | None, Field(examples=["/api/media/thumbnails/2026-11-22/5_thumb.jpg"])]
    """Thumbnail of its most informative picture, with boxes; null: none."""


class EventResponse(_Judged):
    batch_id: Annotated[str, Field(examples=["6303643d-c2b4-5b41-a046-0de0bdf134b6"])]
    """A UUID made of its first picture: the same in every run over the same files."""
    camera_id: CameraId
    camera_name: CameraName
    reasoning: Annotated[str, Field(examples=["person +22, stays 12 s +4: 26 of 100"])]
    """Why it has this score."""
    evidence: list[int]
    """Ids of the detections that the verdict cites as evidence."""
    model: Annotated[str | None, Field(examples=["nemotron"])]
    """The language model of this verdict; null: the rules'."""
    prompt_version: Annotated[str | None, Field(examples=["v1"])]
    """Version of the language model's prompt; null: the rules' verdict."""
    notes: str | None
    """Notes of people; null: none."""
    detection_count: int
    """How many boxes its pictures have."""
    detection_ids: list[int]
    """Ids of its boxes, ascending."""
    incident_id: int | None
    """The incident that it belongs to; null until it is linked, within a second."""
    picture_verdict: PictureVerdict | None
    """Whether the pictures show what the boxes claim; null: no model was asked about them."""
    analysis: dict[str, Any]
    """What the model was shown and wrote besides its verdict: `shown`, `tracks`, `acts`, `writing`, `resident_likely`, `cue`,
    `tokens` and `frames`, how many pictures the event had then."""


class Page(Model):
    """A page of a list."""

    count: Annotated[int, Field(description="How many match, on all pages.")]
    limit: Limit
    offset: Annotated[int, Field(description="How many were skipped, as requested.")]


class LevelCounts(Model):
    low: int
    """Of level low."""
    medium: int
    """Of level medium."""
    high: int
    """Of level high."""
    critical: int
    """Of level critical."""


class _LevelPage(Page):
    levels: LevelCounts
    """How many match without the filter `risk_level`."""
    next_cursor: NextCursor


class EventPage(_LevelPage):
    events: list[EventResponse]
    """This page, in the requested order."""


class DetectionResponse(Model):
    id: int
    """The picture's id × 512 + the box's number in it."""
    frame_id: int
    """The picture."""
    event_id: int | None
    """The event; null: it belongs to none."""
    camera_id: CameraId
    file_path: UploadPath
    detected_at: Time
    """When the picture was taken."""
    object_type: Annotated[str, Field(examples=["person"])]
    """What was detected."""
    confidence: Share
    """Confidence of the detector, 0–1."""
    bbox_x: int
    """The box's left edge in pixels of the original picture."""
    bbox_y: int
    """Its upper edge, in the same pixels."""
    bbox_width: int
    """Its width, in the same pixels."""
    bbox_height: int
    """Its height, in the same pixels."""
    thumbnail_path: Annotated[str | None, Field(examples=["thumbnails/2026-11-22/5_thumb.jpg"])]
    """The picture with its boxes, below the data folder; null: there is none."""
    attributes: Annotated[dict[str, str | float | bool], Field(examples=[{"colour": "red"}])]
    """What own stages found out about it."""
    image_url: Annotated[str, Field(examples=["/api/detections/2560/image"])]
    """URL of the thumbnail with its boxes."""


class DetectionPage(Page):
    detections: list[DetectionResponse]
    """This page, in the route's order."""


class FrameResponse(Model):
    id: int
    """The picture; the order of processing."""
    captured_at: Time
    """When it was taken, from its EXIF data, file name or modification time."""
    arrived_at: Time
    """When its file arrived; never before that of a smaller id."""
    path: UploadPath
    width: int | None
    """Of the original in pixels; null: unknown."""
    height: int | None
    """Of the original in pixels; null: unknown."""
    image_url: Annotated[str | None, Field(examples=["/api/media/cameras/front_door/2026/11/22/081530.jpg"])]
    """URL of the original; null: it lies outside the upload tree."""
    thumbnail_url: Annotated[str | None, Field(examples=["/api/media/thumbnails/2026-11-22/5_thumb.jpg"])]
    """URL of the thumbnail with its boxes; null: none."""
    model: Annotated[str | None, Field(examples=["PekingU/rtdetr_v2_r18vd"])]
    """The detector's model; null: unknown."""
    detect_ms: float | None
    """Milliseconds of detection, as a share of the batch; null: not measured."""
    detections: list[DetectionResponse]
    """Its boxes."""


class Revision(Model):
    """The event and its verdict when a message about it was published; null: the message did not contain it."""

    revision: int
    """Counts from 1; a shadow verdict has the revision that it judged."""
    type: EventType
    """Type of the message."""
    shadow: bool
    """A verdict that was requested only for comparison and never applied."""
    risk_score: Annotated[int | None, Field(examples=[62])]
    """Its risk, of 100."""
    risk_level: Level | None
    """The level of that score."""
    summary: Annotated[str | None, Field(examples=["1 person for 12 s at the front door, 08:15"])]
    """What happened until then, in one sentence."""
    reasoning: Annotated[str | None, Field(examples=["person +22, stays 12 s +4: 26 of 100"])]
    """Why it has that score."""
    evidence: list[int]
    """Ids of the detections that this verdict cites."""
    analyzer: Analyzer | None
    """Whose verdict it is."""
    model: Annotated[str | None, Field(examples=["nemotron"])]
    """The language model of that verdict; null: the rules'."""
    prompt_version: Annotated[str | None, Field(examples=["v1"])]
    """Version of the prompt; null: the rules' verdict."""
    analysis_status: AnalysisStatus | None
    """Progress of the language model."""
    frame_count: int | None
    """How many pictures the event had."""
    latency_ms: float | None
    """Milliseconds of the language model's response; null: the rules' verdict."""
    picture_verdict: PictureVerdict | None
    """Whether its pictures showed what the boxes claim; null: no model was asked about them."""
    at: Time
    """When it was stored."""


class Latencies(Model):
    """Seconds from the arrival of the first picture; null: not yet."""

    discovered: float | None
    """Until the picture was in the ledger."""
    detected: float | None
    """Until its boxes were in the record: the same moment as `opened`."""
    opened: float | None
    """Until the event was stored and could be published."""
    closed: float | None
    """Until no more pictures could join it."""
    analyzed: float | None
    """Until the language model's verdict was stored."""


class EventDetail(EventResponse):
    answer: Literal["fine", "nothing_there", "right"] | None
    """What the owner answered; null: nothing that stands."""
    history: list[Revision]
    """Its revisions, oldest first, shadow verdicts among them."""
    frames: list[FrameResponse]
    """Its pictures in order of capture."""
    latencies: Latencies
    """How long each step took."""


class EventUpdate(Model):
    reviewed: Mark | None = None
    """Whether it was reviewed; absent or null: unchanged."""
    notes: Notes = None
    """Notes; absent: unchanged, null: none."""


class ReviewMatching(Model):
    reviewed: Mark
    """Whether they were reviewed."""


class ReviewRequest(Model):
    reviewed: Mark
    """Whether they were reviewed."""
    risk_level: Level | None = None
    """All of this level; this or `ids` is required."""
    ids: Annotated[list[Annotated[int, Field(ge=0, lt=1 << 63, strict=True)]] | None, Field(max_length=10_000)] = None
    """Only these."""
    camera_id: Annotated[str | None, Field(max_length=300)] = None
    """Only this camera's."""

    def model_post_init(self, context: Any) -> None:
        if self.risk_level is None and self.ids is None:
            raise ValueError("which events? set risk_level or ids")


class ReviewResult(Model):
    count: int
    """How many changed."""
    ids: list[int]
    """The events that changed; those marked before are not among them."""


# -- feedback


class FeedbackRequest(Model):
    answer: Literal["fine", "nothing_there", "right"]
    """`fine`: it was no risk; `nothing_there`: nothing was; `right`: the alert was right."""


class FeedbackResponse(Model):
    id: int
    """Its id, to revoke it."""
    event_id: int
    """The event that was answered; it may have been deleted since."""
    answer: Literal["fine", "nothing_there", "right"]
    """The answer."""
    signature: Annotated[str, Field(examples=["person at Front door, own door, 07–10 h on workdays"])]
    """Which later events it holds for."""
    points: Annotated[int, Field(ge=-25, le=10, examples=[-6])]
    """What all answers about such events give one of now; 0 for `nothing_there`, which holds back boxes in that place."""
    why: Annotated[str | None, Field(examples=["you called 1 of 1 such visit fine"])]
    """The reason that is printed with these points; null: no points."""
    expires_at: Time
    """When it counts no more; until then it counts less every day."""
    source: Literal["owner", "pictures"]
    """Who gave it: `pictures`: a language model that saw nothing in the event's pictures."""


class FeedbackList(Model):
    feedback: list[FeedbackResponse]
    """The answers that stand, newest first."""


# -- incidents


class IncidentResponse(_Judged):
    last_at: Time
    """When the last picture that it has so far was taken."""
    event_count: int
    """How many events it has."""
    gravest_event_id: int | None
    """The event whose verdict and picture it shows; null: it was deleted."""
    cameras: Annotated[list[str], Field(examples=[["front_door"]])]
    """Ids of its cameras, in order of their first event."""
    camera_names: Annotated[list[str], Field(examples=[["Front door"]])]
    """Their names."""
    alert_counts: Annotated[dict[str, int], Field(examples=[{"plate": 1}])]
    """Alerts of own stages that it has, by kind."""


class AlertResponse(Model):
    id: int
    """Its number in the record."""
    camera_id: CameraId
    at: Time
    """When it was, by the camera's clock."""
    kind: Annotated[str, Field(examples=["plate"])]
    """What was found, in the stage's words."""
    score: Annotated[int, Field(ge=0, le=100, examples=[70])]
    """0 to 100, as a verdict's."""
    summary: Annotated[str, Field(examples=["B 1 is back"])]
    """One sentence."""
    evidence: dict[str, Any]
    """What supports it."""


class IncidentDetail(IncidentResponse):
    events: list[EventResponse]
    """Its events, oldest first; of a long incident the newest 1000: all are in `/api/events?incident_id=`."""
    alerts: list[AlertResponse]
    """Its alerts, oldest first; of many the newest 1000."""


class IncidentPage(_LevelPage):
    incidents: list[IncidentResponse]
    """This page, in the requested order."""
    unreviewed: int
    """How many of all that match are to be reviewed."""


class IncidentUpdate(Model):
    reviewed: Mark | None = None
    """Whether all of its events were reviewed; absent or null: unchanged."""


class CameraEvents(Model):
    camera_id: CameraId
    camera_name: CameraName
    event_count: int
    """Its events in the span."""


class EventStats(Model):
    total_events: int
    """Events in the span."""
    events_by_risk_level: LevelCounts
    """The same, by level."""
    events_by_camera: list[CameraEvents]
    """The same, by camera; cameras without events are omitted."""
    unreviewed: int
    """Those to review."""


# -- cameras


class IgnoredZone(Model):
    name: Annotated[str, Field(max_length=100, examples=["the street"])]
    """Its name."""
    points: Annotated[
        list[tuple[Share, Share]], Field(min_length=3, max_length=POINTS_MAX, examples=[[(0, 0), (1, 0), (1, 0.25)]])
    ]
    """Corners, x and y in 0–1 of the picture."""


class CameraZone(IgnoredZone):
    kind: ZoneKind
    """What it is: public ground, private ground, the own door, a window, where vehicles stand; `ignore`: what is there does not count."""


class SuggestedZone(CameraZone):
    why: Annotated[str, Field(examples=["7 people were first seen here in 30 days"])]
    """What it is inferred from."""


class Suggestions(Model):
    zones: list[SuggestedZone]
    """Those that are not drawn yet; nothing judges by them before they are saved."""


class PreviewedEvent(Model):
    kind: Literal["appears", "vanishes", "rises", "falls", "cut", "changes"]
    """What becomes of it: it appears, vanishes, has another level, other pictures, or another score."""
    event_id: Annotated[int, Field(examples=[17])]
    """Of an event that would appear, the id that it would have."""
    started_at: Time
    """When its first picture was taken."""
    before: RiskLevel | None
    """With the zones in force; null: there is no such event."""
    after: RiskLevel | None
    """With these zones; null: there is none."""
    thumbnail: Annotated[str | None, Field(examples=["/api/media/thumbnails/2026-11-22/5_thumb.jpg"])]
    """URL of the picture with its surest evidence."""
    why: Annotated[list[str], Field(examples=[["in ignored zone street (12 boxes)"]])]
    """The boxes that count or do not count now, and the terms of the score that come or go."""


class PreviewTotals(Model):
    incidents: int
    """Incidents that began in these 7 days, of this camera alone."""
    notifications: int
    """Notifications about them that make a sound, of all notifiers together."""


class ZonesPreview(Model):
    since: Time
    """Events that started from then on were compared."""
    frames: int
    """Pictures with boxes that were judged again."""
    counts: Annotated[dict[str, int], Field(examples=[{"vanishes": 12, "falls": 3}])]
    """How many events would change, by `kind`."""
    events: list[PreviewedEvent]
    """At most 50 of them: those that appear, vanish, rise and fall first."""
    before: PreviewTotals
    """With the zones in force."""
    after: PreviewTotals
    """With these zones."""


class CameraResponse(Model):
    id: CameraId
    name: CameraName
    folder_path: Annotated[str, Field(examples=["Front Door"])]
    """Its folder below the upload tree, odd bytes escaped as `\\xff`."""
    status: Status
    """`offline`: silent for longer than usual; `error`: its folder cannot be read."""
    created_at: Time
    """When it was added, by its first picture or by hand."""
    last_seen_at: Time | None
    """When its newest file arrived; null: none yet."""
    notes: str | None
    """Notes of people; null: none."""
    zones: list[CameraZone] | None
    """The places in its picture; null: none. Empty: none was saved that can be read."""
    neighbours: Annotated[list[str] | None, Field(examples=[["driveway"]])]
    """Cameras that a visit may go to from here, or come from; null: all."""
    notify_level: RiskLevel | None
    """The least level at which notifiers report its incidents; null: `HEARTHWATCH_NOTIFY_LEVEL`."""
    clock_offset_ms: int | None
    """How slow its clock is, milliseconds; negative: fast; null: not known yet. Events and alerts allow for it."""
    silent: bool
    """No picture for longer than usual for this camera."""
    last_image_url: Annotated[str | None, Field(examples=["/api/media/cameras/front_door/2026/11/22/081530.jpg"])]
    """Its newest readable picture; null: there is none."""
    events_today: int
    """Events since local midnight."""
    images_today: int
    """Pictures taken since local midnight."""


class CameraList(Model):
    cameras: list[CameraResponse]
    """By name."""
    count: int
    """How many these are."""


class CameraCreate(Model):
    name: Name | None = None
    """Its name; the folder's name if absent."""
    folder_path: Folder = None
    """The folder below the upload tree, with or without the tree's own path; the name if absent."""
    status: Status = "online"
    """Status until its first picture, which makes it `online`."""
    notes: Notes = None
    """Notes."""


class CameraMerge(Model):
    into: Annotated[str, Field(min_length=1, max_length=255, examples=["front_door"])]
    """The id of the camera that this one is."""


class CameraUpdate(Model):
    name: Name | None = None
    """Its name; absent or null: unchanged."""
    folder_path: Folder = None
    """Another spelling of the same folder; another folder is another camera."""
    status: Status | None = None
    """Status until its next picture, which makes it `online`; absent or null: unchanged."""
    notes: Notes = None
    """Notes; absent: unchanged, null: none."""
    zones: Annotated[list[CameraZone] | None, Field(max_length=ZONES_MAX)] = None
    """All places in its picture; absent: unchanged, null: none."""
    ignore_zones: Annotated[list[IgnoredZone] | None, Field(max_length=ZONES_MAX, deprecated=True)] = None
    """As in 0.1, for one version: the zones of kind `ignore`; the others stay."""
    neighbours: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=300, examples=["driveway"])]] | None, Field(max_length=1000)
    ] = None
    """Ids of the cameras that a visit may go to from here, or come from: one of two naming the other is enough; absent: unchanged, null: all."""
    notify_level: RiskLevel | None = None
    """The least level at which notifiers report its incidents; absent: unchanged, null: `HEARTHWATCH_NOTIFY_LEVEL`."""


class TimelineCell(Model):
    events: int
    """Events that began in it."""
    max_risk: int | None
    """The highest score among them; null: no event."""
    pictures: int
    """0: the camera sent none, which differs from a quiet hour."""


class TimelineCamera(Model):
    camera_id: CameraId
    camera_name: CameraName
    cells: list[TimelineCell]
    """One for each `step_seconds`, oldest first; the last is the current one."""


class Timeline(Model):
    from_: Annotated[Time, Field(alias="from")]
    """When the first cell begins."""
    step_seconds: int
    """Length of a cell, seconds."""
    cameras: list[TimelineCamera]
    """By name."""


# -- looking back


class CameraFrame(FrameResponse):
    camera_id: CameraId
    event_id: int | None
    """The event that it is in; null: nothing was seen on it, or the event was deleted."""


class FramePage(Model):
    frames: list[CameraFrame]
    """This page, newest first."""
    count: Annotated[int, Field(description="How many match, on all pages.")]
    limit: Limit
    next_cursor: NextCursor


class CalendarDay(Model):
    date: Annotated[str, Field(json_schema_extra={"format": "date"}, examples=["2026-11-22"])]
    """The day."""
    start: Time
    """When it begins."""
    end: Time
    """When the next day begins."""
    incidents: int
    """Incidents that began on it."""
    unreviewed: int
    """Incidents of these to review."""
    events: int
    """Events that began on it."""
    unreviewed_events: int
    """Events of these to review."""
    pictures: int
    """All files of it, also without detections."""


class Calendar(Model):
    month: Annotated[str, Field(examples=["2026-11"])]
    """The month."""
    days: list[CalendarDay]
    """All of its days, in order."""


class SearchFilter(Model):
    kind: Literal["time", "camera"]
    """What it filters by."""
    text: Annotated[str, Field(examples=["last night"])]
    """The words of `q` that mean it: without them, `q` is without this filter."""
    camera_ids: Annotated[list[str], Field(examples=[["front_door"]])]
    """Cameras with this name."""
    start_date: Time | None
    """Not before this; null: of no day."""
    end_date: Time | None
    """Before this; null: of no day."""
    hours: Annotated[list[str] | None, Field(examples=[["22:00", "06:00"]])]
    """From and until, of every day or of that day; null: all hours."""


class SearchPage(Model):
    q: Annotated[str, Field(examples=["person front door last night"])]
    """The search, as it was sent."""
    filters: list[SearchFilter]
    """What of it was understood as filters."""
    events: list[EventResponse]
    """This page, newest first."""
    count: int
    """How many match, on all pages; they are counted up to 1,000."""
    limit: Limit
    next_cursor: NextCursor


# -- the system


class Service(Model):
    status: Literal["healthy", "degraded", "unhealthy", "disabled", "starting"]
    """`disabled`: it is not configured; `starting`: it loads. Neither is a problem."""
    message: Annotated[str, Field(examples=["has caught up"])]
    """The status in words."""
    details: dict[str, Any]
    """Details, different for each service."""


class Services(Model):
    database: Service
    """The record."""
    redis: Service
    """Redis, where events are published."""
    detector: Service
    """The detector."""
    nemotron: Service
    """The language model that judges events."""
    pipeline: Service
    """The pipeline, by its heartbeat."""
    uploads: Service
    """The upload tree: what discovery can read, ignores or doubts."""
    cameras: Service
    """The cameras. Details by camera: `silent`, `clock_offset_seconds`, `quarantined_share` of the last hour, …"""
    journal: Service
    """The journals of own items. Details by journal: `items`, `failed`, `last_at`."""
    consumers: Service
    """The consumers of the feed. Details by consumer: `delivered`, `failed`, `last_success`, `last_failure`, `error`, `lag`."""
    lake: Service
    """The export to Parquet and DuckDB."""
    retention: Service
    """The deletion of what is too old."""


class ConditionResponse(Model):
    kind: Annotated[str, Field(examples=["quarantine"])]
    """What is wrong: `system.<kind>` of the feed; `pipeline_down` and `stalled` only this server knows."""
    subject: Annotated[str, Field(examples=["front_door"])]
    """The camera, node or file that it is about; empty: the whole."""
    severity: Severity
    """`info` degrades nothing."""
    camera_id: CameraOrNone
    message: Annotated[str, Field(examples=["28 of 29 pictures of Front door in the last hour could not be used"])]
    """In words."""
    since: Time
    """When it began."""


class CellStatus(Model):
    alive: bool
    """Whether its pipeline runs, by its heartbeat."""
    last_heartbeat: Time | None
    """The last one; null: never."""
    backlog: int
    """Pictures that wait."""


class SystemHealth(Model):
    status: Literal["healthy", "degraded", "unhealthy"]
    """`unhealthy`: the database fails; `degraded`: anything else does."""
    services: Services
    """Each service."""
    conditions: list[ConditionResponse]
    """What is wrong now, the worst first."""
    cells: dict[str, CellStatus]
    """Each cell by name; none if the record cannot be read."""
    timestamp: Time
    """When this was read."""


class SystemMessageResponse(ConditionResponse):
    schema_: Annotated[Literal["hearthwatch.system.v1"], Field(alias="schema")]
    """The shape of the message."""
    seq: int
    """Its number in the feed."""
    type: Annotated[str, Field(examples=["system.quarantine"])]
    """`system.` and the kind."""
    state: Literal["on", "off"]
    """`off`: it is over."""
    at: Time
    """When the pipeline noticed that it began, or ended."""


class SystemMessages(Model):
    messages: list[SystemMessageResponse]
    """This page, newest first."""
    limit: Limit
    next_cursor: str | None
    """Send it as `cursor` for the next page; null: this is the last one."""


class JournalItem(Model):
    id: int
    """Its number in the record."""
    node: Annotated[str, Field(examples=["bursts"])]
    """The journal that it is in."""
    content_hash: Annotated[str, Field(examples=["2548ae2c7fb274a3fca9e0f30443b7a7"])]
    """Made of its content: the same for the same item."""
    kind: Annotated[str, Field(examples=["Level"])]
    """Its class; `dict` for a mapping, `failed` with an error."""
    at: Time
    """When it was written."""
    payload: Annotated[dict[str, Any], Field(examples=[{"db": 61.5}])]
    """Its fields."""
    error: str | None
    """Why it could not be written, or failed before; null: it did not."""


class JournalItems(Model):
    items: list[JournalItem]
    """This page, newest first."""
    limit: Limit
    next_cursor: str | None
    """Send it as `cursor` for the next page; null: this is the last one."""


class Gpu(Model):
    gpu_utilization: float | None
    """Utilization in percent; null: no GPU, or no sample."""
    memory_used: int | None
    """Its memory in use, bytes; null: none."""
    memory_total: int | None
    """All its memory, bytes; null: none."""
    temperature: float | None
    """°C; null: none."""
    inference_fps: float | None
    """Pictures per second that the detector processed, on GPU or CPU; null: no sample."""
    recorded_at: Time | None
    """When the sample was taken; null: no sample."""


class GpuHistory(Model):
    samples: list[Gpu]
    """Oldest first."""
    count: int
    """How many these are."""
    limit: Limit


class Config(Model):
    app_name: Annotated[str, Field(examples=["Hearthwatch"])]
    """Hearthwatch."""
    version: Annotated[str, Field(examples=["0.2.0"])]
    """Version of this server."""
    retention_days: int
    """How long pictures and events are kept after discovery, days."""
    batch_window_seconds: float
    """How long an event may last, seconds."""
    batch_idle_timeout_seconds: float
    """Seconds without a detection after which an event is closed."""
    detection_confidence_threshold: float
    """The least confidence of a box that counts, 0–1."""


class SettingInForce(Model):
    name: Annotated[str, Field(examples=["RETENTION_DAYS"])]
    """Its variable."""
    value: Annotated[str | None, Field(examples=["30"])]
    """As it is written, `***` for a secret; null: unset."""
    source: Annotated[str, Field(examples=[".env"])]
    """What sets it: `environment`, the `.env` file, a line of the flow file, or `default`."""
    meaning: Annotated[str, Field(examples=["Log in detail."])]
    """What it does."""
    allowed: Annotated[str, Field(examples=["true or false"])]
    """The values that are allowed."""


class SettingsInForce(Model):
    settings: list[SettingInForce]
    """All of them, in the order of the documentation."""
    folder: Annotated[str, Field(examples=["/home/me/hearthwatch"])]
    """Where this server was started: a `.env` file there is read."""
    flow: Annotated[str | None, Field(examples=["flow.toml"])]
    """The flow file; null: the built-in one."""
    address: Annotated[str, Field(examples=["192.168.1.20"])]
    """This machine's address in its network: where cameras upload to, if the FTP server runs here."""
    data_bytes: int
    """What the data folder takes."""


class NotifierTest(Model):
    ok: bool
    """Whether the notifier's service took the notification."""
    message: Annotated[str, Field(examples=["ntfy: https://ntfy.sh took it"])]
    """The result in words."""


class LearnedBaseline(Model):
    camera_id: CameraId
    days: Annotated[int, Field(examples=[21])]
    """On how many days it was watched, at the hour that was watched most."""
    as_of: Time
    """When it was counted: what starts later is judged by it."""
    per_day: Annotated[dict[str, float], Field(examples=[{"person": 2.1}])]
    """How often each kind of object is seen there on a day, the most frequent first."""


class Baselines(Model):
    baselines: list[LearnedBaseline]
    """One for each camera that was watched for long enough."""


class GraphNode(Model):
    name: Annotated[str, Field(examples=["batch"])]
    """Its name in the flow file."""
    use: Annotated[str, Field(examples=["batch"])]
    """The component."""
    kind: Literal["source", "stage", "sink", "consumer", "job"]
    """What the component is."""
    label: Annotated[str, Field(examples=["90 s window, 30 s idle"])]
    """Its options that matter, in words."""
    off: str | None
    """Why it does nothing; null: it works."""
    notifies: bool = False
    """Whether it sends notifications."""


class GraphEdge(Model):
    begin: Annotated[str, Field(alias="from", examples=["batch"])]
    """The node that is read."""
    port: str | None
    """The port of it; null: its items."""
    to: Annotated[str, Field(examples=["analyze"])]
    """The node that reads."""
    durable: bool
    """True: it reads the record behind a cursor, so nothing is lost while it is down."""


class GraphOptions(Model):
    batch_window_seconds: float | None = None
    """How long an event may last, seconds."""
    batch_idle_timeout_seconds: float | None = None
    """Seconds without a detection after which an event is closed."""
    retention_days: int | None = None
    """How long pictures and events are kept after discovery, days."""


class GraphDescription(Model):
    nodes: list[GraphNode]
    """What runs, upstream first; empty before a pipeline has run."""
    edges: list[GraphEdge]
    """Who reads whom."""
    options: GraphOptions
    """Options that explain the events; empty before a pipeline has run."""


class LedgerCounts(Model):
    """Pictures by state; `files` is counted separately, so that a difference would show."""

    files: int
    """All that were ever discovered: the sum of the others."""
    settled: int
    """Processed."""
    discovered: int
    """Waiting."""
    quarantined: int
    """Could not be processed."""


class StageTimes(Model):
    name: Annotated[str, Field(examples=["detect"])]
    """`detect` (a picture's share of its batch), `open` and `close` (since the event's first picture arrived), `analyze` (a language model's response)."""
    p50_s: float | None
    """The median of the newest 200, seconds; null: none yet."""
    p95_s: float | None
    """Their 95th percentile, seconds; null: none yet."""
    waiting: int
    """Pictures or events that wait for it."""


class LanguageModel(Model):
    model: Annotated[str | None, Field(examples=["nemotron"])]
    """Its name; null: none is configured."""
    pending: int
    """Closed events without its verdict."""
    in_flight: int | None
    """Events being judged; null: no pipeline has reported it."""
    max_in_flight: int | None
    """Most events judged at once; null: none is configured."""


class DiskUsage(Model):
    """The disk that the data folder is on. Sizes in bytes."""

    used: int
    """In use by all programs."""
    total: int
    """Its capacity."""
    per_day: int | None
    """Uploads per day, from the last thousand pictures; null: none yet."""
    retention_days: int
    """How long pictures and events are kept, days."""
    oldest: Time | None
    """The quarter of an hour of the oldest picture; null: none yet."""
    full_in_days: int | None
    """Whole days until it is full at that pace; null: unknown."""


class SystemStats(Model):
    total_cameras: int
    """Cameras."""
    total_events: int
    """Events in the record."""
    total_detections: int
    """Boxes in the record."""
    uptime_seconds: float
    """Since this server started."""
    ledger: LedgerCounts
    """Every file that was ever discovered, by state."""
    backlog: int
    """Pictures that wait."""
    open_events: int
    """Events that more pictures may join."""
    images_per_s: float
    """Pictures found per second, over the last minute."""
    images_per_s_history: list[float]
    """Pictures found per second in each of the last 60 quarters of an hour, oldest first."""
    stages: list[StageTimes]
    """How long each step takes, and how much waits for it."""
    llm: LanguageModel
    """The language model."""
    disk: DiskUsage
    """The disk."""


class QuarantinedFrame(Model):
    id: int
    """The picture's frame."""
    camera_id: CameraOrNone
    path: UploadPath
    stage: Annotated[str | None, Field(examples=["decode"])]
    """The stage that failed; null: unknown."""
    reason: Annotated[str | None, Field(examples=["empty file"])]
    """Why; null: unknown."""
    at: Time
    """When it was discovered."""
    captured_at: Time
    """When it was taken."""
    size: int
    """Of the file, bytes."""
    attempt: int
    """Counts from 1; each retry is one more."""
    retried: bool
    """It was retried since."""


class QuarantinePage(Page):
    frames: list[QuarantinedFrame]
    """This page, newest first."""


class RetryResult(Model):
    frame_id: int
    """The new frame."""
    retry_of: int
    """The one that stays in quarantine."""


class NeedsPerson(Model):
    event_id: int
    """The event."""
    level: Level
    """Its risk level."""
    camera_id: CameraId


class Today(Model):
    """Since local midnight."""

    images: int
    """Pictures taken."""
    with_objects: int
    """Pictures of the events that began."""
    events: int
    """Events that began."""
    to_review: int
    """Those of them that are not reviewed."""


class StatusLine(Model):
    at: Time | None
    """Time of the pipeline's last heartbeat; null: never."""
    now: Time
    """The server's clock."""
    needs_person: NeedsPerson | None
    """The worst unreviewed event that is high or critical; null: none is."""
    to_review: int
    """Events to review."""
    cameras_online: int
    """Cameras that are online."""
    cameras_total: int
    """All cameras."""
    backlog: int
    """Pictures that wait."""
    behind_seconds: float | None
    """Seconds that the oldest waiting picture has waited; null: none waits."""
    importing_since: Time | None
    """When the oldest picture was uploaded of those that wait behind live ones because nothing ran; null: none does."""
    llm: ShortStatus
    """The language model; `disabled`: none is configured."""
    detector: ShortStatus
    """The detector."""
    gpu_percent: float | None
    """GPU utilization of the newest sample, percent; null: no GPU, or no sample."""
    today: Today | None
    """The day so far; null: there is no camera yet."""
    stalled: bool
    """Pictures wait and none was processed for a minute."""
    watching: Annotated[str | None, Field(examples=["/export/foscam"])]
    """The upload tree; null: the graph reads no pictures."""
    starting: bool
    """The pipeline is starting: it loads a model, or lists the upload tree for the first time."""
    problem: ConditionResponse | None
    """The worst thing that is wrong; null: all is well."""
    problems: int
    """How many things are wrong, mere information apart."""


class SessionRequest(Model):
    token: Annotated[str, Field(max_length=1000, repr=False, examples=["the value of HEARTHWATCH_API_TOKEN"])]
    """The value of `HEARTHWATCH_API_TOKEN`."""


class SignedUrlRequest(Model):
    path: Annotated[str, Field(pattern=r"^/(api|ws)/[^?#\s]+$", max_length=2000, examples=["/api/live"])]
    """A path of this API that answers GET, as it stands in a URL, without a query."""


class SignedUrl(Model):
    url: Annotated[str, Field(examples=["/api/live?sig=1795774800.5f0c"])]
    """The path with its signature; more parameters may follow."""
    ends_at: Annotated[str, Field(examples=["2026-11-27T10:15:00Z"])]
    """Until when a request with it may begin; a feed that is open stays so."""


class OkResponse(Model):
    status: Literal["ok"] = "ok"
    """Always ok."""
