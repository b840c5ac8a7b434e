-- What a stage found out about a box, JSON by name; NULL: nothing.
ALTER TABLE detections ADD COLUMN attributes TEXT;
ALTER TABLE suppressed ADD COLUMN attributes TEXT;
DROP VIEW v_detections;
CREATE VIEW v_detections AS SELECT id, event_id, frame_id, camera_id, object_type, confidence, file_path,
  strftime('%Y-%m-%dT%H:%M:%fZ', detected_at / 1e6, 'unixepoch') AS detected_at, attributes FROM detections;
