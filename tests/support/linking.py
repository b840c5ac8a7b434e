"""Incidents for tests of what reads them: events of a record, linked by hand. The component `incident` decides it in production."""

import json

from hearthwatch.record import now
from hearthwatch.record.feed import append
from hearthwatch.schemas.items import Incident, from_microseconds, risk_level
from hearthwatch.schemas.messages import IncidentMessage

COLUMNS = "status, started_at, last_at, ended_at, risk_score, risk_level, summary, gravest_event_id, cameras, objects, event_count, frame_count"


def link(record, *together, closed=False):
    """Put these events into one incident and each other new event into one of its own; write what changed, and a message."""
    record.transact(lambda: _link(record, together, closed))


def _link(record, together, closed):
    for (event,) in record.rows("SELECT id FROM events WHERE incident_id IS NULL AND risk_level IS NOT NULL"):
        id = min(together) if event in together else event
        record.execute(
            "INSERT OR IGNORE INTO incidents VALUES (?,'open',0,0,0,NULL,NULL,0,'','',NULL,'','',0,0,0,0,NULL,0)", id
        )
        record.execute("UPDATE events SET incident_id = ? WHERE id = ?", id, event)
    for (id,) in record.rows("SELECT id FROM incidents WHERE status <> 'merged'"):
        events = record.rows(
            "SELECT id, camera_id, started_at, coalesce(ended_at, started_at), status, risk_score, summary, objects, frame_count "
            "FROM events WHERE incident_id = ? AND status <> 'merged' ORDER BY started_at, id", id,
        )  # fmt: skip
        if not events:
            continue
        best = max(events, key=lambda e: e[5])
        ended = closed or all(e[4] == "closed" for e in events)
        last, objects = max(e[3] for e in events), {}
        for e in events:
            for kind, n in json.loads(e[7]).items():
                objects[kind] = max(n, objects.get(kind, 0))
        cameras = list(dict.fromkeys(e[1] for e in events))
        row = (
            "closed" if ended else "open", events[0][2], last, last if ended else None, best[5], risk_level(best[5]), best[6], best[0],
            json.dumps(cameras), json.dumps(objects), len(events), sum(e[8] for e in events),
        )  # fmt: skip
        old = record.one(f"SELECT revision, {COLUMNS} FROM incidents WHERE id = ?", id)
        if old[1:] == row:
            continue
        revision = old[0] + 1
        record.execute(
            f"UPDATE incidents SET revision = ?, ({COLUMNS}) = ({','.join('?' * len(row))}) WHERE id = ?",
            revision,
            *row,
            id,
        )
        type = "incident.opened" if revision == 1 else "incident.closed" if ended else "incident.updated"
        names = dict(record.rows("SELECT id, name FROM cameras"))
        incident = Incident(
            id, type, revision, row[0], from_microseconds(row[1]), from_microseconds(last), from_microseconds(last) if ended else None,
            row[4], row[6], tuple(cameras), tuple(names[c] for c in cameras), tuple(e[0] for e in events), len(events), row[11],
            objects, best[0], None, 0.5,
        )  # fmt: skip
        append(
            record,
            "incident",
            id,
            revision,
            now(),
            lambda seq, incident=incident: IncidentMessage(seq, incident.type, incident),
        )
