-- What stages reported in pictures and no rule judges: never events, but incidents count them like events.
CREATE TABLE alerts(
  id INTEGER PRIMARY KEY AUTOINCREMENT, camera_id TEXT NOT NULL, at INTEGER NOT NULL, kind TEXT NOT NULL, score INTEGER NOT NULL,
  summary TEXT NOT NULL, evidence TEXT NOT NULL, -- JSON
  incident_id INTEGER,                -- NULL: not linked yet
  arrived_at INTEGER NOT NULL,        -- of its picture
  clock_offset_ms INTEGER,            -- of its camera, then
  reviewed INTEGER NOT NULL DEFAULT 0,
  content_hash TEXT NOT NULL UNIQUE);
CREATE INDEX alerts_member ON alerts(34359738368 + id);
CREATE INDEX alerts_waiting ON alerts(id) WHERE incident_id IS NULL;
CREATE INDEX alerts_incident ON alerts(incident_id) WHERE incident_id IS NOT NULL;
CREATE INDEX alerts_time ON alerts(at);
CREATE INDEX alerts_server_time ON alerts(at + coalesce(clock_offset_ms, 0) * 1000);
CREATE INDEX alerts_camera ON alerts(camera_id);
CREATE VIEW v_alerts AS SELECT id, camera_id, strftime('%Y-%m-%dT%H:%M:%fZ', at / 1e6, 'unixepoch') AS at, kind, score, summary, evidence,
  incident_id, reviewed FROM alerts;
ALTER TABLE incidents ADD COLUMN alert_counts TEXT NOT NULL DEFAULT '{}'; -- JSON: kind of alert -> how many
-- What incidents are made of: events, and alerts under 2^35 + id, which connect others from medium on. Those have no frame_count.
CREATE VIEW alert_members AS
  SELECT 34359738368 + id AS id, camera_id, at AS started_at, at AS last_at, clock_offset_ms, score >= 30 AS carries, NULL AS merged_into,
    incident_id, 'closed' AS status, 1 AS revision, score AS risk_score, summary, arrived_at AS close_at, reviewed,
    max(0, arrived_at - at - coalesce(clock_offset_ms, 0) * 1000) AS delay, NULL AS frame_count FROM alerts;
CREATE VIEW incident_members AS
  SELECT id, camera_id, started_at, last_at, clock_offset_ms, carries, merged_into, incident_id, status, revision, risk_score, summary,
    close_at, reviewed, delay, frame_count FROM events
  UNION ALL SELECT * FROM alert_members;
DROP TRIGGER incidents_reviewed;
CREATE TRIGGER incidents_reviewed AFTER UPDATE OF reviewed, incident_id, status ON events
WHEN (OLD.reviewed, OLD.incident_id, OLD.status = 'merged') IS NOT (NEW.reviewed, NEW.incident_id, NEW.status = 'merged') BEGIN
  UPDATE incidents SET reviewed = NOT EXISTS (
    SELECT 1 FROM incident_members e WHERE e.incident_id = incidents.id AND e.reviewed = 0 AND e.status <> 'merged')
  WHERE id IN (OLD.incident_id, NEW.incident_id);
END;
CREATE TRIGGER alerts_reviewed AFTER UPDATE OF reviewed ON alerts WHEN OLD.reviewed <> NEW.reviewed BEGIN
  UPDATE incidents SET reviewed = NOT EXISTS (
    SELECT 1 FROM incident_members e WHERE e.incident_id = incidents.id AND e.reviewed = 0 AND e.status <> 'merged')
  WHERE id = NEW.incident_id;
END;
CREATE TRIGGER dirty_alert AFTER INSERT ON alerts BEGIN
  INSERT OR IGNORE INTO dirty_hours VALUES ('alerts', NEW.at / 3600000000, 0); END;
CREATE TRIGGER dirty_alert_again AFTER UPDATE ON alerts BEGIN
  INSERT OR IGNORE INTO dirty_hours VALUES ('alerts', NEW.at / 3600000000, 0); END;
CREATE TRIGGER dirty_alert_gone AFTER DELETE ON alerts BEGIN
  INSERT OR IGNORE INTO dirty_hours VALUES ('alerts', OLD.at / 3600000000, 0); END;
