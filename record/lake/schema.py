"""The lake's tables as Arrow schemas: the record's columns, times as TIMESTAMPTZ, JSON as lists, maps and structs.

A schema only grows, by columns at its end that may be null: older files lack them and are read as null.
"""

from __future__ import annotations

import pyarrow as pa

TIME = pa.timestamp("us", tz="UTC")

FRAMES = pa.schema(
    {
        "id": pa.int64(), "uid": pa.string(), "camera_id": pa.string(), "path": pa.string(),
        "mtime_ns": pa.int64(), "size": pa.int64(), "attempt": pa.int32(), "content_hash": pa.string(),
        "captured_at": TIME, "arrived_at": TIME, "discovered_at": TIME, "width": pa.int32(), "height": pa.int32(),
        "state": pa.string(), "event_id": pa.int64(), "error_stage": pa.string(), "error": pa.string(),
        "model": pa.string(), "detect_ms": pa.float64(), "thumbnail_path": pa.string(),
    }
)  # fmt: skip

DETECTIONS = pa.schema(
    {
        "id": pa.int64(), "frame_id": pa.int64(), "event_id": pa.int64(), "camera_id": pa.string(),
        "file_path": pa.string(), "detected_at": TIME, "object_type": pa.string(), "confidence": pa.float64(),
        "bbox_x": pa.int32(), "bbox_y": pa.int32(), "bbox_width": pa.int32(), "bbox_height": pa.int32(),
        "thumbnail_path": pa.string(), "attributes": pa.string(),
    }
)  # fmt: skip

SUPPRESSED = pa.schema(
    {
        "id": pa.int64(), "frame_id": pa.int64(), "camera_id": pa.string(), "detected_at": TIME, "object_type": pa.string(),
        "confidence": pa.float64(), "bbox_x": pa.int32(), "bbox_y": pa.int32(), "bbox_width": pa.int32(), "bbox_height": pa.int32(),
        "reason": pa.string(), "attributes": pa.string(),
    }
)  # fmt: skip

VERDICT = pa.struct(
    {
        "revision": pa.int32(), "type": pa.string(), "shadow": pa.bool_(), "risk_score": pa.int32(),
        "risk_level": pa.string(), "summary": pa.string(), "analyzer": pa.string(), "model": pa.string(),
        "prompt_version": pa.string(), "latency_ms": pa.float64(), "at": TIME,
    }
)  # fmt: skip
"""One row of `event_history`."""

EVENTS = pa.schema(
    {
        "id": pa.int64(), "batch_id": pa.string(), "camera_id": pa.string(), "started_at": TIME, "ended_at": TIME,
        "frame_count": pa.int32(), "status": pa.string(), "merged_into": pa.int64(), "risk_score": pa.int32(),
        "risk_level": pa.string(), "summary": pa.string(), "reasoning": pa.string(), "evidence": pa.list_(pa.int64()),
        "analyzer": pa.string(), "model": pa.string(), "prompt_version": pa.string(), "analysis_status": pa.string(),
        "attempts": pa.int32(), "revision": pa.int32(), "opened_at": TIME, "closed_at": TIME, "analyzed_at": TIME,
        "reviewed": pa.bool_(), "notes": pa.string(), "objects": pa.map_(pa.string(), pa.int32()),
        "history": pa.list_(VERDICT), "incident_id": pa.int64(), "picture_verdict": pa.string(), "analysis": pa.string(),
    }
)  # fmt: skip

INCIDENTS = pa.schema(
    {
        "id": pa.int64(), "status": pa.string(), "revision": pa.int32(), "started_at": TIME, "last_at": TIME, "ended_at": TIME,
        "merged_into": pa.int64(), "risk_score": pa.int32(), "risk_level": pa.string(), "summary": pa.string(),
        "gravest_event_id": pa.int64(), "cameras": pa.list_(pa.string()), "objects": pa.map_(pa.string(), pa.int32()),
        "event_count": pa.int32(), "frame_count": pa.int32(), "reviewed": pa.bool_(),
        "alert_counts": pa.map_(pa.string(), pa.int32()),
    }
)  # fmt: skip

GPU_STATS = pa.schema(
    {
        "id": pa.int64(), "recorded_at": TIME, "gpu_utilization": pa.float64(), "memory_used": pa.int64(),
        "memory_total": pa.int64(), "temperature": pa.float64(), "inference_fps": pa.float64(),
    }
)  # fmt: skip

BASELINES = pa.schema(
    {
        "id": pa.int64(), "as_of": TIME, "camera_id": pa.string(), "kind": pa.string(), "place": pa.string(), "hour": pa.int32(), "workday": pa.bool_(),
        "watched": pa.float64(), "watched_days": pa.int32(), "seen": pa.float64(), "seen_days": pa.int32(), "minutes": pa.float64(),
    }
)  # fmt: skip

FEEDBACK = pa.schema(
    {
        "id": pa.int64(), "event_id": pa.int64(), "answered_at": TIME, "answer": pa.string(), "signature": pa.string(), "expires_at": TIME,
        "revoked_at": TIME, "box": pa.string(), "source": pa.string(),
    }
)  # fmt: skip

JOURNAL = pa.schema(
    {
        "id": pa.int64(), "written_at": TIME, "node": pa.string(), "content_hash": pa.string(), "kind": pa.string(), "payload": pa.string(), "error": pa.string(),
    }
)  # fmt: skip

ALERTS = pa.schema(
    {
        "id": pa.int64(), "camera_id": pa.string(), "raised_at": TIME, "kind": pa.string(), "score": pa.int32(), "summary": pa.string(),
        "evidence": pa.string(), "incident_id": pa.int64(), "reviewed": pa.bool_(), "arrived_at": TIME, "content_hash": pa.string(),
    }
)  # fmt: skip

CAMERAS = pa.schema(
    {
        "id": pa.string(), "name": pa.string(), "folder_path": pa.string(), "status": pa.string(), "created_at": TIME,
        "last_seen_at": TIME, "notes": pa.string(), "zones": pa.string(),
    }
)  # fmt: skip

TABLES = {
    "frames": FRAMES,
    "detections": DETECTIONS,
    "suppressed": SUPPRESSED,
    "events": EVENTS,
    "incidents": INCIDENTS,
    "gpu_stats": GPU_STATS,
    "baselines": BASELINES,
    "feedback": FEEDBACK,
    "journal": JOURNAL,
    "alerts": ALERTS,
}
"""The tables that are cut into hours."""
