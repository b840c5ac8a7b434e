"""Parse parameters of URLs: times, filters, pages; the same for every route."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import Depends, Path, Query
from fastapi.exceptions import RequestValidationError
from pydantic import BeforeValidator, Field, WithJsonSchema

from hearthwatch.record.read.events import Filter, PageCursor
from hearthwatch.record.units import DAY, NEVER
from hearthwatch.schemas.items import RiskLevel, to_microseconds

LAST = (1 << 63) - 1  # the largest number that SQLite has
OFFSET_MAX = 1 << 53  # the largest whole number that every JSON client can count to


def parse_time(text: object) -> object:
    """Parse ISO 8601 into microseconds; without a zone it is UTC.

    Raises:
        ValueError: it is no time.
    """
    if not isinstance(text, str) or not text.strip():
        return None
    text = re.sub(r" (\d\d:?\d\d)$", r"+\1", text.strip())  # a plus sign that was not URL-encoded
    try:
        when = datetime.fromisoformat(text)
        return to_microseconds(when if when.tzinfo else when.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise ValueError("not a time: write 2026-11-22T08:15:30Z or 2026-11-22") from None


def parse_end_time(text: object) -> object:
    """Parse the end of a span; a day alone means the end of that day."""
    at = parse_time(text)
    whole_day = isinstance(text, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", text.strip())
    return at + DAY if whole_day and isinstance(at, int) else at


def _split_commas(value: object) -> object:
    given = [value] if isinstance(value, str) else value
    return (
        [part for item in given for part in str(item).split(",") if part] if isinstance(given, list | tuple) else given
    )


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


_TIME: dict[str, Any] = {
    "anyOf": [{"type": "string"} | kind for kind in ({"format": "date-time"}, {"format": "date"}, {"maxLength": 0})]
}
Start = Annotated[
    int | None, BeforeValidator(parse_time), WithJsonSchema(_TIME | {"examples": ["2026-11-22T08:00:00Z"]}),
    Query(description="Not before this: ISO 8601; without a zone UTC."),
]  # fmt: skip
End = Annotated[
    int | None, BeforeValidator(parse_end_time), WithJsonSchema(_TIME | {"examples": ["2026-11-22T09:00:00Z"]}),
    Query(description="Before this; a day alone (`2026-11-22`) counts whole."),
]  # fmt: skip
CameraId = Annotated[
    Annotated[str, Field(max_length=300)] | None,
    BeforeValidator(_none_if_empty),
    Query(description="One camera.", examples=["front_door"]),
]
EventId = Annotated[int, Path(description="The event's id.", examples=[5])]
IncidentId = Annotated[int, Path(description="The incident's id.", examples=[5])]
CameraName = Annotated[
    str, Path(description="The camera's id: its folder's name, lower-cased.", examples=["front_door"])
]
DetectionId = Annotated[int, Path(description="The detection's id.", examples=[2560])]
FrameId = Annotated[int, Path(description="The frame's id, as the quarantine lists it.", examples=[9])]
FilePath = Annotated[
    str,
    Path(
        description="The file below its folder; odd bytes as the record escapes them.",
        examples=["2026/11/22/081530.jpg"],
    ),
]
ThumbnailPath = Annotated[
    str,
    Path(description="As in `thumbnail_url`, or `{detection_id}_thumb.jpg`.", examples=["2026-11-22/5_thumb.jpg"]),
]
ObjectType = Annotated[
    Annotated[str, Field(max_length=100)] | None,
    BeforeValidator(_none_if_empty),
    Query(description="What was seen.", examples=["person"]),
]
Levels = Annotated[
    list[RiskLevel], BeforeValidator(_split_commas), Query(description="Levels, repeated or with commas between them.", examples=[["high", "critical"]])
]  # fmt: skip
Reviewed = Annotated[bool | None, BeforeValidator(_none_if_empty), Query(description="Whether it was reviewed.")]
Words = Annotated[
    Annotated[str, Field(max_length=200)] | None,
    BeforeValidator(_none_if_empty),
    Query(description="Words in summary, reasoning or notes; `%` and `_` mean themselves.", examples=["front door"]),
]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the previous page.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
Offset = Annotated[int, Query(ge=0, le=OFFSET_MAX, description="How many to skip; `cursor` is faster.")]


async def _incident_filter(
    camera_id: CameraId = None, risk_level: Levels = [], object_type: ObjectType = None, start_date: Start = None,  # noqa: B006
    end_date: End = None, reviewed: Reviewed = None, q: Words = None,
) -> Filter:  # fmt: skip
    start, end = span(start_date, end_date)
    return Filter(camera_id, tuple(dict.fromkeys(risk_level)), object_type, start, end, reviewed, q)


IncidentFilter = Annotated[Filter, Depends(_incident_filter)]


async def _event_filter(
    filter: IncidentFilter, incident_id: Annotated[int | None, BeforeValidator(_none_if_empty), Query(ge=0, lt=1 << 63, description="Events of one incident.", examples=[5])] = None
) -> Filter:  # fmt: skip
    return filter._replace(incident_id=incident_id)


EventFilter = Annotated[Filter, Depends(_event_filter)]


def span(start: int | None, end: int | None) -> tuple[int, int]:
    """Limit a span: never backwards, never before 1970, so that sums of days are right."""
    first = max(0, start or 0)
    return first, max(first, NEVER if end is None else end)


def query_error(name: str, message: str) -> RequestValidationError:
    """Create a 422 for a query parameter, in the usual form."""
    error: dict[str, Any] = {"type": "value_error", "loc": ("query", name), "msg": message}
    return RequestValidationError([error])


def _seal(text: str) -> str:
    """Make a cursor opaque: clients send it back as it is, so what it carries may change."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _unseal(text: str) -> str:
    """Return what a cursor carries; those of 0.1 were plain."""
    try:
        return text if "." in text else base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii")
    except ValueError:
        return ""


class Paging(NamedTuple):
    """Which page of a list; `after`: the cursor, which replaces the offset."""

    sort: str
    limit: int
    offset: int
    after: PageCursor | None

    def next_cursor(self, place: PageCursor | None) -> str | None:
        """Format where the next page begins."""
        numbers = place and (place if self.sort == "inbox" else place[:2])
        return numbers and format_cursor(self.sort[0], *numbers)


async def _paging(
    sort: Annotated[
        Literal["newest", "inbox"], Query(description="`inbox`: unreviewed ones by risk, then time; then the reviewed.")
    ] = "newest",
    limit: Limit = 50,
    offset: Offset = 0,
    cursor: Annotated[
        str | None, Query(description="`next_cursor` of the previous page; `offset` is then ignored.")
    ] = None,
) -> Paging:
    """Raise RequestValidationError if the cursor was not made for this order."""
    if not cursor:
        return Paging(sort, limit, offset, None)
    text = _unseal(cursor)
    if not re.fullmatch(r"n(\.\d{1,18}){2}|i(\.\d{1,18}){4}", text) or text[0] != sort[0]:
        raise query_error(
            "cursor", f"not a cursor of sort={sort}: send next_cursor of the previous page, with the same filters"
        )
    return Paging(sort, limit, offset, PageCursor(*(int(number) for number in text.split(".")[1:])))


Page = Annotated[Paging, Depends(_paging)]


def format_cursor(kind: str, *numbers: int) -> str:
    """Format where the next page of a list of this kind, one letter, begins: behind these numbers."""
    return _seal(".".join([kind, *(str(number) for number in numbers)]))


def parse_cursor(kind: str, length: int, text: str | None) -> tuple[int, ...]:
    """Parse such a cursor; without one, numbers larger than any.

    Raises:
        RequestValidationError: it is none of this kind.
    """
    text = text and _unseal(text)
    if text and not re.fullmatch(rf"{kind}(\.\d{{1,19}}){{{length}}}", text):
        raise query_error("cursor", "not a cursor of this list: send next_cursor of the previous page")
    return tuple(min(int(number), LAST) for number in text.split(".")[1:]) if text else (LAST,) * length
