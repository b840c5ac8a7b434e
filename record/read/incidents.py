"""Read incidents for the API: pages by cursor or offset, and how many match.

Camera, object, time and words select the incidents with an event that has all of them; level, status and reviewed are the
incident's own. Rows come as JSON-ready dicts, as those of events do.
"""

from __future__ import annotations

import json
from typing import Any

from hearthwatch.record import Record
from hearthwatch.record.read.events import THUMBNAIL, Filter, PageCursor, Row, events, iso, narrow, newest
from hearthwatch.record.units import LEVELS

EVENTS_MAX = 1000  # of one incident in one answer; all of them are in the list of events

_RANK = "CASE WHEN i.reviewed THEN -1 ELSE i.risk_score END"  # as in the index `incidents_inbox`
_ROWS = f"""
SELECT i.id, i.status, i.revision, i.started_at, i.last_at, i.ended_at, i.risk_score, i.risk_level, i.summary, i.gravest_event_id,
  i.event_count, i.frame_count, i.reviewed, i.cameras, i.objects, coalesce(e.analyzer, 'rules') AS analyzer,
  coalesce(e.analysis_status, 'disabled') AS analysis_status, {THUMBNAIL} AS thumbnail_url,
  (SELECT json_group_array(coalesce(c.name, v.value)) FROM json_each(i.cameras) v LEFT JOIN cameras c ON c.id = v.value) AS camera_names
FROM incidents i LEFT JOIN events e ON e.id = i.gravest_event_id"""


def _where(f: Filter, status: str | None) -> tuple[str, list[Any]]:
    sql, args = f._replace(camera_id=None).sql("i.")
    if status:
        sql, args = f"{sql} AND i.status = ?", [*args, status]
    of_events = f._replace(risk_levels=(), reviewed=None)
    if of_events != Filter():
        (same, values), (text, words) = of_events.sql("f."), of_events.text()
        sql += (
            " AND i.id IN (SELECT e.incident_id FROM facets f CROSS JOIN events e ON e.id = f.event_id "
            f"WHERE f.object_type = ? AND f.started_at >= ? AND f.started_at < ?{same}{text})"
        )
        args += [f.object_type or "", f.start, f.end, *values, *words]
    return f"i.status <> 'merged'{sql}", args


def count(record: Record, f: Filter, status: str | None) -> tuple[dict[str, int], int]:
    """How many incidents of each level match, whatever levels the filter asks for; how many of all that match are unreviewed."""
    where, args = _where(f._replace(risk_levels=()), status)
    rows = record.rows(f"SELECT risk_level, reviewed, count(*) FROM incidents i WHERE {where} GROUP BY 1, 2", *args)
    unreviewed = sum(n for level, reviewed, n in rows if not reviewed and level in (f.risk_levels or LEVELS))
    return {level: sum(n for found, _, n in rows if found == level) for level in LEVELS}, unreviewed


def page(
    record: Record, f: Filter, status: str | None, sort: str, limit: int, offset: int, after: PageCursor
) -> tuple[list[Row], PageCursor | None]:
    """Incidents by start, newest first, or as the inbox of events has them; and where the next page begins, None: nowhere."""
    (where, args), inbox = _where(f, status), sort == "inbox"
    keys = [_RANK, "i.started_at", "i.id"][not inbox :]
    behind = [-1 if after.reviewed else after.risk_score, after.started_at, after.id][not inbox :]
    found = record.dicts(
        f"{_ROWS} WHERE {where} AND ({', '.join(keys)}) < ({', '.join('?' * len(keys))}) "
        f"ORDER BY {', '.join(f'{key} DESC' for key in keys)} LIMIT ? OFFSET ?",
        *args, *behind, limit + 1, offset,
    )  # fmt: skip
    more = None
    if len(found) > limit:
        more = PageCursor(*(found[limit - 1][key] for key in ("started_at", "id", "reviewed", "risk_score")))
    return [_incident(row) for row in found[:limit]], more


def incident(record: Record, id: int) -> Row | None:
    """Read one incident with its events, oldest first, of a long one the newest; None: there is none, or it was merged."""
    found = record.dicts(f"{_ROWS} WHERE i.id = ? AND i.status <> 'merged'", id)
    places = newest(record, narrow(record, Filter(incident_id=id)), EVENTS_MAX)
    return _incident(found[0]) | {"events": events(record, [place.id for place in places[::-1]])} if found else None


def _incident(row: Row) -> Row:
    times = {key: iso(row[key]) for key in ("started_at", "last_at", "ended_at")}
    lists = {key: json.loads(row[key]) for key in ("cameras", "objects", "camera_names")}
    return row | times | lists | {"reviewed": bool(row["reviewed"])}
