"""Read events for the API: pages by cursor or offset, and counts that do not scan.

Rows come as JSON-ready dicts with the contract's names; times go in as microseconds and come out as ISO 8601 `Z`. Totals are
sums of daily counters plus the two partial days at the ends of a span; only a text search reads rows (0.4 s at a million
events).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.read.over_cells import add, merge_pages, over_cells
from hearthwatch.record.units import BOXES_OF_FRAME, DAY, LEVELS, NEVER
from hearthwatch.schemas.items import RiskLevel

EVENTS_CACHED_MAX = 2048  # of 4 kB
_EPOCH = datetime(1970, 1, 1)

Row = dict[str, Any]


def iso(at: int | None) -> str | None:
    """Write microseconds as `2026-11-22T08:15:30.000000Z`."""
    return None if at is None else (_EPOCH + timedelta(microseconds=at)).isoformat(timespec="microseconds") + "Z"


class Filter(NamedTuple):
    """Which events, or detections. `start` <= time < `end`, in microseconds."""

    camera_id: str | None = None
    risk_levels: tuple[RiskLevel, ...] = ()
    object_type: str | None = None
    start: int = 0
    end: int = NEVER
    reviewed: bool | None = None
    q: str | None = None
    incident_id: int | None = None

    def sql(self, prefix: str = "", *, levels: bool = True) -> tuple[str, list[Any]]:
        """` AND …` for the columns that facets, counts and events have in common, and its values."""
        sql, args = "", list[Any]()
        if self.camera_id is not None:
            sql, args = f"{sql} AND {prefix}camera_id = ?", [*args, self.camera_id]
        if levels and self.risk_levels:
            sql = f"{sql} AND {prefix}risk_level IN ({','.join('?' * len(self.risk_levels))})"
            args += self.risk_levels
        if self.reviewed is not None:
            sql, args = f"{sql} AND {prefix}reviewed = ?", [*args, self.reviewed]
        return sql, args

    def text(self) -> tuple[str, list[Any]]:
        """` AND …` for a search in the words of an event `e`, and for its incident."""
        sql, args = ("", list[Any]()) if self.incident_id is None else (" AND e.incident_id = ?", [self.incident_id])
        if not self.q:
            return sql, args
        like = "%" + self.q.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        matches = (f"e.{column} LIKE ? ESCAPE '\\'" for column in ("summary", "reasoning", "notes"))
        return f"{sql} AND ({' OR '.join(matches)})", [*args, like, like, like]

    def whole_time(self) -> bool:
        """Whether the span has neither start nor end."""
        return self.start <= 0 and self.end >= NEVER

    def whole_days(self) -> tuple[int, int]:
        """Return the days that lie entirely in the span: first <= day < last."""
        first, last = -(-self.start // DAY), self.end // DAY
        return first, max(first, last)

    def partial_days(self) -> list[tuple[int, int]]:
        """Return the rest of the span around the whole days, in microseconds."""
        if self.whole_time():
            return []
        first, last = self.whole_days()
        if first * DAY >= self.end:
            return [(self.start, self.end)]
        return [(a, b) for a, b in ((self.start, first * DAY), (last * DAY, self.end)) if a < b]


def narrow(record: Record, f: Filter) -> Filter:
    """Narrow the span to that of the incident, if the filter names one: no index has both its id and the time."""
    if f.incident_id is None:
        return f
    first, last = record.one("SELECT min(started_at), max(started_at) FROM events WHERE incident_id = ?", f.incident_id)
    return f._replace(start=max(f.start, first or 0), end=min(f.end, (last or 0) + 1))


# -- how many


@over_cells(add)
def count_levels(record: Record, f: Filter) -> dict[str, int]:
    """How many events of each level match, whatever levels the filter asks for."""
    kind, (same, args), counts = f.object_type or "", f.sql(levels=False), dict.fromkeys(LEVELS, 0)
    if f.text()[0]:
        rows = _count_matches(record, f)
    else:
        rows = _sum_counts(record, "risk_level", f, same, args)
        for start, end in f.partial_days():
            rows += record.rows(
                f"SELECT risk_level, count(*) FROM facets WHERE object_type = ? AND started_at >= ? AND started_at < ?{same} GROUP BY 1",
                kind, start, end, *args,
            )  # fmt: skip
    for level, n in rows:
        counts[level] += n
    return counts


def _sum_counts(record: Record, column: str, f: Filter, same: str, args: list[Any]) -> list[tuple[str, int]]:
    """(value of the column, how many) of the whole days of the span; of all time, from a table without days."""
    table, days = ("event_totals", ()) if f.whole_time() else ("event_counts", f.whole_days())
    span = " AND day >= ? AND day < ?" if days else ""
    return record.rows(
        f"SELECT {column}, sum(n) FROM {table} WHERE object_type = ?{span}{same} GROUP BY 1", f.object_type or "", *days, *args
    )  # fmt: skip


def _count_matches(record: Record, f: Filter) -> list[tuple[str, int]]:
    """(level, how many) of the events whose text matches; all events by a scan, some by an index."""
    (same, args), (text, words) = f.sql("e.", levels=False), f.text()
    if f == Filter(q=f.q, reviewed=f.reviewed, risk_levels=f.risk_levels):
        return record.rows(
            "SELECT e.risk_level, count(*) FROM events e NOT INDEXED "
            f"WHERE e.status <> 'merged' AND e.risk_level IS NOT NULL{same}{text} GROUP BY 1", *args, *words,
        )  # fmt: skip
    (same, args) = f.sql("f.", levels=False)
    return record.rows(
        "SELECT f.risk_level, count(*) FROM facets f CROSS JOIN events e ON e.id = f.event_id "
        f"WHERE f.object_type = ? AND f.started_at >= ? AND f.started_at < ?{same}{text} GROUP BY 1",
        f.object_type or "", f.start, f.end, *args, *words,
    )  # fmt: skip


@over_cells(lambda parts: dict(sorted(add(parts).items())))
def count_cameras(record: Record, f: Filter) -> dict[str, int]:
    """How many events of each camera match; no text search."""
    same, args = f.sql()
    rows = _sum_counts(record, "camera_id", f, same, args)
    for start, end in f.partial_days():
        rows += record.rows(
            f"SELECT camera_id, count(*) FROM facets WHERE object_type = ? AND started_at >= ? AND started_at < ?{same} GROUP BY 1",
            f.object_type or "", start, end, *args,
        )  # fmt: skip
    counts: dict[str, int] = {}
    for camera, n in rows:
        counts[camera] = counts.get(camera, 0) + n
    return dict(sorted(counts.items()))


# -- which, in order


class PageCursor(NamedTuple):
    """Where a page of events begins: behind this event. `reviewed` and `risk_score` matter in the inbox only."""

    started_at: int
    id: int
    reviewed: int = 1
    risk_score: int = 0


FIRST_PAGE = PageCursor(NEVER, NEVER, 0, 1000)


def newest(record: Record, f: Filter, limit: int, offset: int = 0, after: PageCursor = FIRST_PAGE) -> list[PageCursor]:
    """Events by start, newest first."""
    (same, args), (text, words) = f.sql("f."), f.text()
    join = "CROSS JOIN events e ON e.id = f.event_id " if text else ""
    end = min(f.end, after.started_at + 1)  # repeated, because SQLite uses only this one as the start of the range
    index = "" if f.camera_id is None else "INDEXED BY facets_camera "
    sql = (
        f"SELECT f.started_at, f.event_id FROM facets f {index}{join}WHERE f.object_type = ? AND f.started_at >= ? AND f.started_at < ? "
        f"AND (f.started_at, f.event_id) < (?, ?){same}{text} ORDER BY f.started_at DESC, f.event_id DESC LIMIT ? OFFSET ?"
    )
    values = f.object_type or "", f.start, end, after.started_at, after.id, *args, *words
    rows = merge_pages(record, lambda cell, *page: cell.execute(sql, *values, *page), limit, offset)
    return [PageCursor(*row) for row in rows]


def inbox(record: Record, f: Filter, limit: int, offset: int = 0, after: PageCursor = FIRST_PAGE) -> list[PageCursor]:
    """Unreviewed events by risk and then by time; behind them the reviewed ones, newest first."""
    places: list[PageCursor] = []
    if f.reviewed is not True and not after.reviewed:
        places = _unreviewed(record, f._replace(reviewed=False), limit, offset, after)
        if offset and len(places) < limit:
            unreviewed = f._replace(reviewed=False)
            counts = count_levels(record, unreviewed)
            offset = max(0, offset - sum(counts[level] for level in f.risk_levels or LEVELS))
        after = FIRST_PAGE
    if f.reviewed is not False and len(places) < limit:
        places += newest(record, f._replace(reviewed=True), limit - len(places), offset if not places else 0, after)
    return places


def _unreviewed(record: Record, f: Filter, limit: int, offset: int, after: PageCursor) -> list[PageCursor]:
    (same, args), (text, words) = f._replace(reviewed=None).sql("e."), f.text()
    if f.object_type:
        same += (
            " AND EXISTS (SELECT 1 FROM facets WHERE object_type = ? AND started_at = e.started_at AND event_id = e.id)"
        )
        args.append(f.object_type)
    sql = (
        "SELECT e.risk_score, e.started_at, e.id FROM events e INDEXED BY events_inbox "
        "WHERE e.reviewed = 0 AND e.status <> 'merged' AND e.risk_level IS NOT NULL AND e.started_at >= ? AND e.started_at < ? "
        f"AND (e.risk_score, e.started_at, e.id) < (?, ?, ?){same}{text} "
        "ORDER BY e.risk_score DESC, e.started_at DESC, e.id DESC LIMIT ? OFFSET ?"
    )
    values = f.start, f.end, after.risk_score, after.started_at, after.id, *args, *words
    rows = merge_pages(record, lambda cell, *page: cell.execute(sql, *values, *page), limit, offset)
    return [PageCursor(at, id, 0, score) for score, at, id in rows]


# -- whole events

THUMBNAIL = """coalesce((SELECT json_extract(payload, '$.thumbnail') FROM feed
    WHERE kind = 'event' AND subject_id = e.id AND revision = e.revision),
    (SELECT '/api/media/' || thumbnail_path FROM frames WHERE event_id = e.id AND thumbnail_path IS NOT NULL LIMIT 1))"""

_EVENTS = f"""
SELECT group_concat(json_array(e.id, e.batch_id, e.camera_id, coalesce(c.name, e.camera_id), e.started_at, e.ended_at, e.status,
  e.risk_score, e.risk_level, e.summary, e.reasoning, json(coalesce(e.evidence, '[]')), e.analyzer, e.analysis_status, e.model,
  e.prompt_version, e.revision, e.reviewed, e.notes, e.frame_count, json(coalesce(e.objects, '{{}}')),
  json((SELECT json_group_array(d.id) FROM frames f CROSS JOIN detections d
    ON {BOXES_OF_FRAME} WHERE f.event_id = e.id)),
  {THUMBNAIL}, e.incident_id, e.picture_verdict, json(coalesce(e.analysis, '{{}}'))), char(10))
FROM json_each(?) wanted CROSS JOIN events e ON e.id = wanted.value LEFT JOIN cameras c ON c.id = e.camera_id
WHERE e.status <> 'merged' AND e.risk_level IS NOT NULL"""


def events(record: Record, ids: Sequence[int]) -> list[Row]:
    """Read these events as the contract has them, in this order; without merged ones and those not published yet.

    One row of JSON lines: Python's lock is released at every row, which cost three quarters of the answers per second.
    The rows that are returned may be cached ones: change none.
    """
    if record.cells:
        found_by_id = {row["id"]: row for cell in record.cells for row in events(cell, ids)}
        return [found_by_id[id] for id in ids if id in found_by_id]
    (found,) = record.one(_EVENTS, json.dumps(list(ids)))
    return [_event_of(line) for line in found.split("\n")] if found else []


@lru_cache(EVENTS_CACHED_MAX)
def _event_of(line: str) -> Row:
    """Make an event of its line, which has all that is in it: beside a pipeline most of a page are as they were."""
    return _event(*json.loads(line))


def event(record: Record, id: int) -> Row | None:
    """One event, or None."""
    found = events(record, [id])
    return dict(found[0]) if found else None


def _event(
    id: int, batch_id: str, camera_id: str, camera_name: str, started_at: int, ended_at: int | None, status: str, risk_score: int,
    risk_level: str, summary: str, reasoning: str, evidence: list[int], analyzer: str, analysis_status: str, model: str | None,
    prompt_version: str | None, revision: int, reviewed: int, notes: str | None, frame_count: int, objects: dict[str, int],
    detection_ids: list[int], thumbnail_url: str | None, incident_id: int | None,
    picture_verdict: str | None, analysis: Row,
) -> Row:  # fmt: skip
    return {
        "id": id, "batch_id": batch_id, "camera_id": camera_id, "camera_name": camera_name, "started_at": iso(started_at),
        "ended_at": iso(ended_at), "status": status, "risk_score": risk_score, "risk_level": risk_level, "summary": summary,
        "reasoning": reasoning, "evidence": evidence, "analyzer": analyzer, "analysis_status": analysis_status,
        "model": model, "prompt_version": prompt_version, "revision": revision, "reviewed": bool(reviewed), "notes": notes,
        "frame_count": frame_count, "detection_count": len(detection_ids), "detection_ids": sorted(detection_ids), "objects": objects,
        "thumbnail_url": thumbnail_url, "incident_id": incident_id, "picture_verdict": picture_verdict, "analysis": analysis,
    }  # fmt: skip
