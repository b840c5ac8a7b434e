"""Routes of health, totals, the GPU, settings, quarantine and metrics."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Response
from fastapi import Path as PathParameter

from hearthwatch.api import metrics, models
from hearthwatch.api.dependencies import AppState, State, json_response, run_on_slow_threads
from hearthwatch.api.params import FrameId, Limit, Offset, Start, format_cursor, parse_cursor
from hearthwatch.api.security import lan_address
from hearthwatch.record import Record, now
from hearthwatch.record.conditions import read_messages
from hearthwatch.record.graph_description import read_description
from hearthwatch.record.journal import read_items
from hearthwatch.record.ledger import Ledger
from hearthwatch.record.problems import read_waiting
from hearthwatch.record.read import status as queries
from hearthwatch.record.read.events import iso
from hearthwatch.record.retention.run import file_sizes
from hearthwatch.record.units import DAY, QUARTER, SECOND
from hearthwatch.schemas.settings import values
from hearthwatch.schemas.text import product_version

router = APIRouter(tags=["system"])


@router.get("/api/system/health", name="system_health", response_model=models.SystemHealth)
@run_on_slow_threads
def health(state: State) -> Response:
    """Get the status of every service and what is wrong; always 200. Only a failing database makes the whole unhealthy."""
    return json_response(state.health.report())


@router.get("/api/system/messages", response_model=models.SystemMessages, responses=models.INVALID)
def messages(
    state: State,
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the previous page.")] = None,
) -> Response:
    """List what began to be wrong and what ended, newest first: the feed's system messages."""
    at, seq = parse_cursor("s", 2, cursor)
    with state.reader.snapshot() as record:
        found = read_messages(record, limit + 1, (at, seq))
    more = format_cursor("s", *found[limit - 1][:2]) if len(found) > limit else None
    return json_response({"messages": [message for *_, message in found[:limit]], "limit": limit, "next_cursor": more})


@router.get("/api/system/gpu", response_model=models.Gpu)
def gpu(state: State) -> Response:
    """Get the newest sample of the GPU; nulls if there is none. Memory in bytes, temperature in °C."""
    with state.reader.snapshot() as record:
        samples = queries.gpu(record)
    return json_response(samples[0] if samples else dict.fromkeys(models.Gpu.model_fields))


@router.get("/api/system/gpu/history", response_model=models.GpuHistory, responses=models.INVALID)
def gpu_history(state: State, since: Start = None, limit: Limit = 300) -> Response:
    """Get the newest samples, oldest first."""
    with state.reader.snapshot() as record:
        samples = queries.gpu(record, limit, since or 0)
    return json_response({"samples": samples, "count": len(samples), "limit": limit})


@router.get("/api/system/config", response_model=models.Config)
def config(state: State) -> Response:
    """Get options of the graph and settings that explain the events; no secrets."""
    with state.reader.snapshot() as record:
        options = _options(state, record)
    least = state.settings.detection_confidence_threshold
    return json_response(
        {"app_name": "Hearthwatch", "version": product_version(), "detection_confidence_threshold": least} | options
    )


@router.get("/api/system/settings", response_model=models.SettingsInForce)
@run_on_slow_threads
def settings_in_force(state: State) -> Response:
    """Get every setting with its value, no secret in it, and what sets it."""
    chosen = state.settings
    return json_response({
        "settings": [value._asdict() for value in values(chosen)], "folder": str(Path.cwd()), "address": lan_address(),
        "flow": chosen.hearthwatch_flow and str(chosen.hearthwatch_flow),
        "data_bytes": sum(file_sizes(chosen.hearthwatch_data_dir, chosen.foscam_base_path.resolve())),
    })  # fmt: skip


@router.post("/api/system/notifiers/{name}/test", response_model=models.NotifierTest, responses=models.NOT_FOUND)
@run_on_slow_threads
def send_test_notification(
    state: State,
    name: Annotated[str, PathParameter(description="The notifier's name in the graph.", examples=["ntfy"])],
) -> Response:
    """Send a test notification through this notifier, as `hearthwatch notify --test` does. 404: the graph that runs has no such notifier."""
    with state.reader.snapshot() as record:
        nodes = (read_description(record) or {}).get("nodes", ())
    if not any(node["name"] == name and node.get("notifies") for node in nodes):
        raise HTTPException(404, f"there is no notifier {name} in the graph that runs")
    return json_response(state.test_notifier(name))


@router.get("/api/system/graph", response_model=models.GraphDescription)
def graph(state: State) -> Response:
    """Get the nodes and edges of the pipeline as it last started; none before that."""
    with state.reader.snapshot() as record:
        description = read_description(record)
    return json_response(description or {"nodes": [], "edges": [], "options": {}})


def _options(state: AppState, record: Record) -> dict[str, Any]:
    """Read the options of the graph that last ran; before that, those of the settings."""
    given = (read_description(record) or {}).get("options", {})
    return {name: given.get(name, getattr(state.settings, name)) for name in models.GraphOptions.model_fields}


@router.get("/api/system/stats", response_model=models.SystemStats)
def stats(state: State) -> Response:
    """Get totals, the ledger (`files` is counted separately and must be the sum of the others), and how fast each step is."""
    with state.reader.snapshot() as record:
        counters, beats = record.counters(), queries.heartbeats(record)
        (cameras,) = record.one("SELECT count(*) FROM cameras WHERE home_cell IS NULL")
        stages, ledger, at = queries.stages(record), queries.ledger(record), now()
        content = {
            "total_cameras": cameras, "total_events": counters["events"], "total_detections": counters["detections"],
            "uptime_seconds": round(time.monotonic() - state.started, 3), "ledger": ledger, "backlog": read_waiting(record).pictures,
            "open_events": next(s["waiting"] for s in stages if s["name"] == "close"), "images_per_s": queries.rate(record, at),
            "images_per_s_history": queries.rate_history(record, at), "stages": stages, "llm": _llm(state, record, beats), "disk": _disk(state, record, at),
        }  # fmt: skip
    return json_response(content)


def _llm(state: AppState, record: Record, beats: dict[str, Any]) -> dict[str, Any]:
    s, counters = state.settings, beats.get("judge", {}).get("counters", {})
    model, at_once = (
        (s.hearthwatch_nemotron_model, s.hearthwatch_nemotron_concurrency) if s.nemotron_url else (None, None)
    )
    return {
        "model": model,
        "pending": queries.pending(record),
        "in_flight": counters.get("in_flight"),
        "max_in_flight": at_once,
    }


def _disk(state: AppState, record: Record, at: int) -> dict[str, Any]:
    """Read how full the data folder's disk is, and estimate bytes per day from the last thousand pictures."""
    folder = state.settings.hearthwatch_data_dir
    usage = shutil.disk_usage(next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists()))
    (oldest,) = record.one("SELECT min(quarter) FROM pictures")
    first, n, size = record.one(
        "SELECT min(discovered_at), count(*), coalesce(sum(size), 0) FROM frames WHERE id > (SELECT coalesce(max(id), 0) FROM frames) - 1000"
    )
    per_day = round(size * DAY / max(at - first, 3600 * SECOND)) if n else None
    return {
        "used": usage.used, "total": usage.total, "per_day": per_day, "retention_days": _options(state, record)["retention_days"],
        "oldest": None if oldest is None else iso(oldest * QUARTER), "full_in_days": usage.free // per_day if per_day else None,
    }  # fmt: skip


@router.get("/api/system/quarantine", response_model=models.QuarantinePage, responses=models.INVALID)
def quarantine(state: State, limit: Limit = 50, offset: Offset = 0) -> Response:
    """List pictures that could not be processed, newest first: the stage that failed, and why."""
    with state.reader.snapshot() as record:
        frames, count = queries.quarantine(record, limit, offset), record.counters()["quarantined"]
    return json_response({"frames": frames, "count": count, "limit": limit, "offset": offset})


@router.post(
    "/api/system/quarantine/{frame_id}/retry",
    response_model=models.RetryResult,
    responses=models.NOT_FOUND | models.CONFLICT,
)
def retry(state: State, frame_id: FrameId) -> Response:
    """Process the picture again, as a new frame. 409 if it is not in quarantine, or not in a camera's folder."""
    with state.reader.snapshot() as record:
        row = (
            record.one("SELECT state, camera_id FROM frames WHERE id = ?", frame_id)
            if 0 <= frame_id < 1 << 63
            else None
        )
    if row is None:
        raise HTTPException(404, f"Frame with id {frame_id} not found")
    if row[0] != "quarantined" or row[1] is None:
        why = "is not in a camera's folder: move the picture into one" if row[0] == "quarantined" else f"is {row[0]}"
        raise HTTPException(409, f"Frame {frame_id} {why}: only a quarantined one can be retried")
    new = state.write(lambda record: Ledger(record).retry(frame_id, now()), frame_id)
    return json_response({"frame_id": new, "retry_of": frame_id})


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def prometheus(state: State) -> Response:
    """Export Prometheus metrics: pictures, ledger, detections, events, dead letters, latencies, lags, heartbeats."""
    content, media_type = metrics.render(state)
    return Response(content, media_type=media_type)


@router.get("/api/journal", response_model=models.JournalItems, responses=models.INVALID)
def journal_items(
    state: State,
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the previous page.")] = None,
    node: Annotated[str | None, Query(description="The items of one journal.", examples=["bursts"])] = None,
    failed: Annotated[bool, Query(description="Only what could not be written, or failed before it.")] = False,
) -> Response:
    """List the items of journals, newest first."""
    (before,) = parse_cursor("s", 1, cursor)
    with state.reader.snapshot() as record:
        found = read_items(record, limit + 1, before, node, failed)
    more = format_cursor("s", found[limit - 1]["id"]) if len(found) > limit else None
    return json_response({"items": found[:limit], "limit": limit, "next_cursor": more})
