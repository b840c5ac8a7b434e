"""Read detections for the API: one box, those of a frame or an event, pages and counts.

Totals are sums of daily counters plus the partial days at both ends; only a least confidence reads rows (0.4 s at five
million boxes).
"""

from __future__ import annotations

import json
from typing import Any

from hearthwatch.record import Record
from hearthwatch.record.read.events import Filter, Row, iso
from hearthwatch.record.read.over_cells import add, merge_pages, over_cells
from hearthwatch.record.units import box_ids

LOOKUPS_MAX = 1 / 7  # of all rows: reading one by an index takes seven times as long as reading it in a scan

_DETECTION = (
    "id, frame_id, event_id, camera_id, file_path, detected_at, object_type, confidence, bbox_x, bbox_y, bbox_width, bbox_height, "
    "thumbnail_path, attributes"
)


def _rows(record: Record, where: str, *args: Any) -> list[Row]:
    rows = record.dicts(f"SELECT {_DETECTION} FROM detections WHERE {where}", *args)
    for row in rows:
        row["detected_at"] = iso(row["detected_at"])
        row["attributes"] = json.loads(row["attributes"] or "{}")
        row["image_url"] = f"/api/detections/{row['id']}/image"
    return rows


def detection(record: Record, id: int) -> Row | None:
    """One box, or None."""
    found = _rows(record, "id = ?", id)
    return found[0] if found else None


def detections_of_frame(record: Record, frame_id: int) -> list[Row]:
    """All boxes of a frame."""
    return _rows(record, "id BETWEEN ? AND ? ORDER BY id", *box_ids(frame_id))


def detections_of_event(record: Record, event_id: int) -> list[Row]:
    """All boxes of an event, in order of capture."""
    ids = record.rows("SELECT id FROM frames WHERE event_id = ? ORDER BY captured_at, id", event_id)
    return [row for (i,) in ids for row in detections_of_frame(record, i)]


def list_detections(record: Record, f: Filter, confidence: float, limit: int, offset: int) -> list[Row]:
    """Boxes by time, newest first."""
    same, args = _boxes(f, confidence)
    where = f"detected_at >= ? AND detected_at < ?{same} ORDER BY detected_at DESC, id DESC LIMIT ? OFFSET ?"
    read = lambda cell, *page: _rows(cell, where, f.start, f.end, *args, *page)  # noqa: E731
    return merge_pages(record, read, limit, offset, lambda row: (row["detected_at"], row["id"]))


@over_cells(add)
def count_detections(record: Record, f: Filter, confidence: float) -> int:
    """How many boxes match. A confidence that is no whole per cent, or with a span, reads rows: of the span, or all if they are many."""
    if confidence > 0:
        if f.whole_time() and confidence == (percent := round(confidence * 100)) / 100:
            same, args = _boxes(f, 0)
            sql = f"SELECT coalesce(sum(n), 0) FROM confidence_counts WHERE percent >= ?{same}"
            return int(record.one(sql, percent, *args)[0])
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
