"""The items that flow between nodes: frozen, slotted dataclasses for streams, sinks, consumers and the API.

Times are aware UTC datetimes; pixels are those of the original picture; scores are 0..1, risk is 0..100.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

PER_FRAME = 512  # a detection's id is frame_id * 512 + n: more boxes than any detector returns (RT-DETR: 300)
DUPLICATE = "duplicate"
"""`DeadLetter.stage` of a picture that was processed before: it is settled without detections, not quarantined."""
SUPERSEDED = "superseded"
"""The same for an upload that a newer one replaced before it was read."""
CUT_SHORT = "cut_short"
"""`DeadLetter.stage` of a picture that lacks its last rows: it is processed all the same, and settled with its detections."""
SETTLED_STAGES = frozenset((DUPLICATE, SUPERSEDED, CUT_SHORT))

ATTRIBUTES_MAX, ATTRIBUTE_LENGTH_MAX = 16, 200
"""Of one detection: names, and characters of a name or a text."""
Attribute = str | float | bool

ALERTS_MAX = 8  # of one picture
EVIDENCE_BYTES_MAX = 16 * 1024  # of an alert, as JSON

INCIDENT_EVENTS_MAX = 100
"""Events that a message of an incident lists: 1 kB."""

RiskLevel = Literal["low", "medium", "high", "critical"]
RISK_FLOORS: dict[RiskLevel, int] = {"low": 0, "medium": 30, "high": 60, "critical": 85}
"""The lowest score of each level."""
EventType = Literal["event.opened", "event.raised", "event.closed", "event.analyzed", "event.failed", "event.merged"]
IncidentType = Literal["incident.opened", "incident.raised", "incident.updated", "incident.closed", "incident.merged"]
EventStatus = Literal["open", "closed", "merged"]
Analyzer = Literal["rules", "nemotron"]
AnalysisStatus = Literal["pending", "done", "failed", "disabled"]
PictureVerdict = Literal["confirmed", "rejected", "unclear", "unverified"]


def to_microseconds(when: datetime) -> int:
    """Convert an aware datetime to integer microseconds since 1970 UTC, the unit of every time in the record."""
    return (when - EPOCH) // MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Convert integer microseconds since 1970 to an aware UTC datetime, exactly."""
    return EPOCH + timedelta(microseconds=microseconds)


def risk_level(score: int) -> RiskLevel:
    """Return the level of a score, computed here and nowhere else."""
    return next(level for level, lowest in reversed(RISK_FLOORS.items()) if score >= lowest)


class Reject(Exception):  # noqa: N818  (an answer about an item, not a fault of the program)
    """Raised by a stage's `process`: this item cannot be processed, for this reason."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Why a frame could not be processed: the stage that failed and the reason."""

    stage: str
    reason: str

    @property
    def is_settled(self) -> bool:
        """Whether the frame is settled all the same; otherwise it is quarantined."""
        return self.stage in SETTLED_STAGES


def has_failed(error: DeadLetter | None) -> bool:
    """Whether there is nothing to detect in, or no detection that counts: any error but a picture that was cut short."""
    return error is not None and error.stage != CUT_SHORT


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture that a plug-in source found. `path` is absolute, or relative to the upload tree."""

    camera: str
    path: str
    captured_at: datetime | None


class Opened(Protocol):
    """A picture file that was read and decoded ahead; a source hands it out with its frame."""

    @property
    def content_hash(self) -> str | None: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def error(self) -> DeadLetter | None: ...
    def picture(self) -> Image: ...


@dataclass(frozen=True, slots=True)
class Frame:
    """One uploaded picture; its row in the record is also its entry in the ledger, and `id` is the processing order."""

    id: int
    uid: str
    camera_id: str
    path: str
    captured_at: datetime
    arrived_at: datetime
    opened: Opened | None = field(default=None, repr=False, compare=False, kw_only=True)
    """The file's content, decoded ahead; None on a frame that needs no detection."""
    recorded: Detected | None = field(default=None, repr=False, compare=False, kw_only=True)
    """Set on a frame that was decided before a resume: its result in the record. No stage processes it again."""

    def picture(self) -> Image:
        """Return the picture as PIL RGB in its original size. It was decoded once, before the frame was handed out."""
        if self.opened is None:
            raise Reject(f"frame {self.id} ({self.path}) carries no picture")
        return self.opened.picture()


@dataclass(frozen=True, slots=True)
class Detection:
    """One labelled box: `bbox` is x, y, width, height in pixels of the original picture."""

    object_type: str
    confidence: float
    bbox: tuple[int, int, int, int]
    attributes: Mapping[str, Attribute] = field(default_factory=dict, hash=False)
    """What a stage found out about it, by name: `{"colour": "red"}`. At most 16, each a text of 200 characters or a number."""


def find_attribute_error(attributes: object) -> str | None:
    """Return what is wrong with the attributes of a detection, in words that name the attribute; None: nothing."""
    if not isinstance(attributes, Mapping):
        return f"attributes are a {type(attributes).__name__}: they have to be a mapping"
    if len(attributes) > ATTRIBUTES_MAX:
        return f"there are {len(attributes)} attributes, and {ATTRIBUTES_MAX} may be"
    for name, value in attributes.items():
        if not isinstance(name, str) or not name or not _is_storable(name):
            words = repr(name[:40]) if isinstance(name, str) else f"a {type(name).__name__}"
            return f"an attribute's name is {words}: it has to be a text of 1 to {ATTRIBUTE_LENGTH_MAX} characters"
        if not isinstance(value, str | int | float):
            return f"attribute `{name}` is a {type(value).__name__}: it has to be a text, a number or a bool"
        if not _is_storable(value):
            return f"attribute `{name}`: a text has at most {ATTRIBUTE_LENGTH_MAX} characters, a number is finite and has 64 bits"
    return None


def find_alert_error(alerts: tuple[Alert, ...]) -> str | None:
    """Return what is wrong with the alerts of a picture, in words that name the field; None: nothing."""
    if len(alerts) > ALERTS_MAX:
        return f"there are {len(alerts)} alerts, and {ALERTS_MAX} may be"
    for alert in alerts:
        if not isinstance(alert, Alert):
            return f"an alert is a {type(alert).__name__}: write Alert(camera, at, kind, score, summary)"
        for name in ("camera", "kind", "summary"):
            if not isinstance(text := getattr(alert, name), str) or not text or not _is_storable(text):
                return f"`{name}` of an alert is {text!r:.60}: it has to be a text of 1 to {ATTRIBUTE_LENGTH_MAX} characters"
        if not isinstance(alert.at, datetime) or alert.at.tzinfo is None:
            return f"`at` of an alert is {alert.at!r}: it has to be a time with its zone"
        if type(alert.score) is not int or not 0 <= alert.score <= 100:
            return f"`score` of an alert is {alert.score!r}: it has to be an int from 0 to 100"
        try:
            if len(json.dumps(dict(alert.evidence), allow_nan=False).encode()) > EVIDENCE_BYTES_MAX:
                return f"`evidence` of an alert may have {EVIDENCE_BYTES_MAX} bytes of JSON: keep large things in files"
        except (TypeError, ValueError, RecursionError) as error:
            return f"`evidence` of an alert: {error}"
    return None


def _is_storable(value: str | float) -> bool:
    """Whether JSON and every reader of it can hold this text or number."""
    try:
        if isinstance(value, str):
            value.encode()
            return len(value) <= ATTRIBUTE_LENGTH_MAX
        return -(1 << 63) <= value < 1 << 63 if isinstance(value, int) else math.isfinite(value)
    except UnicodeError:
        return False


@dataclass(frozen=True, slots=True)
class Alert:
    """What an own stage found in a picture and no rule judges; incidents count it like an event. The same alert is stored once."""

    camera: str
    at: datetime
    kind: str
    score: int
    """0 to 100, as a verdict's."""
    summary: str
    """One sentence for people."""
    evidence: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Whatever supports it, JSON types only; 16 KiB."""


@dataclass(frozen=True, slots=True)
class Detected:
    """A frame with its detections, or with the error that prevented detection."""

    frame: Frame
    width: int
    height: int
    detections: tuple[Detection, ...]
    error: DeadLetter | None = None
    model: str | None = field(default=None, kw_only=True)
    detect_ms: float | None = field(default=None, kw_only=True)
    is_grey: bool | None = field(default=None, kw_only=True)
    """Whether the picture has no colour, as infrared light gives at night; None: not known."""
    alerts: tuple[Alert, ...] = field(default=(), kw_only=True)
    """What own stages report, at most `ALERTS_MAX`; `batch` writes them to the record together with the picture's state."""


@dataclass(frozen=True, slots=True)
class Tick:
    """ "Nothing that arrived earlier is waiting", but of these cameras."""

    now: datetime
    behind: frozenset[str] = frozenset()
    """Cameras that have frames waiting."""
    backlog: frozenset[str] = frozenset()
    """Cameras that have old pictures waiting on disk."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How dangerous `analyzer` finds an event, and why. `evidence` are ids of detections of that event."""

    risk_score: int
    summary: str
    reasoning: str
    evidence: tuple[int, ...] = ()
    analyzer: Analyzer = "rules"
    model: str | None = None
    prompt_version: str | None = None
    latency_ms: float | None = None
    picture_verdict: PictureVerdict | None = field(default=None, kw_only=True)
    """Whether the pictures show what the boxes claim; None: no pictures were asked about."""
    analysis: Mapping[str, Any] = field(default_factory=dict, hash=False, kw_only=True)
    """Which pictures a model was shown, what it saw of each track, and how many tokens that took. JSON types only."""

    @property
    def risk_level(self) -> RiskLevel:
        """Derived from the score, so that the two can never disagree."""
        return risk_level(self.risk_score)


@dataclass(frozen=True, slots=True)
class Event:
    """One revision of an event: a batch of one camera's frames, with a verdict. `objects` is the most seen at once."""

    id: int
    batch_id: str
    camera_id: str
    type: EventType
    revision: int
    started_at: datetime
    ended_at: datetime | None
    status: EventStatus
    frame_count: int
    objects: Mapping[str, int]
    verdict: Verdict
    detection_ids: tuple[int, ...]
    camera_name: str = field(default="", kw_only=True)
    analysis_status: AnalysisStatus = field(default="disabled", kw_only=True)
    merged_into: int | None = field(default=None, kw_only=True)
    delay_seconds: float = field(default=0.0, kw_only=True)
    thumbnail: str | None = field(default=None, kw_only=True)
    incident_id: int | None = field(default=None, kw_only=True)
    """The incident that it belongs to; None until it is linked, within a second."""
    attributes: Mapping[str, tuple[Attribute, ...]] = field(default_factory=dict, kw_only=True)
    """Attributes of its detections: name → the different values, at most `ATTRIBUTES_MAX` each."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One revision of an incident: the events, of one camera or several, that a person would call one visit."""

    id: int
    type: IncidentType
    revision: int
    status: EventStatus
    started_at: datetime
    last_at: datetime
    ended_at: datetime | None
    """None while it is open."""
    risk_score: int
    """The greatest of its events' standing verdicts and of its alerts."""
    summary: str
    """That of the gravest event or alert."""
    cameras: tuple[str, ...]
    """Ids, in order of their first event."""
    camera_names: tuple[str, ...]
    events: tuple[int, ...]
    """Ids, oldest first; of a long incident the newest `INCIDENT_EVENTS_MAX`."""
    event_count: int
    frame_count: int
    objects: Mapping[str, int]
    """Kind of object → the most of it in one picture."""
    gravest_event_id: int | None
    thumbnail: str | None
    delay_seconds: float
    """How old the newest news of it is."""
    merged_into: int | None = None
    alert_counts: Mapping[str, int] = field(default_factory=dict)
    """Kind of alert → how many."""

    @property
    def risk_level(self) -> RiskLevel:
        """Derived from the score, so that the two can never disagree."""
        return risk_level(self.risk_score)


def iso(when: datetime | None) -> str | None:
    """Format a time for JSON: `2026-11-22T08:15:30.000000Z`."""
    return None if when is None else when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
