"""Read incidents for the API: pages by cursor or offset, and how many match.

Camera, object, time and words select the incidents with an event, or alert, that has all of them; level, status and reviewed are the
incident's own. Rows come as JSON-ready dicts, as those of events do.
"""

from __future__ import annotations

import json
from typing import Any

from hearthwatch.record import Record
from hearthwatch.record.alerts import read_alerts
from hearthwatch.record.read.events import THUMBNAIL, Filter, PageCursor, Row, events, iso, narrow, newest
from hearthwatch.record.read.over_cells import merge_pages
from hearthwatch.record.units import LEVELS

EVENTS_MAX = 1000  # of one incident in one answer; all of them are in the list of events

_RANK = "CASE WHEN i.reviewed THEN -1 ELSE i.risk_score END"  # as in the index `incidents_inbox`
_ROWS = f"""
SELECT i.id, i.status, i.revision, i.started_at, i.last_at, i.ended_at, i.risk_score, i.risk_level, i.summary, i.gravest_event_id,
  i.event_count, i.frame_count, i.reviewed, i.cameras, i.objects, i.alert_counts, coalesce(e.analyzer, 'rules') AS analyzer,
  coalesce(e.analysis_status, 'disabled') AS analysis_status, {THUMBNAIL} AS thumbnail_url,
  (SELECT json_group_array(coalesce(c.name, v.value)) FROM json_each(i.cameras) v LEFT JOIN cameras c ON c.id = v.value) AS camera_names
FROM incidents i LEFT JOIN events e ON e.id = i.gravest_event_id"""


def _where(record: Record, f: Filter, status: str | None) -> tuple[str, list[Any]]:
    sql, args = f._replace(camera_id=None).sql("i.")
    if status:
        sql, args = f"{sql} AND i.status = ?", [*args, status]
    of_events = f._replace(risk_levels=(), reviewed=None)
    if of_events != Filter():
        (same, values), (text, words) = of_events.sql("f."), of_events.text()
        members = (
            "SELECT e.incident_id FROM facets f CROSS JOIN events e ON e.id = f.event_id "
            f"WHERE f.object_type = ? AND f.started_at >= ? AND f.started_at < ?{same}{text}"
        )
        span = [f.object_type or "", f.start, f.end, *values, *words]
        if f.object_type is None and not words:
            members += f" UNION ALL SELECT incident_id FROM alerts f WHERE at >= ? AND at < ?{same}"
            span += [f.start, f.end, *values]
        if record.cells:  # an incident may have events of several
            ids = {id for cell in record.cells for (id,) in cell.rows(members, *span)}
            members, span = "SELECT value FROM json_each(?)", [json.dumps([*ids])]
        sql, args = f"{sql} AND i.id IN ({members})", [*args, *span]
    return f"i.status <> 'merged'{sql}", args


def count(record: Record, f: Filter, status: str | None) -> tuple[dict[str, int], int]:
    """How many incidents of each level match, whatever levels the filter asks for; how many of all that match are unreviewed."""
    where, args = _where(record, f._replace(risk_levels=()), status)
    rows = record.rows(f"SELECT risk_level, reviewed, count(*) FROM incidents i WHERE {where} GROUP BY 1, 2", *args)
    unreviewed = sum(n for level, reviewed, n in rows if not reviewed and level in (f.risk_levels or LEVELS))
    return {level: sum(n for found, _, n in rows if found == level) for level in LEVELS}, unreviewed


def page(
    record: Record, f: Filter, status: str | None, sort: str, limit: int, offset: int, after: PageCursor
) -> tuple[list[Row], PageCursor | None]:
    """Incidents by start, newest first, or as the inbox of events has them; and where the next page begins, None: nowhere."""
    (where, args), inbox = _where(record, f, status), sort == "inbox"
    keys = [_RANK, "i.started_at", "i.id"][not inbox :]
    behind = [-1 if after.reviewed else after.risk_score, after.started_at, after.id][not inbox :]
    sql = (
        f"{_ROWS} WHERE {where} AND ({', '.join(keys)}) < ({', '.join('?' * len(keys))}) "
        f"ORDER BY {', '.join(f'{key} DESC' for key in keys)} LIMIT ? OFFSET ?"
    )

    def key(row: Row) -> tuple[int, int, int]:
        return (-1 if row["reviewed"] else row["risk_score"]) * inbox, row["started_at"], row["id"]

    found = merge_pages(record, lambda cell, *page: cell.dicts(sql, *args, *behind, *page), limit + 1, offset, key)
    more = None
    if len(found) > limit:
        more = PageCursor(*(found[limit - 1][key] for key in ("started_at", "id", "reviewed", "risk_score")))
    return [_incident(row) for row in _complete(record, found[:limit])], more


def matching(record: Record, f: Filter) -> list[int]:
    """Return the ids of all that match."""
    where, args = _where(record, f, None)
    return [id for (id,) in record.rows(f"SELECT i.id FROM incidents i WHERE {where}", *args)]


def incident(record: Record, id: int) -> Row | None:
    """Read one incident with its events and alerts, oldest first, of a long one the newest; None: there is none, or it was merged."""
    sql = f"{_ROWS} WHERE i.id = ? AND i.status <> 'merged'"
    found = _complete(record, merge_pages(record, lambda cell, *_: cell.dicts(sql, id), 1, 0, lambda row: row["id"]))
    places = newest(record, narrow(record, Filter(incident_id=id)), EVENTS_MAX)
    of_it = {
        "events": events(record, [place.id for place in places[::-1]]),
        "alerts": read_alerts(record, id, EVENTS_MAX),
    }
    return _incident(found[0]) | of_it if found else None


def _complete(record: Record, rows: list[Row]) -> list[Row]:
    """Add what the cells of their events and cameras know of incidents."""
    if record.cells:
        gravest = {
            row["id"]: row
            for row in events(record, [row["gravest_event_id"] for row in rows if row["gravest_event_id"]])
        }
        names = dict(record.rows("SELECT id, name FROM cameras"))
        for row in rows:
            event = gravest.get(row["gravest_event_id"], {})
            row |= {name: event[name] for name in ("analyzer", "analysis_status", "thumbnail_url") if name in event}
            row["camera_names"] = json.dumps([names.get(id, id) for id in json.loads(row["cameras"])])
    return rows


def _incident(row: Row) -> Row:
    times = {key: iso(row[key]) for key in ("started_at", "last_at", "ended_at")}
    lists = {key: json.loads(row[key]) for key in ("cameras", "objects", "alert_counts", "camera_names")}
    return row | times | lists | {"reviewed": bool(row["reviewed"])}
