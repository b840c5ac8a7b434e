-- Incidents of several cells. The first cell's record has all of them, and copies of the other cells' events, alerts and cameras.
CREATE TABLE cell_members(
  id INTEGER PRIMARY KEY, camera_id TEXT NOT NULL, started_at INTEGER NOT NULL, last_at INTEGER NOT NULL, clock_offset_ms INTEGER,
  carries INTEGER NOT NULL, merged_into INTEGER, incident_id INTEGER, status TEXT NOT NULL, revision INTEGER NOT NULL, risk_score INTEGER,
  summary TEXT, close_at INTEGER, reviewed INTEGER NOT NULL, delay INTEGER, frame_count INTEGER, objects TEXT, kind TEXT, risk_level TEXT,
  analysis_status TEXT, thumbnail TEXT,
  written INTEGER);                   -- the incident_id that its cell's record has
CREATE INDEX cell_members_incident ON cell_members(incident_id) WHERE incident_id IS NOT NULL;
CREATE INDEX cell_members_server_time ON cell_members(started_at + coalesce(clock_offset_ms, 0) * 1000);
CREATE INDEX cell_members_unwritten ON cell_members(id) WHERE incident_id IS NOT written;
CREATE TABLE cell_cameras(id TEXT NOT NULL, name TEXT NOT NULL, neighbours TEXT, notify_level TEXT, cell INTEGER NOT NULL,
  store_id TEXT NOT NULL, PRIMARY KEY(cell, id)) WITHOUT ROWID;
-- Events and alerts that are not copied yet, in the record of a cell whose incidents are in another one: it has `meta.incidents_in`.
CREATE TABLE changed_members(seq INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER NOT NULL UNIQUE);
CREATE TRIGGER changed_event_new AFTER INSERT ON events WHEN EXISTS (SELECT 1 FROM meta WHERE key = 'incidents_in') BEGIN
  DELETE FROM changed_members WHERE id = NEW.id; INSERT INTO changed_members(id) VALUES (NEW.id); END;
CREATE TRIGGER changed_event AFTER UPDATE OF camera_id, started_at, last_at, clock_offset_ms, carries, merged_into, status, revision, risk_score,
  summary, close_at, reviewed, delay, frame_count, objects, risk_level, analysis_status ON events
WHEN EXISTS (SELECT 1 FROM meta WHERE key = 'incidents_in') BEGIN
  DELETE FROM changed_members WHERE id = NEW.id; INSERT INTO changed_members(id) VALUES (NEW.id); END;
CREATE TRIGGER changed_event_gone AFTER DELETE ON events WHEN EXISTS (SELECT 1 FROM meta WHERE key = 'incidents_in') BEGIN
  DELETE FROM changed_members WHERE id = OLD.id; INSERT INTO changed_members(id) VALUES (OLD.id); END;
CREATE TRIGGER changed_alert_new AFTER INSERT ON alerts WHEN EXISTS (SELECT 1 FROM meta WHERE key = 'incidents_in') BEGIN
  DELETE FROM changed_members WHERE id = NEW.id + 34359738368; INSERT INTO changed_members(id) VALUES (NEW.id + 34359738368); END;
CREATE TRIGGER changed_alert AFTER UPDATE OF camera_id, reviewed ON alerts WHEN EXISTS (SELECT 1 FROM meta WHERE key = 'incidents_in') BEGIN
  DELETE FROM changed_members WHERE id = NEW.id + 34359738368; INSERT INTO changed_members(id) VALUES (NEW.id + 34359738368); END;
CREATE TRIGGER changed_alert_gone AFTER DELETE ON alerts WHEN EXISTS (SELECT 1 FROM meta WHERE key = 'incidents_in') BEGIN
  DELETE FROM changed_members WHERE id = OLD.id + 34359738368; INSERT INTO changed_members(id) VALUES (OLD.id + 34359738368); END;
CREATE TRIGGER cell_members_reviewed AFTER UPDATE OF reviewed ON cell_members WHEN OLD.reviewed <> NEW.reviewed BEGIN
  UPDATE incidents SET reviewed = NOT EXISTS (
    SELECT 1 FROM incident_members e WHERE e.incident_id = incidents.id AND e.reviewed = 0 AND e.status <> 'merged')
  WHERE id = NEW.incident_id;
END;
DROP VIEW incident_members;
DROP VIEW alert_members;
CREATE VIEW alert_members AS
  SELECT 34359738368 + id AS id, camera_id, at AS started_at, at AS last_at, clock_offset_ms, score >= 30 AS carries, NULL AS merged_into,
    incident_id, 'closed' AS status, 1 AS revision, score AS risk_score, summary, arrived_at AS close_at, reviewed,
    max(0, arrived_at - at - coalesce(clock_offset_ms, 0) * 1000) AS delay, NULL AS frame_count, NULL AS objects, kind FROM alerts;
CREATE VIEW incident_members AS
  SELECT id, camera_id, started_at, last_at, clock_offset_ms, carries, merged_into, incident_id, status, revision, risk_score, summary,
    close_at, reviewed, delay, frame_count, objects, NULL AS kind FROM events
  UNION ALL SELECT * FROM alert_members
  UNION ALL SELECT id, camera_id, started_at, last_at, clock_offset_ms, carries, merged_into, incident_id, status, revision, risk_score, summary,
    close_at, reviewed, delay, frame_count, objects, kind FROM cell_members;
-- The rows of this record as `cell_members` of another one has them.
CREATE VIEW own_members AS
  SELECT id, camera_id, started_at, last_at, clock_offset_ms, carries, merged_into, incident_id, status, revision, risk_score, summary,
    iif(close_at = 4611686018427387904 AND status <> 'open', (SELECT max(arrived_at) FROM frames WHERE event_id = e.id), close_at) AS close_at,
    reviewed, delay, frame_count, objects, NULL AS kind, risk_level, analysis_status,
    (SELECT json_extract(payload, '$.thumbnail') FROM feed WHERE kind = 'event' AND subject_id = e.id ORDER BY feed.revision DESC) AS thumbnail,
    incident_id AS written FROM events e
  UNION ALL SELECT a.*, CASE WHEN risk_score >= 85 THEN 'critical' WHEN risk_score >= 60 THEN 'high' WHEN risk_score >= 30 THEN 'medium' ELSE 'low' END,
    NULL, NULL, incident_id FROM alert_members a;
