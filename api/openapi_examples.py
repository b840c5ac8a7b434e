"""Examples in the OpenAPI document: on Sunday morning a person stands at the front door for twelve seconds.

A test validates every example.
"""

from __future__ import annotations

import json
from typing import Any

from hearthwatch.schemas.items import PER_FRAME

Example = dict[str, Any]


def _picture(time: str, version: str) -> tuple[str, str]:
    """Return path below the upload tree and URL of a picture of that day."""
    name = f"2026/11/22/{time}.jpg"
    return f"Front Door/{name}", f"/api/media/cameras/front_door/{name}?v={version}"


def _detection(id: int, at: str, path: str, confidence: float, x: int) -> Example:
    frame = id // PER_FRAME
    return {
        "id": id, "frame_id": frame, "event_id": 5, "camera_id": "front_door", "file_path": path, "detected_at": at,
        "object_type": "person", "confidence": confidence, "bbox_x": x, "bbox_y": 212, "bbox_width": 168, "bbox_height": 431,
        "thumbnail_path": f"thumbnails/2026-11-22/{frame}_thumb.jpg", "image_url": f"/api/detections/{id}/image",
    }  # fmt: skip


def _frame(id: int, captured: str, arrived: str, path: str, url: str, detection: Example) -> Example:
    return {
        "id": id, "captured_at": captured, "arrived_at": arrived, "path": path, "width": 1280, "height": 720,
        "image_url": url, "thumbnail_url": f"/api/media/thumbnails/2026-11-22/{id}_thumb.jpg",
        "model": "PekingU/rtdetr_v2_r18vd", "detect_ms": 38.4, "detections": [detection],
    }  # fmt: skip


# -- the event

BEGIN, END = "2026-11-22T08:15:30.000000Z", "2026-11-22T08:15:42.000000Z"
NOW = "2026-11-22T08:17:20.000000Z"
PICTURE, PICTURE_URL = _picture("081530", "18ea4ff8755bd400-2f1a4")
LATER, LATER_URL = _picture("081542", "18ea4ffb409d4c00-2e9c0")
DETECTIONS = [_detection(2560, BEGIN, PICTURE, 0.93, 540), _detection(3072, END, LATER, 0.88, 566)]
LEVELS = {"low": 3, "medium": 0, "high": 1, "critical": 0}
VERDICT: Example = {
    "risk_score": 62, "risk_level": "high", "summary": "One person stays at the front door for 12 s, 08:15",
    "reasoning": "One person stands at the door for twelve seconds on a Sunday morning, when usually no one comes. "
    "Both detections are sure.",
    "evidence": [2560, 3072], "analyzer": "nemotron", "model": "nemotron", "prompt_version": "v1",
}  # fmt: skip
BY_RULES: Example = {
    "risk_score": 26, "risk_level": "low", "summary": "1 person for 12 s at the front door, 08:15",
    "reasoning": "person +22, stays 12 s +4: 26 of 100, by the rules",
    "evidence": [2560, 3072], "analyzer": "rules", "model": None, "prompt_version": None,
}  # fmt: skip
EVENT: Example = {
    "id": 5, "batch_id": "6303643d-c2b4-5b41-a046-0de0bdf134b6", "camera_id": "front_door", "camera_name": "Front door",
    "started_at": BEGIN, "ended_at": END, "status": "closed", **VERDICT, "analysis_status": "done", "revision": 3,
    "reviewed": False, "notes": None, "frame_count": 2, "detection_count": 2, "detection_ids": [2560, 3072],
    "objects": {"person": 1}, "thumbnail_url": "/api/media/thumbnails/2026-11-22/5_thumb.jpg",
    "incident_id": 5,
}  # fmt: skip
REVISIONS: list[Example] = [
    {
        "revision": 1, "type": "event.opened", "shadow": False, **BY_RULES, "risk_score": 22,
        "summary": "1 person at the front door, 08:15", "reasoning": "person +22: 22 of 100, by the rules", "evidence": [2560],
        "analysis_status": "pending", "frame_count": 1, "latency_ms": None, "at": "2026-11-22T08:15:30.320000Z",
    },
    {
        "revision": 2, "type": "event.closed", "shadow": False, **BY_RULES,
        "analysis_status": "pending", "frame_count": 2, "latency_ms": None, "at": "2026-11-22T08:16:12.410000Z",
    },
    {
        "revision": 3, "type": "event.analyzed", "shadow": False, **VERDICT,
        "analysis_status": "done", "frame_count": 2, "latency_ms": 1840.2, "at": "2026-11-22T08:16:14.260000Z",
    },
]  # fmt: skip
EVENT_DETAIL = EVENT | {
    "history": REVISIONS,
    "frames": [
        _frame(5, BEGIN, "2026-11-22T08:15:30.210000Z", PICTURE, PICTURE_URL, DETECTIONS[0]),
        _frame(6, END, "2026-11-22T08:15:42.190000Z", LATER, LATER_URL, DETECTIONS[1]),
    ],
    "latencies": {"discovered": 0.012, "detected": 0.11, "opened": 0.11, "closed": 42.2, "analyzed": 44.05},
}
EVENTS = {"events": [EVENT], "count": 1, "levels": LEVELS, "limit": 50, "offset": 0, "next_cursor": None}
EVENT_STATS = {
    "total_events": 4, "events_by_risk_level": LEVELS, "unreviewed": 2,
    "events_by_camera": [{"camera_id": "front_door", "camera_name": "Front door", "event_count": 4}],
}  # fmt: skip
INCIDENT: Example = {key: EVENT[key] for key in (
    "id", "started_at", "ended_at", "status", "risk_score", "risk_level", "summary", "reviewed", "frame_count", "objects", "analyzer",
    "analysis_status", "thumbnail_url",
)} | {
    "revision": 2, "last_at": END, "gravest_event_id": 5, "event_count": 1, "cameras": ["front_door"], "camera_names": ["Front door"],
}  # fmt: skip
INCIDENT_DETAIL = INCIDENT | {"events": [EVENT]}
INCIDENTS = {"incidents": [INCIDENT], "unreviewed": 2} | {
    key: value for key, value in EVENTS.items() if key != "events"
}
MESSAGE: Example = {
    "schema": "hearthwatch.event.v1", "seq": 17, "type": "event.analyzed",
    **{"event_id" if name == "id" else name: EVENT[name] for name in (
        "id", "batch_id", "revision", "camera_id", "camera_name", "risk_score", "risk_level", "summary", "analyzer",
        "analysis_status", "started_at", "ended_at", "objects", "frame_count",
    )},
    "delay_seconds": 0.21, "merged_into": None, "thumbnail": EVENT["thumbnail_url"], "incident_id": 5,
}  # fmt: skip

# -- the camera

ZONE = {"name": "the street", "points": [[0.0, 0.0], [1.0, 0.0], [1.0, 0.25], [0.0, 0.25]]}
CAMERA: Example = {
    "id": "front_door", "name": "Front door", "folder_path": "Front Door", "status": "online", "created_at": "2026-10-03T17:02:11.000000Z",
    "last_seen_at": "2026-11-22T08:15:42.190000Z", "notes": "next to the bins", "ignore_zones": [ZONE], "neighbours": ["driveway"],
    "notify_level": None, "silent": False,
    "last_image_url": LATER_URL, "events_today": 4, "images_today": 112,
}  # fmt: skip
TIMELINE = {
    "from": "2026-11-22T07:00:00.000000Z", "step_seconds": 3600,
    "cameras": [{
        "camera_id": "front_door", "camera_name": "Front door",
        "cells": [{"events": 0, "max_risk": None, "pictures": 12}, {"events": 1, "max_risk": 62, "pictures": 5}],
    }],
}  # fmt: skip

# -- the system

_PIPELINE = {
    "alive": True, "stalled": False, "backlog": 0, "last_heartbeat": "2026-11-22T08:17:19.000000Z", "pid": 4211,
    "oldest_unprocessed_seconds": None, "counters": {},
}  # fmt: skip
_CONDITION = {
    "kind": "quarantine", "subject": "front_door", "severity": "warning", "camera_id": "front_door",
    "message": "28 of 29 pictures of Front door in the last hour could not be used", "since": "2026-11-22T07:40:00.000000Z",
}  # fmt: skip
HEALTH = {
    "status": "degraded",
    "services": {
        "database": {"status": "healthy", "message": "the record can be read", "details": {"latency_ms": 0.4}},
        "redis": {"status": "disabled", "message": "REDIS_URL is not set: events are not published", "details": {}},
        "detector": {
            "status": "healthy", "message": "detects in the pipeline", "details": {"last_inference": {
                "frame_id": 6, "model": "PekingU/rtdetr_v2_r18vd", "detect_ms": 38.4, "discovered_at": "2026-11-22T08:15:42.202000Z",
            }},
        },
        "nemotron": {"status": "healthy", "message": "serves nemotron", "details": {"models": ["nemotron"], "pending": 0}},
        "pipeline": {"status": "healthy", "message": "has caught up", "details": _PIPELINE},
        "uploads": {"status": "healthy", "message": "the tree is watched; 3 files ignored", "details": {"ignored": 3}},
        "cameras": {
            "status": "degraded", "message": _CONDITION["message"], "details": {"front_door": {
                "name": "Front door", "status": "online", "silent": False, "last_picture": "2026-11-22T08:15:42.190000Z",
                "last_picture_age_seconds": 97.8, "clock_offset_seconds": 0.2, "pictures": 29, "quarantined": 28, "quarantined_share": 0.9655,
            }},
        },
        "consumers": {
            "status": "healthy", "message": "1 consumer, 0 messages to deliver", "details": {"webhook": {
                "delivered": 17, "failed": 0, "last_success": NOW, "last_failure": None, "error": None, "lag": 0,
            }},
        },
        "lake": {"status": "healthy", "message": "events are exported", "details": {}},
        "retention": {"status": "healthy", "message": "deletes what is too old", "details": {}},
    },
    "conditions": [_CONDITION],
    "timestamp": NOW,
}  # fmt: skip
SYSTEM_MESSAGE = {
    "schema": "hearthwatch.system.v1", "seq": 18, "type": "system.quarantine", "kind": "quarantine", "state": "on",
    **{name: _CONDITION[name] for name in ("severity", "camera_id", "subject", "message", "since")},
    "at": "2026-11-22T07:40:10.000000Z",
}  # fmt: skip
GPU = {
    "gpu_utilization": 41.0, "memory_used": 3_221_225_472, "memory_total": 25_769_803_776, "temperature": 52.0,
    "inference_fps": 0.4, "recorded_at": "2026-11-22T08:17:15.000000Z",
}  # fmt: skip
CONFIG = {
    "app_name": "Hearthwatch", "version": "0.1.0", "retention_days": 30, "batch_window_seconds": 90.0,
    "batch_idle_timeout_seconds": 30.0, "detection_confidence_threshold": 0.5,
}  # fmt: skip
GRAPH = {
    "nodes": [
        {"name": "batch", "use": "batch", "kind": "stage", "label": "90 s window, 30 s idle", "off": None},
        {"name": "analyze", "use": "nemotron", "kind": "stage", "label": "nemotron, prompt v1, off", "off": "NEMOTRON_URL is not set: rules alone judge"},
    ],
    "edges": [{"from": "batch", "port": None, "to": "analyze", "durable": True}],
    "options": {"batch_window_seconds": 90.0, "batch_idle_timeout_seconds": 30.0, "retention_days": 30},
}  # fmt: skip
STATS = {
    "total_cameras": 1, "total_events": 4, "total_detections": 9, "uptime_seconds": 5211.04,
    "ledger": {"files": 113, "settled": 112, "discovered": 0, "quarantined": 1}, "backlog": 0, "open_events": 0,
    "images_per_s": 0.05, "images_per_s_history": [0.003, 0.006],
    "stages": [
        {"name": "detect", "p50_s": 0.038, "p95_s": 0.051, "waiting": 0},
        {"name": "open", "p50_s": 0.11, "p95_s": 0.19, "waiting": 0},
        {"name": "close", "p50_s": 42.2, "p95_s": 120.3, "waiting": 0},
        {"name": "analyze", "p50_s": 1.84, "p95_s": 2.6, "waiting": 0},
    ],
    "llm": {"model": "nemotron", "pending": 0, "in_flight": 0, "max_in_flight": 8},
    "disk": {
        "used": 214_748_364_800, "total": 1_000_204_886_016, "per_day": 22_020_096, "retention_days": 30,
        "oldest": "2026-11-22T00:00:00.000000Z", "full_in_days": 35_669,
    },
}  # fmt: skip
QUARANTINED = {
    "id": 9, "camera_id": "front_door", "path": "Front Door/2026/11/22/081702.jpg", "stage": "decode", "reason": "empty file",
    "at": "2026-11-22T08:17:04.000000Z", "captured_at": "2026-11-22T08:17:02.000000Z", "size": 0, "attempt": 1, "retried": False,
}  # fmt: skip
STATUS = {
    "at": "2026-11-22T08:17:19.000000Z", "now": NOW, "needs_person": {"event_id": 5, "level": "high", "camera_id": "front_door"},
    "to_review": 2, "cameras_online": 1, "cameras_total": 1, "backlog": 0, "behind_seconds": None, "llm": "ok", "detector": "ok",
    "gpu_percent": 41.0, "today": {"images": 112, "with_objects": 7, "events": 4, "to_review": 2}, "stalled": False, "watching": "/export/foscam",
    "starting": False, "problem": _CONDITION, "problems": 1,
}  # fmt: skip

# -- the live stream

LIVE = f"id: 5f0c2a91.{MESSAGE['seq']}\nevent: event\ndata: {json.dumps(MESSAGE)}\n\nevent: status\ndata: {json.dumps(STATUS)}\n\n"
