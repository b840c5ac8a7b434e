"""Read the current state: cameras, ledger, heartbeats, consumers, services, stage latencies, timeline, quarantine.

Only counters, short index ranges and the newest few rows are read, so the page may ask every two seconds for ever. The
pipeline writes and this only reads, so that health, page, metrics and `doctor` say the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import chain, pairwise
from typing import Any

from hearthwatch.record import Record
from hearthwatch.record.cameras import silence_max
from hearthwatch.record.feed import Feed
from hearthwatch.record.graph_description import read_description
from hearthwatch.record.paths import picture_url
from hearthwatch.record.problems import count_unusable, read_waiting
from hearthwatch.record.read.events import Filter, Row, count_cameras, count_levels, iso
from hearthwatch.record.read.over_cells import add, greatest, join, merge_pages, over_cells
from hearthwatch.record.surroundings import neighbours_of, zones_of
from hearthwatch.record.units import ALARMING, CELL_BITS, QUARTER, SECOND
from hearthwatch.schemas.text import plural

ALIVE = 15 * SECOND  # heartbeats come every 2 s
STALLED = 60 * SECOND
RECENT = 200  # frames, events or verdicts that a latency is taken from
RATE_SECONDS = 60


# -- cameras


def cameras(record: Record, now: int, midnight: int, status: str | None = None, id: str | None = None) -> list[Row]:
    """Read cameras as the contract has them; `offline`: silent for longer than is usual for this camera."""
    return [row for _, row in _cameras(record, now, midnight, id) if status in (None, row["status"])]


Place = tuple[str, int, bool]
"""Of a row of `cameras`: its id, the cell that reads the camera's own folder, and whether that is another one."""


def _join_cameras(parts: list[list[tuple[Place, Row]]]) -> list[tuple[Place, Row]]:
    """Add second rows to those of the cameras' own cells; what changes is of the cell that saw the camera last."""
    found: dict[tuple[str, int], tuple[Place, Row]] = {}
    for place, row in sorted(chain(*parts), key=lambda camera: camera[0][2]):
        if known := found.get(place[:2]):
            home = known[1]
            seen = max(home, row, key=lambda each: each["last_seen_at"] or "")
            home |= {
                key: seen[key] for key in ("status", "silent", "last_seen_at", "last_image_url", "clock_offset_ms")
            }
            home |= {key: home[key] + row[key] for key in ("events_today", "images_today")}
            home["created_at"] = min(home["created_at"], row["created_at"])
        else:
            found[place[:2]] = place, row
    return sorted(found.values(), key=lambda camera: (camera[1]["name"], camera[1]["id"]))


@over_cells(_join_cameras)
def _cameras(record: Record, now: int, midnight: int, id: str | None) -> list[tuple[Place, Row]]:
    rows = record.rows(
        "SELECT id, name, folder_path, status, created_at, last_seen_at, notes, zones, neighbours, notify_level, clock_offset_ms, home_cell "
        "FROM cameras WHERE id = ? OR ? IS NULL ORDER BY name, id", id, id,
    )  # fmt: skip
    today = count_cameras(record, Filter(camera_id=id, start=midnight))
    out = []
    for camera, name, folder, stored, created, seen, notes, zones, neighbours, level, clock, home in rows:
        silent = seen is not None and now - seen > silence_max(record, camera, now)
        newest = newest_pictures(record, camera, 1)
        out.append(((camera, record.number if home is None else home, home is not None), {
            "id": camera, "name": name, "folder_path": folder, "status": "offline" if silent and stored == "online" else stored,
            "created_at": iso(created), "last_seen_at": iso(seen),
            "notes": notes, "zones": [zone._asdict() for zone in zones_of(camera, zones)] if zones else None,
            "neighbours": neighbours_of(neighbours), "notify_level": level, "clock_offset_ms": clock, "silent": silent,
            "last_image_url": picture_url(camera, folder, **newest[0]) if newest else None, "events_today": today.get(camera, 0),
            "images_today": images(record, midnight, camera),
        }))  # fmt: skip
    return out


def _join_health(parts: list[dict[str, Row]]) -> dict[str, Row]:
    """Add up the pictures of each camera; the rest is of the cell that saw it last."""
    found: dict[str, Row] = {}
    rows = [item for part in parts for item in part.items()]
    for id, row in sorted(rows, key=lambda item: (item[0], item[1]["last_picture"] or "")):
        known = found.get(id, {})
        pictures, bad = (row[key] + known.get(key, 0) for key in ("pictures", "quarantined"))
        found[id] = row | {
            "pictures": pictures,
            "quarantined": bad,
            "quarantined_share": bad / pictures if pictures else 0.0,
        }
    return found


@over_cells(_join_health)
def camera_health(record: Record, at: int) -> dict[str, Row]:
    """Read how each camera is: silent, its clock, its pictures of the last hour and how many of them could not be used."""
    counts, out = {camera: (n, bad) for camera, n, bad, _ in count_unusable(record, at)}, {}
    rows = record.rows("SELECT id, name, status, last_seen_at, clock_offset_ms FROM cameras ORDER BY id")
    for id, name, status, seen, offset in rows:
        pictures, quarantined = counts.get(id, (0, 0))
        out[id] = {
            "name": name, "status": status, "silent": seen is not None and at - seen > silence_max(record, id, at), "last_picture": iso(seen),
            "last_picture_age_seconds": None if seen is None else max(0.0, (at - seen) / 1e6), "clock_offset_seconds": None if offset is None else offset / 1000,
            "pictures": pictures, "quarantined": quarantined, "quarantined_share": quarantined / pictures if pictures else 0.0,
        }  # fmt: skip
    return out


def newest_pictures(record: Record, camera: str, limit: int) -> list[Row]:
    """Read the camera's newest readable pictures by time of capture, as (id, path, mtime_ns, size)."""
    return record.dicts(
        "SELECT id, path, mtime_ns, size FROM frames WHERE camera_id = ? AND state = 'settled' ORDER BY captured_at DESC, id DESC LIMIT ?",
        camera, limit,
    )  # fmt: skip


@over_cells(add)
def images(record: Record, since: int, camera: str | None = None) -> int:
    """Pictures captured since, to the quarter of an hour."""
    return int(record.one(
        "SELECT coalesce(sum(n), 0) FROM pictures WHERE quarter >= ? AND camera_id IN (SELECT id FROM cameras) AND (camera_id = ? OR ? IS NULL)",
        since // QUARTER, camera, camera,
    )[0])  # fmt: skip


# -- the ledger and the pipeline


def ledger(record: Record) -> dict[str, int]:
    """Count files by state. `files` is counted independently of the others, so a gap would show."""
    counters = record.counters()
    files = record.one("SELECT coalesce(sum(n), 0) FROM pictures")[0]
    return {"files": int(files)} | {state: counters[state] for state in ("settled", "discovered", "quarantined")}


def _add_beats(parts: list[dict[str, Row]]) -> dict[str, Row]:
    oldest = {name: min(part[name]["at"] for part in parts if name in part) for name in chain(*parts)}
    return {name: beat | {"at": oldest[name]} for name, beat in add(parts).items()}


@over_cells(_add_beats)
def heartbeats(record: Record) -> dict[str, Row]:
    """Read the last heartbeat of each chain, times in microseconds; of several cells the oldest, and the sums of their counters."""
    rows = record.rows("SELECT chain, pid, at, counters FROM heartbeat")
    return {chain: {"pid": pid, "at": at, "counters": json.loads(text or "{}")} for chain, pid, at, text in rows}


@over_cells(add)
def pending(record: Record) -> int:
    """Count events that wait for a language model."""
    return int(record.one("SELECT count(*) FROM events WHERE status = 'closed' AND analysis_status = 'pending'")[0])


@over_cells(greatest("at"))
def last_verdict(record: Record) -> Row | None:
    """Read the newest verdict of a language model."""
    rows = record.dicts(
        "SELECT event_id, model, latency_ms, at FROM event_history WHERE id > (SELECT coalesce(max(id), 0) FROM event_history) - 10000 "
        "AND analyzer = 'nemotron' AND type = 'event.analyzed' ORDER BY id DESC LIMIT 1"
    )  # fmt: skip
    return next((row | {"at": iso(row["at"])} for row in rows), None)


@over_cells(greatest("discovered_at"))
def last_detected(record: Record) -> Row | None:
    """Read the newest picture that a detector processed."""
    sql = "SELECT id AS frame_id, model, detect_ms, discovered_at FROM frames WHERE state = 'settled' AND model IS NOT NULL ORDER BY id DESC LIMIT 1"
    return next((row | {"discovered_at": iso(row["discovered_at"])} for row in record.dicts(sql)), None)


def found_before(record: Record, at: int) -> int:
    """Count the pictures found before a time, since the record began: the greatest id of them. A search of 20 index lookups.

    Ids are given in order of discovery, so the difference of two of these is what was found between, whatever was deleted since.
    """
    low, high = 0, pictures_found(record)
    first = record.number << CELL_BITS
    while low < high:
        middle = (low + high + 1) // 2
        row = record.one("SELECT id, discovered_at FROM frames WHERE id >= ? ORDER BY id LIMIT 1", first + middle)
        if row is not None and row[1] < at:
            low = min(row[0] - first, high)
        else:
            high = middle - 1
    return low


@over_cells(add)
def pictures_found(record: Record) -> int:
    """Count the pictures found since the record began; it never decreases."""
    row = record.one("SELECT seq FROM sqlite_sequence WHERE name = 'frames'")
    return int(row[0]) - (record.number << CELL_BITS) if row else 0


@over_cells(add)
def rate(record: Record, now: int) -> float:
    """Pictures found per second, over the last minute."""
    return (pictures_found(record) - found_before(record, now - RATE_SECONDS * SECOND)) / RATE_SECONDS


@over_cells(add)
def rate_history(record: Record, now: int, quarters: int = 60) -> list[float]:
    """Pictures found per second in each of so many quarters of an hour until now, oldest first."""
    found = [found_before(record, now - n * QUARTER) for n in range(quarters, 0, -1)] + [pictures_found(record)]
    return [(after - before) * SECOND / QUARTER for before, after in pairwise(found)]


def stages(record: Record) -> list[Row]:
    """Median and 95th percentile in seconds of each step, of the newest few, and how many wait for it."""
    out = []
    for name, (found, waiting) in _steps(record).items():
        values = sorted(found)
        p50, p95 = (values[min(len(values) - 1, int(len(values) * share))] if values else None for share in (0.5, 0.95))
        out.append({"name": name, "p50_s": p50, "p95_s": p95, "waiting": waiting})
    return out


@over_cells(
    lambda parts: {
        name: (join(float)([p[name][0] for p in parts]), sum(p[name][1] for p in parts)) for name in parts[0]
    }
)
def _steps(record: Record) -> dict[str, tuple[list[float], int]]:
    """Read how many seconds each step took for the newest few, and how many wait for it."""
    newest = "SELECT {} FROM event_history h JOIN frames f ON f.id = h.event_id WHERE h.id > (SELECT coalesce(max(id), 0) FROM event_history) - 2000 AND h.type = 'event.{}' AND {} ORDER BY h.id DESC LIMIT ?"
    first = "NOT h.shadow AND NOT EXISTS (SELECT 1 FROM event_history c WHERE c.event_id = h.event_id AND c.revision < h.revision AND c.type = h.type AND NOT c.shadow)"
    arrival = "max(0, h.at - f.arrived_at) / 1e6", first
    (still_open,) = record.one("SELECT count(*) FROM events WHERE status = 'open'")
    out = {}
    for name, sql, waiting in (
        ("detect", "SELECT detect_ms / 1e3 FROM frames WHERE detect_ms IS NOT NULL AND id > (SELECT max(id) FROM frames) - 2000 ORDER BY id DESC LIMIT ?", read_waiting(record).pictures),
        ("open", newest.format(arrival[0], "opened", arrival[1]), 0),
        ("close", newest.format(arrival[0], "closed", arrival[1]), still_open),
        ("analyze", newest.format("h.latency_ms / 1e3", "analyzed", "h.latency_ms IS NOT NULL"), pending(record)),
    ):  # fmt: skip
        out[name] = [v for (v,) in record.rows(sql, RECENT)], waiting
    return out


# -- what the pipeline's monitor stored


def _add_consumers(parts: list[dict[str, Row]]) -> dict[str, Row]:
    last = {
        name: {key: max(part[name][key] or "" for part in parts if name in part) or None for key in ("last_success", "last_failure")}
        for name in chain(*parts)
    }  # fmt: skip
    return {name: row | last[name] for name, row in add(parts).items()}


@over_cells(_add_consumers)
def consumers(record: Record) -> dict[str, Row]:
    """Read what each consumer of the running graph delivered; before a graph has run, each one that has a cursor."""
    last, cursors = Feed(record).last(), dict(record.rows("SELECT name, seq FROM cursors ORDER BY name"))
    graph = read_description(record) or {}
    running = [node["name"] for node in graph.get("nodes", ()) if node["kind"] == "consumer" and not node["off"]]
    rows = record.rows("SELECT consumer, delivered, failed, delivered_at, failed_at, error FROM deliveries")
    found = {name: values for name, *values in rows}
    out = {}
    for name in running if graph else cursors:
        delivered, failed, at, failed_at, error = found.get(name, (0, 0, None, None, None))
        out[name] = {
            "delivered": delivered, "failed": failed, "last_success": iso(at), "last_failure": iso(failed_at), "error": error,
            "lag": max(0, last - cursors.get(name, last)),
        }  # fmt: skip
    return out


NOTED = {
    "ignored": ("link or device", "links or devices", "ignored"),
    "ignored_names": ("file or folder", "files or folders", "ignored by name"),
    "not_pictures": ("file that is no picture", "files that are no pictures", "left alone"),
    "doubted": ("picture", "pictures", "whose camera's clock cannot be right, dated by modification"),
    "no_time": ("picture", "pictures", "without a time in name or EXIF, dated by modification"),
}
"""What discovery counts, and what those are; a number, or numbers by name."""
NAMES_MAX = 12  # in a sentence, those with the most; the details have all


def describe_notes(notes: Mapping[str, Any]) -> list[str]:
    """Return what discovery counted, in words: `20 files ignored by name (@eaDir 12, #recycle 8)`."""
    out = []
    for key, (one, more, what) in NOTED.items():
        counts = notes.get(key) or 0
        by_name = {} if isinstance(counts, int) else counts
        n = counts if isinstance(counts, int) else sum(by_name.values())
        most = sorted(by_name.items(), key=lambda pair: -pair[1])
        names = ", ".join(f"{name or 'in no camera folder'} {count}" for name, count in most[:NAMES_MAX])
        names += f", {len(most) - NAMES_MAX} more" if len(most) > NAMES_MAX else ""
        out += [f"{plural(n, one, more)} {what}{f' ({names})' if names else ''}"] if n else []
    return out


# -- the page


def needs_person(record: Record) -> Row | None:
    """Read the unreviewed event with the highest score, if it is high or critical."""
    sql = (
        "SELECT risk_score, started_at, id, risk_level, camera_id FROM events INDEXED BY events_inbox WHERE reviewed = 0 AND status <> 'merged' "
        f"AND risk_level IS NOT NULL AND risk_score >= {ALARMING} ORDER BY risk_score DESC, started_at DESC LIMIT 1"
    )
    rows = merge_pages(record, lambda cell, *_: cell.execute(sql), 1)
    return next(({"event_id": id, "level": level, "camera_id": camera} for *_, id, level, camera in rows), None)


def to_review(record: Record, since: int = 0) -> int:
    """Count the events that are not reviewed yet."""
    return sum(count_levels(record, Filter(reviewed=False, start=since)).values())


@over_cells(add)
def today(record: Record, midnight: int) -> Row:
    """Since local midnight: pictures, those with something in them, events."""
    n, seen = record.one(
        "SELECT count(*), coalesce(sum(e.frame_count), 0) FROM facets f CROSS JOIN events e ON e.id = f.event_id WHERE f.object_type = '' AND f.started_at >= ?",
        midnight,
    )  # fmt: skip
    return {"images": images(record, midnight), "with_objects": int(seen), "events": int(n), "to_review": to_review(record, midnight)}  # fmt: skip


def _join_timelines(parts: list[list[Row]]) -> list[Row]:
    found: dict[str, list[Row]] = {}
    for row in chain(*parts):
        found.setdefault(row["camera_id"], []).append(row)
    joined = [
        rows[0] | {"cells": [
            {"events": sum(c["events"] for c in cells), "max_risk": max((c["max_risk"] for c in cells if c["max_risk"] is not None), default=None),
             "pictures": sum(c["pictures"] for c in cells)} for cells in zip(*(row["cells"] for row in rows), strict=True)
        ]} for rows in found.values()
    ]  # fmt: skip
    return sorted(joined, key=lambda row: (row["camera_name"], row["camera_id"]))


@over_cells(_join_timelines)
def timeline(record: Record, start: int, end: int, step: int) -> list[Row]:
    """Per camera, for each `step` from `start` to `end`: events, the highest risk among them, pictures. Whole quarters."""
    named = record.rows("SELECT id, name FROM cameras ORDER BY name, id")
    cells = {id: [{"events": 0, "max_risk": None, "pictures": 0} for _ in range(start, end, step)] for id, _ in named}
    for camera, at, n, risk in record.rows(
        "SELECT camera_id, (quarter * ?1 - ?2) / ?3, sum(n), max(risk_score) FROM heat "
        "WHERE quarter >= ?2 / ?1 AND quarter < ?4 / ?1 GROUP BY 1, 2", QUARTER, start, step, end,
    ):  # fmt: skip
        if camera in cells:
            cells[camera][at] |= {"events": n, "max_risk": risk}
    for camera in cells:
        for at, n in record.rows(
            "SELECT (quarter * ? - ?) / ?, sum(n) FROM pictures WHERE camera_id = ? AND quarter >= ? AND quarter < ? GROUP BY 1",
            QUARTER, start, step, camera, start // QUARTER, end // QUARTER,
        ):  # fmt: skip
            cells[camera][at]["pictures"] = n
    return [{"camera_id": id, "camera_name": name, "cells": cells[id]} for id, name in named]


def quarantine(record: Record, limit: int, offset: int) -> list[Row]:
    """Pictures that could not be processed, newest first. `retried`: a later attempt is in the ledger."""
    sql = (
        "SELECT f.id, f.camera_id, f.path, f.error_stage AS stage, f.error AS reason, f.discovered_at AS at, f.captured_at, f.size, f.attempt, "
        "EXISTS (SELECT 1 FROM frames g WHERE g.path = f.path AND g.mtime_ns = f.mtime_ns AND g.size = f.size AND g.attempt > f.attempt) AS retried "
        "FROM frames f INDEXED BY frames_quarantined WHERE f.state = 'quarantined' ORDER BY f.id DESC LIMIT ? OFFSET ?"
    )
    out = merge_pages(record, lambda cell, *page: cell.dicts(sql, *page), limit, offset, lambda row: row["at"])
    for row in out:
        row |= {"at": iso(row["at"]), "captured_at": iso(row["captured_at"]), "retried": bool(row["retried"])}
    return out


def gpu(record: Record, limit: int = 1, since: int = 0) -> list[Row]:
    """Read the newest samples of the GPU, oldest first."""
    columns = "gpu_utilization, memory_used, memory_total, temperature, inference_fps, recorded_at"
    sql = f"SELECT {columns} FROM gpu_stats WHERE recorded_at >= ? ORDER BY recorded_at DESC, id DESC LIMIT ?"
    rows = reversed(record.dicts(sql, since, limit))
    return [row | {"recorded_at": iso(row["recorded_at"])} for row in rows]
