"""What the API reads of events and detections: pages by keyset or offset, and counts that do not scan.

Rows come as JSON-ready dicts with the contract's names; times go in as microseconds and come out as ISO 8601 `Z`.
Totals are sums of daily counters plus the two partial days at the ends of a span; only a search for words and a least
confidence look at rows: at a million events and five million boxes that takes 0.4 s each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote

from hearthwatch.record import Record
from hearthwatch.record.thumbnails import url
from hearthwatch.record.units import BOXES_OF_FRAME, DAY, LEVELS, NEVER, box_ids
from hearthwatch.schemas.items import RiskLevel

LOOKUPS_MAX = 1 / 7  # of all rows: reading one by an index takes seven times as long as reading it in its turn
_EPOCH = datetime(1970, 1, 1)

Row = dict[str, Any]


def iso(at: int | None) -> str | None:
    """Microseconds -> `2026-11-22T08:15:30.000000Z`."""
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
        """` AND …` for a search in the words of an event `e`."""
        if not self.q:
            return "", []
        like = "%" + self.q.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        said = (f"e.{column} LIKE ? ESCAPE '\\'" for column in ("summary", "reasoning", "notes"))
        return f" AND ({' OR '.join(said)})", [like] * 3

    def whole_days(self) -> tuple[int, int]:
        """The days that lie entirely in the span: first <= day < last."""
        first, last = -(-self.start // DAY), self.end // DAY
        return first, max(first, last)

    def partial_days(self) -> list[tuple[int, int]]:
        """What remains of the span around the whole days, in microseconds."""
        first, last = self.whole_days()
        if first * DAY >= self.end:
            return [(self.start, self.end)]
        return [(a, b) for a, b in ((self.start, first * DAY), (last * DAY, self.end)) if a < b]


# -- how many


def count_levels(record: Record, f: Filter) -> dict[str, int]:
    """How many events of each level match, whatever levels the filter asks for."""
    kind, (same, args), counts = f.object_type or "", f.sql(levels=False), dict.fromkeys(LEVELS, 0)
    if f.q:
        rows = _said(record, f)
    else:
        rows = record.rows(
            f"SELECT risk_level, sum(n) FROM event_counts WHERE object_type = ? AND day >= ? AND day < ?{same} GROUP BY 1",
            kind, *f.whole_days(), *args,
        )  # fmt: skip
        for start, end in f.partial_days():
            rows += record.rows(
                f"SELECT risk_level, count(*) FROM facets WHERE object_type = ? AND started_at >= ? AND started_at < ?{same} GROUP BY 1",
                kind, start, end, *args,
            )  # fmt: skip
    for level, n in rows:
        counts[level] += n
    return counts


def _said(record: Record, f: Filter) -> list[tuple[str, int]]:
    """(level, how many) of the events whose words are looked at; all events are read in a row, some by an index."""
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


def count_cameras(record: Record, f: Filter) -> dict[str, int]:
    """How many events of each camera match; no text search."""
    same, args = f.sql()
    rows = record.rows(
        f"SELECT camera_id, sum(n) FROM event_counts WHERE object_type = ? AND day >= ? AND day < ?{same} GROUP BY 1",
        f.object_type or "", *f.whole_days(), *args,
    )  # fmt: skip
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
    """A place in a list: behind this event. `reviewed` and `risk_score` matter in the inbox only."""

    started_at: int
    id: int
    reviewed: int = 1
    risk_score: int = 0


FIRST_PAGE = PageCursor(NEVER, NEVER, 0, 1000)


def newest(record: Record, f: Filter, limit: int, offset: int = 0, after: PageCursor = FIRST_PAGE) -> list[PageCursor]:
    """Events by start, newest first."""
    (same, args), (text, words) = f.sql("f."), f.text()
    join = "CROSS JOIN events e ON e.id = f.event_id " if text else ""
    end = min(f.end, after.started_at + 1)  # said twice, because SQLite takes only this one for where to begin
    rows = record.rows(
        f"SELECT f.started_at, f.event_id FROM facets f {join}WHERE f.object_type = ? AND f.started_at >= ? AND f.started_at < ? "
        f"AND (f.started_at, f.event_id) < (?, ?){same}{text} ORDER BY f.started_at DESC, f.event_id DESC LIMIT ? OFFSET ?",
        f.object_type or "", f.start, end, after.started_at, after.id, *args, *words, limit, offset,
    )  # fmt: skip
    return [PageCursor(*row) for row in rows]


def inbox(record: Record, f: Filter, limit: int, offset: int = 0, after: PageCursor = FIRST_PAGE) -> list[PageCursor]:
    """What nobody has looked at, by risk and then by time; behind it what somebody has, newest first."""
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
    rows = record.rows(
        "SELECT e.started_at, e.id, 0, e.risk_score FROM events e INDEXED BY events_inbox "
        "WHERE e.reviewed = 0 AND e.status <> 'merged' AND e.risk_level IS NOT NULL AND e.started_at >= ? AND e.started_at < ? "
        f"AND (e.risk_score, e.started_at, e.id) < (?, ?, ?){same}{text} "
        "ORDER BY e.risk_score DESC, e.started_at DESC, e.id DESC LIMIT ? OFFSET ?",
        f.start, f.end, after.risk_score, after.started_at, after.id, *args, *words, limit, offset,
    )  # fmt: skip
    return [PageCursor(*row) for row in rows]


# -- whole events

_EVENTS = f"""
SELECT json_group_array(json_array(e.id, e.batch_id, e.camera_id, coalesce(c.name, e.camera_id), e.started_at, e.ended_at, e.status,
  e.risk_score, e.risk_level, e.summary, e.reasoning, json(coalesce(e.evidence, '[]')), e.analyzer, e.analysis_status, e.model,
  e.prompt_version, e.revision, e.reviewed, e.notes, e.frame_count, json(coalesce(e.objects, '{{}}')),
  json((SELECT json_group_array(d.id) FROM frames f CROSS JOIN detections d
    ON {BOXES_OF_FRAME} WHERE f.event_id = e.id)),
  coalesce((SELECT json_extract(payload, '$.thumbnail') FROM feed WHERE event_id = e.id AND revision = e.revision),
    (SELECT '/api/media/' || thumbnail_path FROM frames WHERE event_id = e.id AND thumbnail_path IS NOT NULL LIMIT 1))))
FROM json_each(?) wanted CROSS JOIN events e ON e.id = wanted.value LEFT JOIN cameras c ON c.id = e.camera_id
WHERE e.status <> 'merged' AND e.risk_level IS NOT NULL"""


def events(record: Record, ids: Sequence[int]) -> list[Row]:
    """These events as the contract has them, in this order; without those that were merged, or that nobody was told of.

    One row of JSON: Python's lock changes hands at every row, which cost three quarters of the answers per second.
    """
    (found,) = record.one(_EVENTS, json.dumps(list(ids)))
    return [_event(*row) for row in json.loads(found)]


def event(record: Record, id: int) -> Row | None:
    """One event, or None."""
    found = events(record, [id])
    return found[0] if found else None


def _event(
    id: int, batch_id: str, camera_id: str, camera_name: str, started_at: int, ended_at: int | None, status: str, risk_score: int,
    risk_level: str, summary: str, reasoning: str, evidence: list[int], analyzer: str, analysis_status: str, model: str | None,
    prompt_version: str | None, revision: int, reviewed: int, notes: str | None, frame_count: int, objects: dict[str, int],
    detection_ids: list[int], thumbnail_url: str | None,
) -> Row:  # fmt: skip
    return {
        "id": id, "batch_id": batch_id, "camera_id": camera_id, "camera_name": camera_name, "started_at": iso(started_at),
        "ended_at": iso(ended_at), "status": status, "risk_score": risk_score, "risk_level": risk_level, "summary": summary,
        "reasoning": reasoning, "evidence": evidence, "analyzer": analyzer, "analysis_status": analysis_status,
        "model": model, "prompt_version": prompt_version, "revision": revision, "reviewed": bool(reviewed), "notes": notes,
        "frame_count": frame_count, "detection_count": len(detection_ids), "detection_ids": sorted(detection_ids), "objects": objects,
        "thumbnail_url": thumbnail_url,
    }  # fmt: skip


def merged_into(record: Record, id: int) -> int | None:
    """The event that swallowed this one, in the end."""
    seen: set[int] = set()
    while id not in seen:
        seen.add(id)
        row = record.one("SELECT merged_into FROM events WHERE id = ? AND status = 'merged'", id)
        if row is None or row[0] is None:
            break
        id = row[0]
    return id if len(seen) > 1 else None


_HISTORY = (
    "revision, type, shadow, risk_score, risk_level, summary, reasoning, evidence, analyzer, model, prompt_version, "
    "analysis_status, frame_count, latency_ms, at"
)


def history(record: Record, id: int) -> list[Row]:
    """The revisions of an event, oldest first; shadow verdicts among them."""
    names = _HISTORY.split(", ")
    one = f"SELECT {_HISTORY} FROM event_history WHERE event_id = ? AND "
    rows = record.rows(f"{one} NOT shadow UNION ALL {one} shadow ORDER BY 1, 3", id, id)
    out = [dict(zip(names, row, strict=True)) for row in rows]
    for row in out:
        row |= {"shadow": bool(row["shadow"]), "evidence": json.loads(row["evidence"] or "[]"), "at": iso(row["at"])}
    return out


def latencies(record: Record, id: int) -> dict[str, float | None]:
    """Seconds from the arrival of the event's first picture to each step; None: not yet.

    A frame's detections, its place and the event's first revision are one transaction, so it is detected when opened.
    """
    discovered, opened, closed, analyzed, arrived = record.one(
        "SELECT f.discovered_at, e.opened_at, e.closed_at, e.analyzed_at, f.arrived_at FROM events e JOIN frames f ON f.id = e.id WHERE e.id = ?",
        id,
    )
    steps = {"discovered": discovered, "detected": opened, "opened": opened, "closed": closed, "analyzed": analyzed}
    return {name: None if at is None else max(0.0, (at - arrived) / 1e6) for name, at in steps.items()}


def frames(record: Record, event_id: int) -> list[Row]:
    """The pictures of an event in order of capture, each with its detections."""
    rows = record.rows(
        "SELECT id, camera_id, path, mtime_ns, size, captured_at, arrived_at, width, height, model, detect_ms, thumbnail_path "
        "FROM frames WHERE event_id = ? ORDER BY captured_at, id", event_id,
    )  # fmt: skip
    return [
        {
            "id": id, "captured_at": iso(captured), "arrived_at": iso(arrived), "path": path, "width": width, "height": height,
            "image_url": image_url(camera, path, mtime_ns, size), "thumbnail_url": thumbnail and url(thumbnail),
            "model": model, "detect_ms": detect_ms,
            "detections": _detections(record, "id BETWEEN ? AND ? ORDER BY id", *box_ids(id)),
        }
        for id, camera, path, mtime_ns, size, captured, arrived, width, height, model, detect_ms, thumbnail in rows
    ]  # fmt: skip


def image_url(camera_id: str, path: str, mtime_ns: int, size: int) -> str | None:
    """Where the API serves an upload; it changes when the file does, so it may be cached for ever. None: not in the tree."""
    if path.startswith("/"):
        return None
    return f"/api/media/cameras/{quote(camera_id, safe='')}/{quote(path.partition('/')[2])}?v={version(mtime_ns, size)}"


def version(mtime_ns: int, size: int) -> str:
    """What tells a file from the one that takes its place."""
    return f"{mtime_ns:x}-{size:x}"


# -- detections

_DETECTION = (
    "id, frame_id, event_id, camera_id, file_path, detected_at, object_type, confidence, bbox_x, bbox_y, bbox_width, bbox_height, "
    "thumbnail_path"
)


def _detections(record: Record, where: str, *args: Any) -> list[Row]:
    names = _DETECTION.split(", ")
    rows = [
        dict(zip(names, row, strict=True))
        for row in record.rows(f"SELECT {_DETECTION} FROM detections WHERE {where}", *args)
    ]
    for row in rows:
        row["detected_at"] = iso(row["detected_at"])
        row["image_url"] = f"/api/detections/{row['id']}/image"
    return rows


def detection(record: Record, id: int) -> Row | None:
    found = _detections(record, "id = ?", id)
    return found[0] if found else None


def detections_of(record: Record, event_id: int) -> list[Row]:
    """All boxes of an event, in order of capture."""
    ids = record.rows("SELECT id FROM frames WHERE event_id = ? ORDER BY captured_at, id", event_id)
    return [d for (i,) in ids for d in _detections(record, "id BETWEEN ? AND ? ORDER BY id", *box_ids(i))]


def list_detections(record: Record, f: Filter, confidence: float, limit: int, offset: int) -> list[Row]:
    """Boxes by time, newest first."""
    same, args = _boxes(f, confidence)
    return _detections(
        record, f"detected_at >= ? AND detected_at < ?{same} ORDER BY detected_at DESC, id DESC LIMIT ? OFFSET ?",
        f.start, f.end, *args, limit, offset,
    )  # fmt: skip


def count_detections(record: Record, f: Filter, confidence: float) -> int:
    """How many boxes match. Only a confidence makes it look at rows: those of the span, or all in a row if they are many."""
    if confidence > 0:
        (same, args), boxes = _boxes(f, confidence), record.counters()["detections"]
        many = count_detections(record, f._replace(object_type=None), 0) > boxes * LOOKUPS_MAX
        sql = f"SELECT count(*) FROM detections {'NOT INDEXED' if many else ''} WHERE detected_at >= ? AND detected_at < ?{same}"
        return int(record.one(sql, f.start, f.end, *args)[0])
    same, args = _boxes(f, 0)
    total = record.one(
        f"SELECT coalesce(sum(n), 0) FROM detection_counts WHERE day >= ? AND day < ?{same}", *f.whole_days(), *args
    )[0]
    for start, end in f.partial_days():
        total += record.one(
            f"SELECT count(*) FROM detections WHERE detected_at >= ? AND detected_at < ?{same}", start, end, *args
        )[0]
    return int(total)


def _boxes(f: Filter, confidence: float) -> tuple[str, list[Any]]:
    sql, args = "", list[Any]()
    for column, value in (("camera_id", f.camera_id), ("object_type", f.object_type)):
        if value is not None:
            sql, args = f"{sql} AND {column} = ?", [*args, value]
    if confidence > 0:
        sql, args = f"{sql} AND confidence >= ?", [*args, confidence]
    return sql, args
