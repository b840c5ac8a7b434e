"""Read what the pipeline knows about itself: conditions, deliveries, its services, discovery's notes, each camera's share.

The pipeline writes and this only reads, so that health, page, metrics and `doctor` say the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.cameras import silence_max
from hearthwatch.record.feed import Feed
from hearthwatch.record.graph_description import read_description
from hearthwatch.record.problems import count_unusable
from hearthwatch.record.read.events import Row, iso
from hearthwatch.record.units import NEVER
from hearthwatch.schemas.text import plural

SEVERITIES = ("error", "warning", "info")


class StandingCondition(NamedTuple):
    """Something that is wrong now; `since` in microseconds."""

    kind: str
    subject: str
    severity: str
    camera_id: str | None
    message: str
    since: int

    def as_dict(self) -> Row:
        return self._asdict() | {"since": iso(self.since)}


def conditions(record: Record) -> list[StandingCondition]:
    """Read what is wrong, the worst first, the oldest first among equals."""
    rows = record.rows(
        "SELECT kind, subject, severity, camera_id, message, since FROM conditions WHERE state = 'on' ORDER BY since, id"
    )
    return worst_first([StandingCondition(*row) for row in rows])


def worst_first(found: list[StandingCondition]) -> list[StandingCondition]:
    return sorted(found, key=lambda condition: SEVERITIES.index(condition.severity))


def consumers(record: Record) -> dict[str, Row]:
    """Read what each consumer of the running graph delivered; before a graph has run, each one that has a cursor."""
    last, cursors = Feed(record).last(), dict(record.rows("SELECT name, seq FROM cursors ORDER BY name"))
    graph = read_description(record) or {}
    running = [node["name"] for node in graph.get("nodes", ()) if node["kind"] == "consumer" and not node["off"]]
    found = {
        name: {
            "delivered": n,
            "failed": failed,
            "last_success": iso(at),
            "last_failure": iso(failed_at),
            "error": error,
        }
        for name, n, failed, at, failed_at, error in record.rows(
            "SELECT consumer, delivered, failed, delivered_at, failed_at, error FROM deliveries"
        )
    }
    never = {"delivered": 0, "failed": 0, "last_success": None, "last_failure": None, "error": None}
    return {
        name: found.get(name, never) | {"lag": max(0, last - cursors.get(name, last))}
        for name in (running if graph else cursors)
    }


def services(record: Record) -> dict[str, Any]:
    """Read what the pipeline's monitor last found out about its services: `at`, `services`; empty before it ran."""
    row = record.one("SELECT value FROM meta WHERE key = 'services'")
    return dict(json.loads(row[0])) if row else {}


NOTED = {
    "ignored": ("link or device", "links or devices", "ignored"),
    "ignored_names": ("file or folder", "files or folders", "ignored by name"),
    "not_pictures": ("file that is no picture", "files that are no pictures", "left alone"),
    "doubted": ("picture", "pictures", "whose camera's clock cannot be right, dated by modification"),
    "no_time": ("picture", "pictures", "without a time in name or EXIF, dated by modification"),
}
"""What discovery counts, and what those are; a number, or numbers by name."""


def describe_notes(notes: Mapping[str, Any]) -> list[str]:
    """Return what discovery counted, in words: `20 files ignored by name (@eaDir 12, #recycle 8)`."""
    out = []
    for key, (one, more, what) in NOTED.items():
        counts = notes.get(key) or 0
        by_name = {} if isinstance(counts, int) else counts
        n = counts if isinstance(counts, int) else sum(by_name.values())
        names = ", ".join(f"{name} {count}" for name, count in by_name.items())
        out += [f"{plural(n, one, more)} {what}{f' ({names})' if names else ''}"] if n else []
    return out


def cameras(record: Record, at: int) -> dict[str, Row]:
    """Read how each camera is: silent, its clock, its pictures of the last hour and how many of them could not be used."""
    counts = {camera: (n, unusable) for camera, n, unusable, _ in count_unusable(record, at)}
    out: dict[str, Row] = {}
    for id, name, status, seen, offset in record.rows(
        "SELECT id, name, status, last_seen_at, clock_offset_ms FROM cameras ORDER BY id"
    ):
        pictures, quarantined = counts.get(id, (0, 0))
        out[id] = {
            "name": name, "status": status, "silent": seen is not None and at - seen > silence_max(record, id, at),
            "last_picture": iso(seen), "last_picture_age_seconds": None if seen is None else max(0.0, (at - seen) / 1e6), "clock_offset_seconds": None if offset is None else offset / 1000,
            "pictures": pictures, "quarantined": quarantined, "quarantined_share": quarantined / pictures if pictures else 0.0,
        }  # fmt: skip
    return out


def messages(record: Record, limit: int, before: int = NEVER) -> list[Row]:
    """Read the system messages of the feed as they were published, newest first, older than number `before`."""
    rows = record.rows(
        "SELECT payload FROM feed WHERE kind = 'system' AND +seq < ? ORDER BY +seq DESC LIMIT ?", before, limit
    )  # `+`: they are few, and found by the index of kinds
    return [json.loads(payload) for (payload,) in rows]
