"""Health, the ledger, the GPU, settings that are no secret, and what could not be read."""

from __future__ import annotations

import shutil
import time
from typing import Any

from fastapi import APIRouter, HTTPException, Response

from hearthwatch.api import metrics, models, system_models
from hearthwatch.api.dependencies import Here, Shared, answer, patient
from hearthwatch.api.health import overall
from hearthwatch.api.params import FrameId, Limit, Offset, Start
from hearthwatch.record import Record, now
from hearthwatch.record.ledger import Ledger
from hearthwatch.record.read import status as pulse
from hearthwatch.record.read.events import iso
from hearthwatch.record.units import DAY, QUARTER, SECOND

router = APIRouter(tags=["system"])


@router.get("/api/system/health", response_model=system_models.SystemHealth)
@patient
def health(here: Shared) -> Response:
    """Every service, probed now; 200 whatever they say. Only a database that fails makes the whole unhealthy."""
    services = here.health.services()
    return answer({"status": overall(services), "services": services, "timestamp": iso(now())})


@router.get("/api/system/gpu", response_model=system_models.Gpu)
def gpu(here: Shared) -> Response:
    """The newest sample of the GPU; nulls if there is none. Memory in bytes, temperature in °C."""
    with here.reader.snapshot() as record:
        samples = pulse.gpu(record)
    return answer(samples[0] if samples else pulse.no_gpu())


@router.get("/api/system/gpu/history", response_model=system_models.GpuHistory, responses={422: models.INVALID})
def gpu_history(here: Shared, since: Start = None, limit: Limit = 300) -> Response:
    """The newest samples, oldest first."""
    with here.reader.snapshot() as record:
        samples = pulse.gpu(record, limit, since or 0)
    return answer({"samples": samples, "count": len(samples), "limit": limit})


@router.get("/api/system/config", response_model=system_models.Config)
def config(here: Shared) -> Response:
    """Settings that matter to whoever reads events; no secret among them."""
    from hearthwatch.api.app import product_version

    names = ("retention_days", "batch_window_seconds", "batch_idle_timeout_seconds", "detection_confidence_threshold")
    return answer(
        {"app_name": "Hearthwatch", "version": product_version()}
        | {name: getattr(here.settings, name) for name in names}
    )


@router.get("/api/system/stats", response_model=system_models.SystemStats)
def stats(here: Shared) -> Response:
    """Totals, the ledger (`files` is counted apart: it must be the sum of the others), and how fast each step is."""
    with here.reader.snapshot() as record:
        counters, beats = record.counters(), pulse.heartbeats(record)
        (cameras,) = record.one("SELECT count(*) FROM cameras")
        stages, ledger, at = pulse.stages(record), pulse.ledger(record), now()
        content = {
            "total_cameras": cameras, "total_events": counters["events"], "total_detections": counters["detections"],
            "uptime_seconds": round(time.monotonic() - here.began, 3), "ledger": ledger, "backlog": ledger["discovered"],
            "open_events": next(s["waiting"] for s in stages if s["name"] == "close"), "images_per_s": pulse.rate(record, at),
            "images_per_s_history": pulse.rate_history(record, at), "stages": stages, "llm": _llm(here, record, beats), "disk": _disk(here, record, at),
        }  # fmt: skip
    return answer(content)


def _llm(here: Here, record: Record, beats: dict[str, Any]) -> dict[str, Any]:
    s, told = here.settings, beats.get("judge", {}).get("counters", {})
    model, at_once = (
        (s.hearthwatch_nemotron_model, s.hearthwatch_nemotron_concurrency) if s.nemotron_url else (None, None)
    )
    return {
        "model": model,
        "pending": pulse.pending(record),
        "in_flight": told.get("in_flight"),
        "max_in_flight": at_once,
    }


def _disk(here: Here, record: Record, at: int) -> dict[str, Any]:
    """The disk of the data folder; what a day of the upload tree needs, by the pictures of the last thousand."""
    folder = here.settings.hearthwatch_data_dir
    usage = shutil.disk_usage(next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists()))
    (oldest,) = record.one("SELECT min(quarter) FROM pictures")
    first, n, size = record.one(
        "SELECT min(discovered_at), count(*), coalesce(sum(size), 0) FROM frames WHERE id > (SELECT coalesce(max(id), 0) FROM frames) - 1000"
    )
    per_day = round(size * DAY / max(at - first, 3600 * SECOND)) if n else None
    return {
        "used": usage.used, "total": usage.total, "per_day": per_day, "retention_days": here.settings.retention_days,
        "oldest": None if oldest is None else iso(oldest * QUARTER), "full_in_days": usage.free // per_day if per_day else None,
    }  # fmt: skip


@router.get("/api/system/quarantine", response_model=system_models.Quarantine, responses={422: models.INVALID})
def quarantine(here: Shared, limit: Limit = 50, offset: Offset = 0) -> Response:
    """Pictures that could not be processed, newest first: the stage that gave up, and why."""
    with here.reader.snapshot() as record:
        frames, count = pulse.quarantine(record, limit, offset), record.counters()["quarantined"]
    return answer({"frames": frames, "count": count, "limit": limit, "offset": offset})


@router.post(
    "/api/system/quarantine/{frame_id}/retry",
    response_model=system_models.Retried,
    responses={404: models.NOT_FOUND, 409: models.NOT_FOUND, 422: models.INVALID},
)
def retry(here: Shared, frame_id: FrameId) -> Response:
    """Take the picture in again, as a new frame. 409 if it is not in quarantine, or not in a camera's folder."""
    with here.reader.snapshot() as record:
        row = (
            record.one("SELECT state, camera_id FROM frames WHERE id = ?", frame_id)
            if 0 <= frame_id < 1 << 63
            else None
        )
    if row is None:
        raise HTTPException(404, f"Frame with id {frame_id} not found")
    if row[0] != "quarantined" or row[1] is None:
        why = "is not in a camera's folder: move the picture into one" if row[0] == "quarantined" else f"is {row[0]}"
        raise HTTPException(409, f"Frame {frame_id} {why}: only a quarantined one can be taken in again")
    new = here.write(lambda record: Ledger(record).retry(frame_id, now()))
    return answer({"frame_id": new, "retry_of": frame_id})


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def prometheus(here: Shared) -> Response:
    """For Prometheus: pictures, ledger, detections, events, dead letters, latencies, lags, heartbeats."""
    content, media_type = metrics.text(here)
    return Response(content, media_type=media_type)
