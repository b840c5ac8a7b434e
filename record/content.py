"""Compare records by what they hold, without ids and clocks: two runs over the same input are equal when these are."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.units import ALERT_IDS

DIFFERENCES_MAX = 5  # enough to see what is wrong
CHARACTERS_MAX = 800  # of one of them

Rows = dict[Any, Any]

IDS_AND_CLOCKS = {
    *("id", "event_id", "merged_into", "frame_id", "seq"),
    *("discovered_at", "opened_at", "closed_at", "analyzed_at", "at", "retry_at"),
    *("delay", "delay_seconds", "clock_offset_ms"),  # how long a picture waited
    *("arrived_at", "close_at", "behind"),  # a backlog arrives when it is taken in
    *("detect_ms", "starts"),  # what a machine measured, how often it died
}
INCIDENT = ("risk_score", "gravest_event_id", "cameras", "objects", "event_count", "alert_counts")


class Content(NamedTuple):
    """A record without ids and clocks."""

    frames: Rows
    detections: Rows
    suppressed: Rows
    spots: Rows
    events: Rows
    feed: Rows
    incidents: Rows
    journal: Rows = {}  # noqa: RUF012  (never changed)
    alerts: Rows = {}  # noqa: RUF012

    def is_that_of(self, expected: Content) -> None:
        """Raise AssertionError, in a few lines, if it is not."""
        assert self == expected, "\n".join(self.differences(expected)[:DIFFERENCES_MAX])

    def differences(self, expected: Content) -> list[str]:
        """Return what differs, one row each."""
        out = []
        for part, mine, theirs in zip(self._fields, self, expected, strict=True):
            for key in sorted({*mine, *theirs}, key=str):
                one, other = mine.get(key), theirs.get(key)
                if isinstance(one, dict) and isinstance(other, dict):
                    one, other = (
                        {k: v for k, v in a.items() if v != b.get(k)} for a, b in ((one, other), (other, one))
                    )
                if one != other:
                    out.append(f"{part} {key}:\n    {one}\n    instead of {other}"[:CHARACTERS_MAX])
        return out


def content(record: Record) -> Content:
    """Return frames, detections, events, each event's messages, journals and alerts, by path and content (CONTRACT §4)."""
    frames, events = table(record, "frames"), table(record, "events")
    key = {f["id"]: (f["path"], f["mtime_ns"], f["size"], f["attempt"]) for f in frames}
    alerts = {ALERT_IDS + a["id"]: a for a in table(record, "alerts")}
    batch = {e["id"]: e["batch_id"] for e in events} | {id: a["content_hash"] for id, a in alerts.items()}

    def same(row: dict[str, Any]) -> dict[str, Any]:
        """Return a row with what ids stand for instead of the ids."""
        out = {name: value for name, value in row.items() if name not in IDS_AND_CLOCKS}
        stands = ("event_id", "merged_into", "incident_id", "gravest_event_id")
        out |= {name: batch.get(row[name]) for name in stands if name in row}
        for name in {"thumbnail_path", "thumbnail"} & row.keys():
            found = re.search(r"(\d+)_thumb", row[name] or "")
            out[name] = key[int(found[1])] if found else row[name]
        if row.get("evidence") and "kind" not in row:
            out["evidence"] = sorted((key[i // 512], i % 512) for i in json.loads(row["evidence"]))
        if row.get("handover"):
            out["handover"] = [
                [key[b[0] // 512], b[0] % 512, *b[1:], *more] for b, *more in json.loads(row["handover"])
            ]
        if row.get("error_stage") == "duplicate":
            out["error"] = key[int(row["error"].rpartition(" ")[2])]
        return out

    feed: Rows = {batch_id: [] for batch_id in batch.values()}
    for row in table(record, "feed"):
        if row["kind"] == "event":  # its incident is known only once it is linked
            payload = json.loads(row["payload"]) | {"type": row["type"], "incident_id": None}
            feed[batch[row["event_id"]]].append(same(payload))
    return Content(
        {key[f["id"]]: same(f) for f in frames},
        {(key[d["frame_id"]], d["id"] % 512): same(d) for d in table(record, "detections")},
        {(key[d["frame_id"]], d["id"] % 512): same(d) for d in table(record, "suppressed")},
        dict(enumerate(same(spot) for spot in table(record, "spots"))),
        {e["batch_id"]: same(e) for e in events},
        feed,
        {
            batch.get(i["id"], i["id"]): same({k: i[k] for k in INCIDENT})  # another cell's event
            for i in table(record, "incidents")
            if i["merged_into"] is None
        },
        {
            (i["node"], i["kind"], i["payload"] if i["error"] is None else i["error"]): 1
            for i in table(record, "journal")
        },
        {a["content_hash"]: same(a) for a in alerts.values()},
    )


def table(record: Record, name: str) -> list[dict[str, Any]]:
    """Return all rows of a table as dicts, in order of its first column."""
    return record.dicts(f"SELECT * FROM {name} ORDER BY 1")
