-- What is counted and paged by those who read: kept by triggers, so it is right whoever writes, prunes or deletes.

-- Pictures per camera and quarter of an hour of capture time (all time zones differ by quarters); '' = of no camera.
CREATE TABLE pictures(camera_id TEXT NOT NULL, quarter INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY(camera_id, quarter)) WITHOUT ROWID;
CREATE TRIGGER pictures_more AFTER INSERT ON frames BEGIN
  INSERT INTO pictures VALUES (coalesce(NEW.camera_id, ''), NEW.captured_at / 900000000, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER pictures_fewer AFTER DELETE ON frames BEGIN
  UPDATE pictures SET n = n - 1 WHERE camera_id = coalesce(OLD.camera_id, '') AND quarter = OLD.captured_at / 900000000;
  DELETE FROM pictures WHERE camera_id = coalesce(OLD.camera_id, '') AND quarter = OLD.captured_at / 900000000 AND n = 0;
END;
INSERT INTO pictures SELECT coalesce(camera_id, ''), captured_at / 900000000, count(*) FROM frames GROUP BY 1, 2;

-- Boxes per day of capture (UTC), camera and kind.
CREATE TABLE detection_counts(
  day INTEGER NOT NULL, camera_id TEXT NOT NULL, object_type TEXT NOT NULL, n INTEGER NOT NULL,
  PRIMARY KEY(day, camera_id, object_type)) WITHOUT ROWID;
CREATE TRIGGER detections_more AFTER INSERT ON detections BEGIN
  INSERT INTO detection_counts VALUES (NEW.detected_at / 86400000000, NEW.camera_id, NEW.object_type, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER detections_fewer AFTER DELETE ON detections BEGIN
  UPDATE detection_counts SET n = n - 1 WHERE day = OLD.detected_at / 86400000000 AND camera_id = OLD.camera_id AND object_type = OLD.object_type;
  DELETE FROM detection_counts WHERE day = OLD.detected_at / 86400000000 AND camera_id = OLD.camera_id AND object_type = OLD.object_type AND n = 0;
END;
INSERT INTO detection_counts SELECT detected_at / 86400000000, camera_id, object_type, count(*) FROM detections GROUP BY 1, 2, 3;

-- What events are filtered by: one row for each event with object_type '', and one for each kind of object in it.
-- Only events that were told of (they have a level) and that are not merged.
CREATE TABLE facets(
  object_type TEXT NOT NULL, started_at INTEGER NOT NULL, event_id INTEGER NOT NULL,
  camera_id TEXT NOT NULL, risk_level TEXT NOT NULL, reviewed INTEGER NOT NULL,
  PRIMARY KEY(object_type, started_at, event_id)) WITHOUT ROWID;
-- Facets per day (UTC).
CREATE TABLE event_counts(
  object_type TEXT NOT NULL, day INTEGER NOT NULL, camera_id TEXT NOT NULL, risk_level TEXT NOT NULL, reviewed INTEGER NOT NULL,
  n INTEGER NOT NULL, PRIMARY KEY(object_type, day, camera_id, risk_level, reviewed)) WITHOUT ROWID;
CREATE TRIGGER facets_more AFTER INSERT ON facets BEGIN
  INSERT INTO event_counts VALUES (NEW.object_type, NEW.started_at / 86400000000, NEW.camera_id, NEW.risk_level, NEW.reviewed, 1)
  ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER facets_fewer AFTER DELETE ON facets BEGIN
  UPDATE event_counts SET n = n - 1 WHERE object_type = OLD.object_type AND day = OLD.started_at / 86400000000
    AND camera_id = OLD.camera_id AND risk_level = OLD.risk_level AND reviewed = OLD.reviewed;
  DELETE FROM event_counts WHERE object_type = OLD.object_type AND day = OLD.started_at / 86400000000
    AND camera_id = OLD.camera_id AND risk_level = OLD.risk_level AND reviewed = OLD.reviewed AND n = 0;
END;
CREATE TRIGGER events_told AFTER INSERT ON events WHEN NEW.status <> 'merged' AND NEW.risk_level IS NOT NULL BEGIN
  INSERT INTO facets SELECT kind, NEW.started_at, NEW.id, NEW.camera_id, NEW.risk_level, NEW.reviewed
  FROM (SELECT '' AS kind UNION ALL SELECT key FROM json_each(coalesce(NEW.objects, '{}')));
END;
CREATE TRIGGER events_changed AFTER UPDATE OF camera_id, started_at, status, risk_level, reviewed, objects ON events
WHEN (NEW.camera_id, NEW.started_at, NEW.status = 'merged', NEW.risk_level, NEW.reviewed, NEW.objects)
  IS NOT (OLD.camera_id, OLD.started_at, OLD.status = 'merged', OLD.risk_level, OLD.reviewed, OLD.objects)
BEGIN
  DELETE FROM facets WHERE event_id = OLD.id AND started_at = OLD.started_at
    AND object_type IN (SELECT '' UNION ALL SELECT key FROM json_each(coalesce(OLD.objects, '{}')));
  INSERT INTO facets SELECT kind, NEW.started_at, NEW.id, NEW.camera_id, NEW.risk_level, NEW.reviewed
  FROM (SELECT '' AS kind UNION ALL SELECT key FROM json_each(coalesce(NEW.objects, '{}')))
  WHERE NEW.status <> 'merged' AND NEW.risk_level IS NOT NULL;
END;
CREATE TRIGGER events_gone AFTER DELETE ON events BEGIN
  DELETE FROM facets WHERE event_id = OLD.id AND started_at = OLD.started_at
    AND object_type IN (SELECT '' UNION ALL SELECT key FROM json_each(coalesce(OLD.objects, '{}')));
END;
INSERT INTO facets SELECT kind, started_at, id, camera_id, risk_level, reviewed
FROM events, (SELECT '' AS kind) WHERE status <> 'merged' AND risk_level IS NOT NULL
UNION ALL SELECT key, started_at, events.id, camera_id, risk_level, reviewed
FROM events, json_each(coalesce(objects, '{}')) WHERE status <> 'merged' AND risk_level IS NOT NULL;

CREATE INDEX events_inbox ON events(risk_score, started_at) WHERE reviewed = 0 AND status <> 'merged' AND risk_level IS NOT NULL;
CREATE INDEX frames_newest ON frames(camera_id, captured_at) WHERE state = 'settled';
