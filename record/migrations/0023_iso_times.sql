-- Views with times that people and tools read, for each table that they ask about; 0008, 0014 and 0019 have the others.
DROP VIEW v_events;
CREATE VIEW v_events AS SELECT id, incident_id, camera_id, status, risk_score, risk_level, summary, objects, frame_count, reviewed,
  strftime('%Y-%m-%dT%H:%M:%fZ', started_at / 1e6, 'unixepoch') AS started_at, strftime('%Y-%m-%dT%H:%M:%fZ', last_at / 1e6, 'unixepoch') AS last_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', ended_at / 1e6, 'unixepoch') AS ended_at, reasoning, analyzer, model, analysis_status, picture_verdict, notes,
  strftime('%Y-%m-%dT%H:%M:%fZ', opened_at / 1e6, 'unixepoch') AS opened_at, strftime('%Y-%m-%dT%H:%M:%fZ', analyzed_at / 1e6, 'unixepoch') AS analyzed_at
  FROM events WHERE status <> 'merged';
CREATE VIEW v_frames AS SELECT id, camera_id, path, state, event_id, error_stage, error, width, height, detect_ms,
  strftime('%Y-%m-%dT%H:%M:%fZ', captured_at / 1e6, 'unixepoch') AS captured_at, strftime('%Y-%m-%dT%H:%M:%fZ', arrived_at / 1e6, 'unixepoch') AS arrived_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', discovered_at / 1e6, 'unixepoch') AS discovered_at FROM frames WHERE pruned = 0;
CREATE VIEW v_cameras AS SELECT id, name, status, notes, notify_level, clock_offset_ms / 1000.0 AS clock_offset_seconds,
  strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1e6, 'unixepoch') AS created_at, strftime('%Y-%m-%dT%H:%M:%fZ', last_seen_at / 1e6, 'unixepoch') AS last_seen_at FROM cameras;
CREATE VIEW v_verdicts AS SELECT event_id, revision, type, shadow, risk_score, risk_level, summary, reasoning, analyzer, model, prompt_version, latency_ms,
  strftime('%Y-%m-%dT%H:%M:%fZ', at / 1e6, 'unixepoch') AS at FROM event_history;
CREATE VIEW v_feedback AS SELECT id, event_id, answer, source, signature, strftime('%Y-%m-%dT%H:%M:%fZ', at / 1e6, 'unixepoch') AS at,
  strftime('%Y-%m-%dT%H:%M:%fZ', expires_at / 1e6, 'unixepoch') AS expires_at, strftime('%Y-%m-%dT%H:%M:%fZ', revoked_at / 1e6, 'unixepoch') AS revoked_at FROM feedback;
CREATE VIEW v_conditions AS SELECT kind, subject, state, severity, camera_id, message, strftime('%Y-%m-%dT%H:%M:%fZ', since / 1e6, 'unixepoch') AS since,
  strftime('%Y-%m-%dT%H:%M:%fZ', changed_at / 1e6, 'unixepoch') AS changed_at FROM conditions;
CREATE VIEW v_gpu_stats AS SELECT id, strftime('%Y-%m-%dT%H:%M:%fZ', recorded_at / 1e6, 'unixepoch') AS recorded_at, gpu_utilization,
  memory_used, memory_total, temperature, inference_fps FROM gpu_stats;
